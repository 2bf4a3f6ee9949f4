"""Attention of one new token per row: a prefix that all rows share, then each row's own tail.

Arrays in, arrays out; knows no model and no cache. Called by `constrained_gpt.model` for float32 on
a CPU. A row's result depends on that row alone. The slow twin stands in `reference_attention`.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import jit

BLOCK = 64  # positions scored before their values are weighed


def decode_attention(
    q: np.ndarray,
    prefix_k: np.ndarray,
    prefix_v: np.ndarray,
    tail_k: np.ndarray,
    tail_v: np.ndarray,
    lengths: np.ndarray,
) -> np.ndarray:
    """softmax(q k^T / sqrt(d)) v of every row over the prefix and `lengths[row]` places of its
    tail.

    q: (B, H, d); prefix_k, prefix_v: (KV, P, d); tail_k, tail_v: (B, KV, N, d); lengths: (B,)
    integers in 0..N. H is a multiple of KV: query heads h*H/KV .. share key head h. float32.
    Returns (B, H, d).
    """
    check_shapes(q, prefix_k, prefix_v, tail_k, tail_v, lengths)
    out = np.empty_like(q)  # (B, H, d)
    scale = np.float32(1.0 / math.sqrt(q.shape[2]))
    _decode_attention(q, prefix_k, prefix_v, tail_k, tail_v, lengths.astype(np.int64), scale, out)
    return out


def check_shapes(
    q: np.ndarray,
    prefix_k: np.ndarray,
    prefix_v: np.ndarray,
    tail_k: np.ndarray,
    tail_v: np.ndarray,
    lengths: np.ndarray,
) -> None:
    """ValueError unless the arrays go together; the kernel itself checks nothing."""
    arrays = {
        "q": q, "prefix_k": prefix_k, "prefix_v": prefix_v, "tail_k": tail_k, "tail_v": tail_v,
    }  # fmt: skip
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise ValueError(f"{name} must be float32, got {array.dtype}; convert it first")
    if q.ndim != 3 or prefix_k.ndim != 3 or tail_k.ndim != 4:
        raise ValueError(
            "q must be (B, H, d), prefix_k (KV, P, d) and tail_k (B, KV, N, d), got "
            f"{q.shape}, {prefix_k.shape} and {tail_k.shape}; add the missing axes"
        )
    (b, h, d), (kv, p, _), n = q.shape, prefix_k.shape, tail_k.shape[2]
    wanted = {
        "prefix_k": (kv, p, d), "prefix_v": (kv, p, d), "tail_k": (b, kv, n, d),
        "tail_v": (b, kv, n, d),
    }  # fmt: skip
    for name, shape in wanted.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"{name} must have shape {shape}, got {arrays[name].shape}; it belongs to another q"
            )
    if kv < 1 or h % kv:
        raise ValueError(f"{h} query heads cannot share {kv} key heads; H must be a multiple of KV")
    if lengths.shape != (b,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"lengths must be {b} integers, got shape {lengths.shape} of {lengths.dtype}; "
            "give the filled places of every tail"
        )
    if b and (lengths.min() < 0 or lengths.max() > n):
        raise ValueError(
            f"lengths must lie in 0..{n}, got {lengths.min()}..{lengths.max()}; tails have {n} "
            "places"
        )
    if b and p == 0 and lengths.min() == 0:
        raise ValueError("a row has nothing to attend to; give a prefix or a tail of one place")


@jit
def _dot(a, b, size):  # type: ignore[no-untyped-def]
    """Eight sums side by side, added up in a fixed order: wide instructions need no fastmath."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0.0)
    whole = size - size % 8
    for i in range(0, whole, 8):
        s0 += a[i] * b[i]
        s1 += a[i + 1] * b[i + 1]
        s2 += a[i + 2] * b[i + 2]
        s3 += a[i + 3] * b[i + 3]
        s4 += a[i + 4] * b[i + 4]
        s5 += a[i + 5] * b[i + 5]
        s6 += a[i + 6] * b[i + 6]
        s7 += a[i + 7] * b[i + 7]
    total = ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
    for i in range(whole, size):
        total += a[i] * b[i]
    return total


@jit
def _absorb(query, keys, values, count, scale, scores, acc, top, mass):  # type: ignore[no-untyped-def]
    """Take `count` more positions into a running softmax: acc = sum of e^(s - top) v, mass = of
    e^(s - top)."""
    size = query.shape[0]
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        highest = top
        for p in range(start, stop):
            s = _dot(query, keys[p], size) * scale
            scores[p - start] = s
            if s > highest:
                highest = s
        if highest > top:
            shrink = np.float32(math.exp(top - highest))
            mass *= shrink
            for i in range(size):
                acc[i] *= shrink
            top = highest
        for p in range(start, stop):
            w = np.float32(math.exp(scores[p - start] - top))
            mass += w
            value = values[p]
            for i in range(size):
                acc[i] += w * value[i]
    return top, mass


@jit
def _decode_attention(q, prefix_k, prefix_v, tail_k, tail_v, lengths, scale, out):  # type: ignore[no-untyped-def]
    batch, heads, size = q.shape
    group = heads // prefix_k.shape[0]
    scores = np.empty(BLOCK, np.float32)
    acc = np.empty(size, np.float32)
    for b in range(batch):
        for h in range(heads):
            kv = h // group
            acc[:] = np.float32(0.0)
            top, mass = np.float32(-np.inf), np.float32(0.0)
            top, mass = _absorb(
                q[b, h],
                prefix_k[kv],
                prefix_v[kv],
                prefix_k.shape[1],
                scale,
                scores,
                acc,
                top,
                mass,
            )
            top, mass = _absorb(
                q[b, h], tail_k[b, kv], tail_v[b, kv], lengths[b], scale, scores, acc, top, mass
            )
            for i in range(size):
                out[b, h, i] = acc[i] / mass
