"""log sum exp of a row of logits, panel by panel of 64, wherever the panels come from.

A panel gives its largest number and the sum of exponentials less it; the panels are put together
in float64, in their sequence. So the output layer's product can be summed as it is made, no logit
of which is written out (`decoder.head_logits`), and the sum is that of the logits written out, to
the bit. The slow twin stands in `reference`. Called by `decoder`, `sampling` and
`constrained_gpt.decoding`.
"""

from __future__ import annotations

import numpy as np

from ._jit import jit
from ._simd import LANES, PANEL, exp_less, exp_top_sum, largest


def log_sum_exp(values: np.ndarray) -> float:
    """log sum exp of a float32 vector; -inf if all are.

    Exponentials and panels of them in float32, the panels added in float64, in index order.
    """
    order = np.arange(len(values), dtype=np.int32)
    return float(_log_sum_exp(values, order, *panel_room(1, len(values))[:, 0]))


def sequence(order: np.ndarray, vocab: int) -> np.ndarray:
    """The tokens of an order, each there once, then all others of the vocabulary: int32 (V,)."""
    others = np.setdiff1d(np.arange(vocab), order)
    return np.concatenate([order, others]).astype(np.int32)


def panel_room(rows: int, size: int) -> np.ndarray:
    """Room for the panels of rows of so many logits: float32 (2, rows, .), tops and sums."""
    panels = -(-max(size, 1) // PANEL)
    return np.empty((2, rows, -(-panels // LANES) * LANES), np.float32)


@jit
def norm_of_panels(tops, sums, panels):  # type: ignore[no-untyped-def]
    """log sum exp of a row, of its panels. tops, sums: float32 (panels in whole LANES,), the first
    of which is written over."""
    padded = (panels + LANES - 1) // LANES * LANES
    for p in range(panels, padded):
        tops[p] = np.float32(-np.inf)
    top = largest(tops, padded)
    if not top > np.float32(-np.inf):
        return np.float64(top)
    exp_less(tops, padded, top)
    total = 0.0
    for p in range(panels):
        total += np.float64(tops[p]) * np.float64(sums[p])
    return np.log(total) + np.float64(top)


@jit
def _log_sum_exp(values, order, tops, sums):  # type: ignore[no-untyped-def]
    """`log_sum_exp` of values[order]."""
    n = len(order)
    panel = np.empty(PANEL, np.float32)
    panels = (n + PANEL - 1) // PANEL
    for p in range(panels):
        for i in range(PANEL):
            at = p * PANEL + i
            panel[i] = values[order[at]] if at < n else np.float32(-np.inf)
        tops[p], sums[p] = exp_top_sum(panel, 0, PANEL)
    return norm_of_panels(tops, sums, panels)


@jit
def log_sum_exp_rows(thread, threads, barrier, logits, order, panels, out):  # type: ignore[no-untyped-def]
    """log sum exp of every row of logits (B, V) into out, float64 (B,), for a `Team`.

    order: int32, the sequence in which they are summed. panels: `panel_room(threads, V)`.
    """
    for b in range(thread, len(logits), threads):
        out[b] = _log_sum_exp(logits[b], order, panels[0, thread], panels[1, thread])


__all__ = [
    "log_sum_exp", "log_sum_exp_rows", "norm_of_panels", "panel_room", "sequence",
]  # fmt: skip
