"""Attention of one new token per row: a prefix that all rows share, then each row's own tail.

Keys and values lie as they come, one position after another, in float32 or float16. Several
queries are scored at one reading of a key: all rows' against the prefix (a cascade), and against a
tail those that share a key head. Arrays in, arrays out; knows no model and no cache. Called by
`decoder`, and by `constrained_gpt.kv_cache` for float32 on a CPU. A row's result depends on that
row alone. The slow twin stands in `reference_attention`.
"""

from __future__ import annotations

import math

import numpy as np

from ._jit import jit
from ._simd import (
    LANES,
    blank,
    exp_sum,
    fetch,
    scaled,
    score_keys_1x1,
    score_keys_1x4,
    score_keys_2x1,
    score_keys_2x4,
    score_keys_3x1,
    score_keys_3x4,
    score_keys_4x1,
    score_keys_4x4,
    weigh_values_1x1,
    weigh_values_1x4,
    weigh_values_2x4,
    weigh_values_3x4,
    weigh_values_4x4,
)
from ._team import shared_team

QUERIES = 64  # most queries that are worked on together, if one row has no more
BLOCK = 4  # rows whose queries read the prefix together
AHEAD = 1  # rows between the one that is worked on and the one that is fetched
_WORTH = 8192  # places read, from which on a second thread is worth its waking


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
    """softmax(q k^T / sqrt(d)) v of every row over the prefix and `lengths[row]` places of its
    tail.

    q: (B, H, d); prefix_k, prefix_v: (KV, P, d); tail_k, tail_v: (S, KV, N, d); lengths: (B,)
    integers in 0..N; slots: (B,) integers in 0..S-1, which tail is a row's, None: the row's own
    number. H is a multiple of KV: query heads h*H/KV .. share key head h. float32, keys and values
    all float32 or all float16. alone: in the caller's thread, which is faster where another
    library's threads hold the processors between its calls. Returns (B, H, d).
    """
    check_shapes(q, prefix_k, prefix_v, tail_k, tail_v, lengths, slots)
    if tail_k.dtype == np.float16:
        prefix_k, prefix_v, tail_k, tail_v = (
            a.view(np.uint16) for a in (prefix_k, prefix_v, tail_k, tail_v)
        )
    size = q.shape[2]
    spare = -size % LANES
    if spare:
        wider = [(0, 0), (0, 0), (0, spare)]
        q, prefix_k, prefix_v = (np.pad(a, wider) for a in (q, prefix_k, prefix_v))
        tail_k, tail_v = (np.pad(a, [(0, 0), *wider]) for a in (tail_k, tail_v))
    q, prefix_k, prefix_v, tail_k, tail_v = (
        np.ascontiguousarray(a) for a in (q, prefix_k, prefix_v, tail_k, tail_v)
    )
    out = np.empty_like(q)  # (B, H, d)
    scale = np.float32(1.0 / math.sqrt(size))
    own = lengths.astype(np.int64)
    at = np.arange(len(q)) if slots is None else slots.astype(np.int64)
    args = (q, prefix_k, prefix_v, tail_k, tail_v, own, at, scale, out)
    read = prefix_k.shape[0] * (len(q) * prefix_k.shape[1] + int(own.sum()))
    if alone or read < _WORTH:
        shared_team().alone(_decode_attention, *args)
    else:
        shared_team().run(_decode_attention, *args)
    return out[:, :, :size] if spare else out


def check_shapes(
    q: np.ndarray,
    prefix_k: np.ndarray,
    prefix_v: np.ndarray,
    tail_k: np.ndarray,
    tail_v: np.ndarray,
    lengths: np.ndarray,
    slots: np.ndarray | None = None,
) -> None:
    """ValueError unless the arrays go together; the kernel itself checks nothing."""
    arrays = {
        "q": q, "prefix_k": prefix_k, "prefix_v": prefix_v, "tail_k": tail_k, "tail_v": tail_v,
    }  # fmt: skip
    kept = np.float16 if tail_k.dtype == np.float16 else np.float32
    for name, array in arrays.items():
        if array.dtype != (np.float32 if name == "q" else kept):
            raise ValueError(
                f"{name} must be float32, or keys and values all float16, got {array.dtype}; "
                "convert it first"
            )
    if q.ndim != 3 or prefix_k.ndim != 3 or tail_k.ndim != 4:
        raise ValueError(
            "q must be (B, H, d), prefix_k (KV, P, d) and tail_k (B, KV, N, d), got "
            f"{q.shape}, {prefix_k.shape} and {tail_k.shape}; add the missing axes"
        )
    (b, h, d), (kv, p, _), n = q.shape, prefix_k.shape, tail_k.shape[2]
    tails = b if slots is None else len(tail_k)
    wanted = {
        "prefix_k": (kv, p, d), "prefix_v": (kv, p, d), "tail_k": (tails, kv, n, d),
        "tail_v": (tails, kv, n, d),
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
    if slots is not None and (slots.shape != (b,) or slots.dtype.kind not in "iu"):
        raise ValueError(
            f"slots must be {b} integers, got shape {slots.shape} of {slots.dtype}; say which tail "
            "is whose"
        )
    if slots is not None and b and (slots.min() < 0 or slots.max() >= tails):
        raise ValueError(
            f"slots must lie in 0..{tails - 1}, got {slots.min()}..{slots.max()}; there are "
            f"{tails} tails"
        )
    if b and p == 0 and lengths.min() == 0:
        raise ValueError("a row has nothing to attend to; give a prefix or a tail of one place")


@jit
def _score(queries, at, q_stride, many, keys, k_at, width, count, scores, s_at, s_stride):  # type: ignore[no-untyped-def]
    """Products of `many` queries with `count` keys; nothing beyond them, up to whole LANES."""
    done = 0
    wide = width % (4 * LANES) == 0
    while done < many:
        q, s = at + done * q_stride, s_at + done * s_stride
        left = min(many - done, 4)
        if wide:
            if left == 4:
                score_keys_4x4(queries, q, q_stride, keys, k_at, width, count, scores, s, s_stride)
            elif left == 3:
                score_keys_3x4(queries, q, q_stride, keys, k_at, width, count, scores, s, s_stride)
            elif left == 2:
                score_keys_2x4(queries, q, q_stride, keys, k_at, width, count, scores, s, s_stride)
            else:
                score_keys_1x4(queries, q, q_stride, keys, k_at, width, count, scores, s, s_stride)
        elif left == 4:
            score_keys_4x1(queries, q, q_stride, keys, k_at, width, count, scores, s, s_stride)
        elif left == 3:
            score_keys_3x1(queries, q, q_stride, keys, k_at, width, count, scores, s, s_stride)
        elif left == 2:
            score_keys_2x1(queries, q, q_stride, keys, k_at, width, count, scores, s, s_stride)
        else:
            score_keys_1x1(queries, q, q_stride, keys, k_at, width, count, scores, s, s_stride)
        for r in range(left):
            blank(scores, s + r * s_stride, count)
        done += 4


@jit
def _gather(scores, s_at, s_stride, many, values, v_at, width, count, out, at, o_stride):  # type: ignore[no-untyped-def]
    """Add `count` values, weighed, to the sums of `many` queries."""
    done = 0
    while done < many:
        s, o = s_at + done * s_stride, at + done * o_stride
        left = min(many - done, 4)
        c = 0
        while c + 4 * LANES <= width:
            if left == 4:
                weigh_values_4x4(
                    scores, s, s_stride, values, v_at + c, width, count, out, o + c, o_stride
                )
            elif left == 3:
                weigh_values_3x4(
                    scores, s, s_stride, values, v_at + c, width, count, out, o + c, o_stride
                )
            elif left == 2:
                weigh_values_2x4(
                    scores, s, s_stride, values, v_at + c, width, count, out, o + c, o_stride
                )
            else:
                weigh_values_1x4(
                    scores, s, s_stride, values, v_at + c, width, count, out, o + c, o_stride
                )
            c += 4 * LANES
        while c < width:
            for r in range(left):
                weigh_values_1x1(
                    scores, s + r * s_stride, s_stride, values, v_at + c, width, count, out,
                    o + r * o_stride + c, o_stride,
                )  # fmt: skip
            c += LANES
        done += 4


@jit
def attend(  # type: ignore[no-untyped-def]
    queries, rows, group, width, prefix_k, prefix_v, prefix_at, seen, causal, tail_k, tail_v,
    tail_at, own, scores, out,
):  # fmt: skip
    """softmax(q k) v for `group` queries of each of `rows` rows that share one key head, over
    `seen` places of a prefix and own[row] places of each row's tail.

    Flat arrays. queries, out: float32, one query after another, each `width` long (whole LANES),
    scaled already; keys and values: float32 or halves, rows of the same width, the prefix from
    prefix_at, row r's tail from tail_at[r]. causal: row r sees rows - 1 - r places less of the
    prefix. scores: float32, room for (`score_room`) numbers a query.
    """
    first = (seen + LANES - 1) // LANES * LANES  # where the scores of the tail begin
    for low in range(0, rows, BLOCK):
        many = min(BLOCK, rows - low)
        size = many * group * width
        q_at = low * group * width
        most = 0
        for r in range(low, low + many):
            most = max(most, own[r])
        stride = first + (most + LANES - 1) // LANES * LANES
        if seen > 0:
            _score(
                queries, q_at, width, many * group, prefix_k, prefix_at, width, seen, scores, 0,
                stride,
            )  # fmt: skip
        for i in range(q_at, q_at + size):
            out[i] = np.float32(0.0)
        for r in range(low, low + many):
            if r + AHEAD < rows:  # a row's tail lies anywhere: a later one's on its way
                fetch(tail_k, tail_at[r + AHEAD], own[r + AHEAD] * width)
                fetch(tail_v, tail_at[r + AHEAD], own[r + AHEAD] * width)
            s_at, at = (r - low) * group * stride, r * group * width
            if own[r] > 0:
                _score(
                    queries, at, width, group, tail_k, tail_at[r], width, own[r], scores,
                    s_at + first, stride,
                )  # fmt: skip
            filled = first + (own[r] + LANES - 1) // LANES * LANES
            held = seen - (rows - 1 - r) if causal else seen
            for g in range(group):
                mine = s_at + g * stride
                for i in range(mine + held, mine + seen):
                    scores[i] = np.float32(-np.inf)
                weights = exp_sum(scores, mine, filled)
                scaled(scores, mine, filled, np.float32(1.0) / weights, scores, mine)
            if own[r] > 0:
                _gather(
                    scores, s_at + first, stride, group, tail_v, tail_at[r], width, own[r], out, at,
                    width,
                )  # fmt: skip
        if seen > 0:
            _gather(
                scores, 0, stride, many * group, prefix_v, prefix_at, width, seen, out, q_at, width
            )


def score_room(positions: int) -> int:
    """Numbers that `attend` needs for the scores of one query over so many positions."""
    return positions + 2 * LANES


@jit
def _decode_attention(  # type: ignore[no-untyped-def]
    thread, threads, barrier, q, prefix_k, prefix_v, tail_k, tail_v, lengths, slots, scale, out
):  # fmt: skip
    batch, heads, width = q.shape
    kv_heads, seen, n = tail_k.shape[1], prefix_k.shape[1], tail_k.shape[2]
    group = heads // kv_heads
    chunk = max(1, QUERIES // group)
    queries = np.empty(chunk * group * width, np.float32)
    found = np.empty(chunk * group * width, np.float32)
    scores = np.empty(chunk * group * (seen + n + 2 * LANES), np.float32)
    tail_at, own = np.empty(chunk, np.int64), np.empty(chunk, np.int64)
    pk, pv = prefix_k.reshape(-1), prefix_v.reshape(-1)
    tk, tv = tail_k.reshape(-1), tail_v.reshape(-1)
    items = batch * kv_heads  # rows within key heads
    item, high = items * thread // threads, items * (thread + 1) // threads
    while item < high:
        kv, b = item // batch, item % batch
        rows = min(chunk, batch - b, high - item)
        for r in range(rows):
            tail_at[r] = (slots[b + r] * kv_heads + kv) * n * width
            own[r] = lengths[b + r]
            for g in range(group):
                at = (r * group + g) * width
                for i in range(width):
                    queries[at + i] = q[b + r, kv * group + g, i] * scale
        attend(
            queries, rows, group, width, pk, pv, kv * seen * width, seen, False, tk, tv, tail_at,
            own, scores, found,
        )  # fmt: skip
        for r in range(rows):
            for g in range(group):
                at = (r * group + g) * width
                for i in range(width):
                    out[b + r, kv * group + g, i] = found[at + i]
        item += rows
