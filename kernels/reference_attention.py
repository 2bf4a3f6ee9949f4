"""The slow twin of `attention`: same name, same arguments, plain numpy in float64.

The tests hold the kernel against it. Knows no model and no cache.
"""

from __future__ import annotations

import math

import numpy as np

from .attention import check_shapes


def decode_attention(
    q: np.ndarray,
    prefix_k: np.ndarray,
    prefix_v: np.ndarray,
    tail_k: np.ndarray,
    tail_v: np.ndarray,
    lengths: np.ndarray,
    slots: np.ndarray | None = None,
    *,
    alone: bool = False,
) -> np.ndarray:
    """As `attention.decode_attention`: one row and one head at a time, the whole softmax at
    once."""
    check_shapes(q, prefix_k, prefix_v, tail_k, tail_v, lengths, slots)
    tails = range(len(q)) if slots is None else slots.tolist()
    out = np.empty_like(q)
    group = q.shape[1] // prefix_k.shape[0]
    for b, slot in enumerate(tails):
        for h in range(q.shape[1]):
            kv, n = h // group, int(lengths[b])
            keys = np.concatenate((prefix_k[kv], tail_k[slot, kv, :n])).astype(
                np.float64
            )  # (P + n, d)
            values = np.concatenate((prefix_v[kv], tail_v[slot, kv, :n])).astype(np.float64)
            scores = keys @ q[b, h] / math.sqrt(q.shape[2])  # (P + n,)
            weights = np.exp(scores - scores.max())
            out[b, h] = weights / weights.sum() @ values
    return out
