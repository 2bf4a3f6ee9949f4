"""One draw per sequence from masked logits: penalty, temperature, top-k, top-p, min-p, draw.

Uniform numbers are passed in, so a draw is a pure function of its arguments. The slow twin stands
in `reference`. Called by `constrained_gpt.decoding`.
"""

from __future__ import annotations

import numpy as np

from ._jit import jit


@jit
def log_sum_exp(values: np.ndarray) -> float:
    """log sum exp of a float32 vector, summed in float64 in index order."""
    top = -np.inf
    for v in values:
        if v > top:
            top = v
    if top == -np.inf:
        return -np.inf
    total = 0.0
    for v in values:
        total += np.exp(np.float64(v) - top)
    return float(np.log(total) + top)


@jit
def _truncate(weights: np.ndarray, top_k: int, top_p: float, min_p: float) -> None:
    """Zero the weights (float64, unnormalised) outside top-k, then top-p, then min-p."""
    n = len(weights)
    if 0 < top_k < n:
        cut = np.sort(weights)[n - top_k]
        kept = 0
        for i in range(n):
            if weights[i] > cut:
                kept += 1
        for i in range(n):  # ties at the cut go to the lower token ids
            if weights[i] < cut:
                weights[i] = 0.0
            elif weights[i] == cut:
                if kept < top_k:
                    kept += 1
                else:
                    weights[i] = 0.0
    if top_p < 1.0:
        total = weights.sum()
        order = np.argsort(-weights, kind="mergesort")  # stable: ties to the lower ids
        mass = 0.0
        full = False
        for rank in range(n):
            i = order[rank]
            if full:
                weights[i] = 0.0
            else:
                mass += weights[i]
                full = mass >= top_p * total
    if min_p > 0.0:
        floor = min_p * weights.max()
        for i in range(n):
            if weights[i] < floor:
                weights[i] = 0.0


@jit
def sample_tokens(
    logits: np.ndarray,
    ids: np.ndarray,
    indptr: np.ndarray,
    outlook: np.ndarray,
    history: np.ndarray,
    uniforms: np.ndarray,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    repetition_penalty: float,
    tokens: np.ndarray,
    log_p: np.ndarray,
    log_q: np.ndarray,
    log_mass: np.ndarray,
) -> None:
    """Draw one token per row into `tokens` (int64), with its log-probabilities.

    logits: float32 (B, V). Row b may take ids[indptr[b]:indptr[b+1]] (ascending, not empty).
    outlook: float64, as long as ids: log of how well each token is expected to go on; it is added
    after the temperature, and log_q accounts for it.
    history: int64 (B, H), tokens already written, padded with -1; the penalty of Keskar et al.
    (CTRL, 2019, section 4.1) divides positive and multiplies negative logits of those tokens.
    uniforms: float64 (B,) in [0, 1). temperature 0 takes the most likely token (lowest id of a
    tie). The order is penalty, mask, temperature, outlook, top-k, top-p, min-p, draw by inverse
    CDF in ascending order of token ids.
    log_p: of the token under the model (softmax of the raw logits over all V); log_q: under the
    distribution drawn from; log_mass: model probability of the whole allowed set. float64 (B,).
    """
    for b in range(len(indptr) - 1):
        allowed = ids[indptr[b] : indptr[b + 1]]
        n = len(allowed)
        row = logits[b]
        norm = log_sum_exp(row)
        scores = np.empty(n, np.float64)
        for i in range(n):
            scores[i] = row[allowed[i]]
        log_mass[b] = _log_sum(scores) - norm
        if repetition_penalty != 1.0:
            for h in range(history.shape[1]):
                token = history[b, h]
                if token < 0:
                    continue
                first = True
                for g in range(h):
                    if history[b, g] == token:
                        first = False
                i = np.searchsorted(allowed, token)
                if first and i < n and allowed[i] == token:
                    if scores[i] > 0:
                        scores[i] /= repetition_penalty
                    else:
                        scores[i] *= repetition_penalty
        if temperature > 0.0:
            for i in range(n):
                scores[i] /= temperature
        best = 0
        for i in range(n):
            scores[i] += outlook[indptr[b] + i]
            if scores[i] > scores[best]:
                best = i
        chosen = best
        if temperature > 0.0:
            weights = np.empty(n, np.float64)
            for i in range(n):
                weights[i] = np.exp(scores[i] - scores[best])
            _truncate(weights, top_k, top_p, min_p)
            total = 0.0
            for i in range(n):
                total += weights[i]
            target = uniforms[b] * total
            running = 0.0
            for i in range(n):
                if weights[i] > 0.0:
                    chosen = i
                    running += weights[i]
                    if running > target:
                        break
            log_q[b] = np.log(weights[chosen] / total)
        else:
            log_q[b] = 0.0
        tokens[b] = allowed[chosen]
        log_p[b] = np.float64(row[allowed[chosen]]) - norm


@jit
def _log_sum(scores: np.ndarray) -> float:
    top = scores.max()
    if top == -np.inf:
        return -np.inf
    total = 0.0
    for s in scores:
        total += np.exp(s - top)
    return float(np.log(total) + top)
