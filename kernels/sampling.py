"""One draw per sequence from the allowed slice of its logits, in one pass over that slice.

Penalty, temperature, look-ahead, top-k, top-p, min-p, draw; nothing is sorted: what top-k and
top-p keep is found by the bits of the weights, a digit at a time. Uniform numbers are passed in, so
a draw is a pure function of its arguments, and a row's draw depends on that row alone. The slow
twin stands in `reference`. Called by `constrained_gpt.decoding`.
"""

from __future__ import annotations

import numpy as np

from ._jit import jit
from ._simd import LANES, exp_less, float_bits, largest, sum_values
from .mask import Masks

_BLOCK = 512  # weights summed side by side before the sum goes on in float64
_HUGE = np.float32(3.0e38)  # stands for infinity, which has no differences
_DIGIT = 10  # bits of a weight looked at in one pass
_BINS = 1 << _DIGIT


@jit
def _total(weights, n):  # type: ignore[no-untyped-def]
    """Sum of the first n weights, n whole LANES, by blocks."""
    total = 0.0
    for first in range(0, n, _BLOCK):
        total += np.float64(sum_values(weights, first, min(_BLOCK, n - first)))
    return total


@jit
def _keep_largest(weights, n, top_k, mass):  # type: ignore[no-untyped-def]
    """Zero all but the largest weights: `top_k` of them if top_k > 0, else as many as it takes to
    reach `mass`. Of equal ones the earlier are kept.

    Weights are not negative, so their bits are ordered as they are: their digits are counted from
    the highest, and only the bin that holds the border is looked into.
    """
    counts = np.zeros(_BINS, np.int64)
    sums = np.zeros(_BINS, np.float64)
    border, known = np.int32(0), np.int32(0)  # digits of the border found so far, and their mask
    above, above_mass = 0, 0.0  # number and mass of the weights surely kept
    for digit in range(3):
        shift = np.int32(2 * _DIGIT - digit * _DIGIT)
        counts[:] = 0
        sums[:] = 0.0
        for i in range(n):
            bits = float_bits(weights[i])
            if bits > 0 and (bits & known) == border:
                place = (bits >> shift) & (_BINS - 1)
                counts[place] += 1
                sums[place] += weights[i]
        place = _BINS - 1
        while place > 0:
            if top_k > 0:
                if above + counts[place] >= top_k:
                    break
            elif counts[place] and above_mass + sums[place] >= mass:
                break
            above += counts[place]
            above_mass += sums[place]
            place -= 1
        border = np.int32(border | np.int32(np.int32(place) << shift))
        known = np.int32(known | np.int32(np.int32(_BINS - 1) << shift))
    for i in range(n):
        bits = float_bits(weights[i])
        if bits < border:
            weights[i] = np.float32(0.0)
        elif bits == border and bits > 0:
            if (above >= top_k) if top_k > 0 else (above_mass >= mass):
                weights[i] = np.float32(0.0)
            else:
                above += 1
                above_mass += weights[i]


@jit
def _candidates(b, row, extra_logits, whole, order, masks, raw):  # type: ignore[no-untyped-def]
    """Of a row of logits, those of row b's candidates into raw, dropped ones as -inf, filled up to
    whole LANES. Returns how many are of the entry, and how many in all."""
    start, stop = masks.start[b], masks.stop[b]
    inside = stop - start if masks.entry[b] >= 0 else 0
    if whole:
        for i in range(inside):
            raw[i] = row[order[masks.position[start + i]]]
    else:
        for i in range(inside):
            raw[i] = row[masks.position[start + i]]
    at = 0
    for d in range(masks.drop_start[b], masks.drop_start[b + 1]):
        while masks.position[start + at] < masks.drop[d]:
            at += 1
        raw[at] = np.float32(-np.inf)
    n = inside
    for e in range(masks.extra_start[b], masks.extra_start[b + 1]):
        raw[n] = row[masks.extra_token[e]] if whole else extra_logits[e]
        n += 1
    for i in range(n):
        value = raw[i]
        value = value if value > np.float32(-np.inf) else np.float32(-np.inf)  # nan: not allowed
        raw[i] = min(value, _HUGE)
    for i in range(n, (n + LANES - 1) // LANES * LANES):
        raw[i] = np.float32(-np.inf)
    return inside, n


@jit
def _penalise(b, inside, history, penalty, rank, masks, scores):  # type: ignore[no-untyped-def]
    """The penalty of Keskar et al. (CTRL, 2019, section 4.1): once for every token written."""
    start = masks.start[b]
    for h in range(history.shape[1]):
        token = history[b, h]
        if token < 0:
            continue
        first = True
        for g in range(h):
            first = first and history[b, g] != token
        if not first:
            continue
        place = np.int64(-1)
        wanted = rank[token] if token < len(rank) else -1
        if wanted >= 0 and inside > 0:
            at = np.searchsorted(masks.position[start : start + inside], wanted)
            if at < inside and masks.position[start + at] == wanted:
                place = at
        if place < 0:
            extras = masks.extra_start[b]
            for e in range(extras, masks.extra_start[b + 1]):
                if masks.extra_token[e] == token:
                    place = inside + e - extras
        if place >= 0:
            if scores[place] > 0:
                scores[place] /= penalty
            else:
                scores[place] *= penalty


@jit
def sample_masked(  # type: ignore[no-untyped-def]
    thread, threads, barrier, logits, row_of, extra_logits, whole, order, rank, masks, norm,
    history, uniforms, temperature, top_k, top_p, min_p, penalty, lookahead, guide, guide_row,
    scratch, tokens, log_p, log_q, log_mass, ahead,
):  # fmt: skip
    """Draw one token per row into `tokens` (int64), with its log-probabilities; for a `Team`.

    logits: float32 (., W), of the tokens order[0], order[1], ... (`whole` False) or of all tokens
    by id (True); row_of: int64 (B,), the row of logits that is each one's; extra_logits: float32,
    of masks.extra_token (not read if `whole`). order: int32 (S,); rank: int32 (V,), a token's place
    in it or -1. masks: `mask.Masks`; the candidates and their sequence are defined there. norm:
    float64 (B,), log sum exp of the row's full logits, or nan where that is not known: log_p and
    log_mass are nan then.
    history: int64 (B, H), tokens already written, padded with -1. uniforms: float64 (B,) in [0, 1).
    temperature 0 takes the likeliest candidate (the first of a tie). lookahead: whether the masks'
    outlook is added after the temperature; log_q accounts for it. guide: float32 (G, S + 1), added
    likewise to the candidates of rows with guide_row[b] >= 0, that row of it: by the place in the
    order, the last column to tokens that have none. top_k 0, top_p 1, min_p 0: no limit.
    The order is penalty, mask, temperature, outlook and guide, top-k, top-p, min-p, draw by inverse
    CDF in the sequence of the candidates.
    scratch: float32 (threads, 2, most candidates of a row + LANES, at least _BLOCK).
    log_p: of the token under the model (softmax of the raw logits); log_q: under the distribution
    drawn from; log_mass: model probability of all candidates; ahead: what outlook and guide added
    to the token's logit. float64 (B,). A row without a finite candidate gets token -1: the model's
    numbers are broken.
    """
    raw, weights = scratch[thread, 0], scratch[thread, 1]
    for b in range(thread, len(uniforms), threads):
        inside, n = _candidates(b, logits[row_of[b]], extra_logits, whole, order, masks, raw)
        padded = (n + LANES - 1) // LANES * LANES
        tokens[b] = -1
        log_p[b] = log_q[b] = log_mass[b] = ahead[b] = np.nan
        if not largest(raw, padded) > np.float32(-np.inf):
            continue
        known = not np.isnan(norm[b])
        if known:
            for i in range(padded):
                weights[i] = raw[i]
            top = largest(weights, padded)
            exp_less(weights, padded, top)
            log_mass[b] = np.log(_total(weights, padded)) + np.float64(top) - norm[b]
        for i in range(padded):
            weights[i] = raw[i]
        if penalty != 1.0:
            _penalise(b, inside, history, np.float32(penalty), rank, masks, weights)
        if temperature > 0.0:
            inverse = np.float32(1.0 / temperature)
            for i in range(padded):
                weights[i] = min(weights[i] * inverse, _HUGE)
        start, extras = masks.start[b], masks.extra_start[b]
        if lookahead:
            for i in range(inside):
                weights[i] += masks.outlook[start + i]
            for i in range(inside, n):
                weights[i] += masks.extra_outlook[extras + i - inside]
        if guide_row[b] >= 0:
            added = guide[guide_row[b]]
            for i in range(inside):
                weights[i] += added[masks.position[start + i]]
            for i in range(inside, n):
                place = rank[masks.extra_token[extras + i - inside]]  # -1: the last column
                weights[i] += added[place]
        top = largest(weights, padded)
        chosen = -1
        if temperature > 0.0:
            exp_less(weights, padded, top)
            if 0 < top_k < n:
                _keep_largest(weights, padded, top_k, 0.0)
            if top_p < 1.0:
                _keep_largest(weights, padded, 0, top_p * _total(weights, padded))
            if min_p > 0.0:  # the largest weight is 1
                floor = np.float32(min_p)
                for i in range(padded):
                    weights[i] = weights[i] if weights[i] >= floor else np.float32(0.0)
            total = _total(weights, padded)
            target = uniforms[b] * total
            running = 0.0
            first = 0
            while first + _BLOCK < padded:
                block = np.float64(sum_values(weights, first, _BLOCK))
                if running + block > target:
                    break
                running += block
                first += _BLOCK
            for i in range(first, padded):
                if weights[i] > np.float32(0.0):
                    chosen = i
                    running += np.float64(weights[i])
                    if running > target:
                        break
            if chosen < 0:  # rounding left the target behind the last weight
                for i in range(first):
                    if weights[i] > np.float32(0.0):
                        chosen = i
            log_q[b] = np.log(np.float64(weights[chosen]) / total)
        else:
            for i in range(n):
                if weights[i] == top:
                    chosen = i
                    break
            log_q[b] = 0.0
        ahead[b] = 0.0
        if chosen < inside:
            place = np.int64(masks.position[start + chosen])
            tokens[b] = order[place]
            if lookahead:
                ahead[b] += masks.outlook[start + chosen]
        else:
            extra = extras + chosen - inside
            tokens[b] = masks.extra_token[extra]
            place = np.int64(rank[tokens[b]])
            if lookahead:
                ahead[b] += masks.extra_outlook[extra]
        if guide_row[b] >= 0:
            ahead[b] += guide[guide_row[b], place]  # place -1: the last column
        if known:
            log_p[b] = np.float64(raw[chosen]) - norm[b]


__all__ = ["Masks", "sample_masked"]
