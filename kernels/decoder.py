"""A decoder's forward pass over bytes, whole: from token ids to quantised hidden states and logits.

One compiled function takes every layer of a step, its threads meeting at barriers, so that nothing
is dispatched between products. A row's numbers depend on that row alone: products of bytes are
exact (`int8`), every other sum has a fixed order. GPT-2 and Llama by shape, as `constrained_gpt`'s
GPT. Arrays in, arrays out; knows no checkpoint and no lattice. The slow twin stands in
`reference_decoder`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._jit import jit
from ._simd import (
    LANES,
    PANEL,
    exp_less,
    gelu,
    gelu_tanh,
    largest,
    row_product,
    score_keys_1,
    score_keys_4,
    sum_squares,
    sum_values,
    swiglu,
    tiles_close,
    tiles_open,
    weigh_values_1,
    weigh_values_4,
)
from ._team import meet
from .int8 import ROWS, ZERO, product_panel, quantize_row

LAYERNORM, RMSNORM = 0, 1
GELU, GELU_TANH, SWIGLU = 0, 1, 2
QKV, ATTENTION_OUT, MLP_IN, MLP_OUT = range(4)  # the matrices of a layer


class Shape(NamedTuple):
    """Sizes of a model. width, inner: as stored, padded to PANEL; true_width: without padding.
    norm, mlp: constants above. rope: 1 for rotary positions, 0 for learned ones."""

    layers: int
    width: int
    true_width: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    norm: int
    mlp: int
    rope: int
    epsilon: float


class Weights(NamedTuple):
    """codes: uint8, all matrices packed (`int8.pack`), matrix m of layer l from code_at[l, m];
    its scales and biases, float32, from scale_at[l, m] of `scales` and `biases`; rows_of[l, m],
    columns_of[l, m]: its padded sizes N', K'. norms: float32 (2 layers + 1, 2, width), gain and
    shift. embedding: uint8 (V', width) codes, embedding_scales: float32 (V',); positions: float32
    (T, width); cos, sin: float32 (T, head / 2). states: float32 (S, width), what is added to a
    token for a lattice state, row 0 of zeros for none.
    """

    codes: np.ndarray
    code_at: np.ndarray
    scales: np.ndarray
    biases: np.ndarray
    scale_at: np.ndarray
    rows_of: np.ndarray
    columns_of: np.ndarray
    norms: np.ndarray
    embedding: np.ndarray
    embedding_scales: np.ndarray
    positions: np.ndarray
    cos: np.ndarray
    sin: np.ndarray
    states: np.ndarray


class Cache(NamedTuple):
    """Keys lie with positions side by side. prefix_k: (L, KV, d, P'), prefix_v: (L, KV, P', d');
    tail_k: (L, S, KV, d, N'), tail_v: (L, S, KV, N', d'), float32; S slots, a row's tail is in its
    slot; P', N', d' multiples of 16."""

    prefix_k: np.ndarray
    prefix_v: np.ndarray
    tail_k: np.ndarray
    tail_v: np.ndarray


class Room(NamedTuple):
    """Work space for up to B rows and T threads. x: float32 (B, width), residual stream; y: (B,
    wide); bytes: int8 (2 B, wide), high and low in turn, with scales (B,) and sums int32 (B,); per
    thread: acc int32 (T, ROWS * PANEL), panel float32 (T, B * PANEL), scores float32 (T,
    positions), query (T, 2 d'). layout: `_simd.tile_layout`."""

    x: np.ndarray
    y: np.ndarray
    bytes: np.ndarray
    scales: np.ndarray
    sums: np.ndarray
    acc: np.ndarray
    panel: np.ndarray
    scores: np.ndarray
    query: np.ndarray
    layout: np.ndarray


@jit
def _norm_row(shape, norms, which, x, row, out, at):  # type: ignore[no-untyped-def]
    """The norm number `which` of x[row] into out[at : at + width]; padding stays 0."""
    width, true = shape.width, shape.true_width
    base = row * width
    flat = x.reshape(-1)
    gain, shift = norms[which, 0], norms[which, 1]
    size = np.float32(true)
    if shape.norm == LAYERNORM:
        mean = sum_values(flat, base, width) / size
        # the padding is 0 and would count as (0 - mean)^2
        spare = np.float32(width - true) * (mean * mean)
        variance = (sum_squares(flat, base, width, mean) - spare) / size
        variance = max(variance, np.float32(0.0))
        factor = np.float32(1.0) / np.sqrt(variance + np.float32(shape.epsilon))
        for i in range(width):
            out[at + i] = (flat[base + i] - mean) * factor * gain[i] + shift[i]
    else:
        square = sum_squares(flat, base, width, np.float32(0.0)) / size
        factor = np.float32(1.0) / np.sqrt(square + np.float32(shape.epsilon))
        for i in range(width):
            out[at + i] = flat[base + i] * factor * gain[i]


@jit
def _quantize_rows(y, stride, size, rows, room, thread, threads):  # type: ignore[no-untyped-def]
    wide = room.bytes.shape[1]
    flat = room.bytes.reshape(-1)
    for m in range(thread, rows, threads):
        scale, total = quantize_row(y, m * stride, size, flat, 2 * m * wide, wide)
        room.scales[m] = scale
        room.sums[m] = total


@jit
def _norm_rows(shape, weights, which, rows, room, thread, threads):  # type: ignore[no-untyped-def]
    """Norm of the residual stream, then its bytes."""
    wide = room.bytes.shape[1]
    flat, y = room.bytes.reshape(-1), room.y.reshape(-1)
    stride = room.y.shape[1]
    for m in range(thread, rows, threads):
        _norm_row(shape, weights.norms, which, room.x, m, y, m * stride)
        scale, total = quantize_row(y, m * stride, shape.width, flat, 2 * m * wide, wide)
        room.scales[m] = scale
        room.sums[m] = total


@jit
def _project(shape, weights, layer, matrix, rows, room, thread, threads):  # type: ignore[no-untyped-def]
    """One matrix of a layer times the rows' bytes; bias, activation or residual follow at once."""
    n, k = weights.rows_of[layer, matrix], weights.columns_of[layer, matrix]
    panels = n // PANEL
    code_at, scale_at = weights.code_at[layer, matrix], weights.scale_at[layer, matrix]
    wide = room.bytes.shape[1]
    acc, panel = room.acc[thread], room.panel[thread]
    tiles = room.layout[0] != 0
    bytes_ = room.bytes.reshape(-1)
    stride = room.y.shape[1]
    y, x = room.y.reshape(-1), room.x.reshape(-1)
    bias = weights.biases
    for p in range(panels * thread // threads, panels * (thread + 1) // threads):
        product_panel(
            bytes_, wide, room.scales, room.sums, rows, weights.codes, code_at + p * PANEL * k,
            k // 4, weights.scales, bias, scale_at + p * PANEL, tiles, acc, panel,
        )  # fmt: skip
        for m in range(rows):
            here = m * PANEL
            if matrix == QKV:
                at = m * stride + p * PANEL
                for c in range(PANEL):
                    y[at + c] = panel[here + c]
            elif matrix == MLP_IN:
                if shape.mlp == SWIGLU:
                    half = PANEL // 2
                    swiglu(panel, here, here + half, half, y, m * stride + p * half)
                    continue
                if shape.mlp == GELU_TANH:
                    gelu_tanh(panel, here, PANEL)
                else:
                    gelu(panel, here, PANEL)
                at = m * stride + p * PANEL
                for c in range(PANEL):
                    y[at + c] = panel[here + c]
            else:
                at = m * shape.width + p * PANEL
                for c in range(PANEL):
                    x[at + c] += panel[here + c]


@jit
def _turn(values, at, half, cos, sin):  # type: ignore[no-untyped-def]
    """Rotary positions: the halves of a head turned by the angles of its position, in place."""
    for i in range(half):
        a, b = values[at + i], values[at + half + i]
        values[at + i] = a * cos[i] - b * sin[i]
        values[at + half + i] = b * cos[i] + a * sin[i]


@jit
def _scores(query, keys, at, stride, size, count, out, out_at):  # type: ignore[no-untyped-def]
    """Products of a query with `count` keys, rounded up to LANES, to out[out_at:]."""
    blocks = (count + LANES - 1) // LANES
    b = 0
    while b + 4 <= blocks:
        score_keys_4(query, 0, keys, at + b * LANES, stride, size, out, out_at + b * LANES)
        b += 4
    while b < blocks:
        score_keys_1(query, 0, keys, at + b * LANES, stride, size, out, out_at + b * LANES)
        b += 1
    return blocks * LANES


@jit
def _gather(scores, scores_at, values, at, width, count, out, out_at):  # type: ignore[no-untyped-def]
    """out[out_at : + width] += weights times `count` values."""
    c = 0
    while c + 4 * LANES <= width:
        weigh_values_4(scores, scores_at, values, at + c, width, count, out, out_at + c)
        c += 4 * LANES
    while c < width:
        weigh_values_1(scores, scores_at, values, at + c, width, count, out, out_at + c)
        c += LANES


@jit
def _attend(  # type: ignore[no-untyped-def]
    query, prefix_k, prefix_v, k_at, v_at, p_stride, seen, tail_k, tail_v, tk_at, tv_at, t_stride,
    own, head, width, scores, out, out_at,
):  # fmt: skip
    """softmax(q k) v of one query, scaled already, over `seen` places of the prefix and `own` of
    the tail, into out[out_at : + width]."""
    first = _scores(query, prefix_k, k_at, p_stride, head, seen, scores, 0)
    total = first + _scores(query, tail_k, tk_at, t_stride, head, own, scores, first)
    low = np.float32(-np.inf)
    for i in range(seen, first):
        scores[i] = low
    for i in range(first + own, total):
        scores[i] = low
    exp_less(scores, total, largest(scores, total))
    inverse = np.float32(1.0) / sum_values(scores, 0, total)
    for i in range(total):
        scores[i] *= inverse
    for i in range(width):
        out[out_at + i] = np.float32(0.0)
    _gather(scores, 0, prefix_v, v_at, width, seen, out, out_at)
    _gather(scores, first, tail_v, tv_at, width, own, out, out_at)


@jit
def _attention(  # type: ignore[no-untyped-def]
    shape, weights, cache, layer, rows, slots, position, prefill, room, thread, threads, barrier
):  # fmt: skip
    """New keys and values into the cache, then every row's attention, into y[:, :heads * d]."""
    heads, kv_heads, d = shape.heads, shape.kv_heads, shape.head
    group = heads // kv_heads
    stride = room.y.shape[1]
    y = room.y.reshape(-1)
    width = cache.prefix_v.shape[3]
    p_room, n_room = cache.prefix_k.shape[3], cache.tail_k.shape[4]
    pk, pv = cache.prefix_k[layer].reshape(-1), cache.prefix_v[layer].reshape(-1)
    tk, tv = cache.tail_k[layer].reshape(-1), cache.tail_v[layer].reshape(-1)
    scores, query = room.scores[thread], room.query[thread]
    scale = np.float32(1.0) / np.sqrt(np.float32(d))
    items = rows * kv_heads
    low, high = items * thread // threads, items * (thread + 1) // threads
    before = position[0]  # places of the prefix
    length = position[1]  # places of every tail that are filled
    for item in range(low, high):
        m, kv = item // kv_heads, item % kv_heads
        place = m if prefill else before + length
        key, value = m * stride + (heads + kv) * d, m * stride + (heads + kv_heads + kv) * d
        if shape.rope:
            _turn(y, key, d // 2, weights.cos[place], weights.sin[place])
        if prefill:
            for i in range(d):
                pk[(kv * d + i) * p_room + m] = y[key + i]
                pv[(kv * p_room + m) * width + i] = y[value + i]
        else:
            slot = slots[m] * kv_heads + kv
            for i in range(d):
                tk[(slot * d + i) * n_room + length] = y[key + i]
                tv[(slot * n_room + length) * width + i] = y[value + i]
    if prefill:
        meet(barrier, threads)
    for item in range(low, high):
        m, kv = item // kv_heads, item % kv_heads
        place = m if prefill else before + length
        slot = 0 if prefill else slots[m] * kv_heads + kv
        seen = m + 1 if prefill else before
        own = 0 if prefill else length + 1
        for g in range(group):
            at = m * stride + (kv * group + g) * d
            if shape.rope:
                _turn(y, at, d // 2, weights.cos[place], weights.sin[place])
            for i in range(d):
                query[i] = y[at + i] * scale
            _attend(
                query, pk, pv, kv * d * p_room, kv * p_room * width, p_room, seen, tk, tv,
                slot * d * n_room, slot * n_room * width, n_room, own, d, width, scores, query,
                width,
            )  # fmt: skip
            for i in range(d):
                y[at + i] = query[width + i]


@jit
def forward(  # type: ignore[no-untyped-def]
    thread, threads, barrier, shape, weights, cache, tokens, states, slots, position, prefill, room
):  # fmt: skip
    """Take one token a row through all layers; the final norm's bytes are left in `room`.

    tokens, states (rows of `Weights.states`), slots: int64 (rows,). position: int64 (2,): places of
    the prefix, places filled in every tail. prefill: the rows are the prompt, one after another,
    and fill the prefix; else each row takes the next place of its tail. Called by every thread of
    a `Team`.
    """
    rows = len(tokens)
    width = shape.width
    if room.layout[0] != 0:
        tiles_open(room.layout)
    for m in range(thread, rows, threads):
        token = tokens[m]
        scale = weights.embedding_scales[token]
        place = m if prefill else position[0] + position[1]
        for i in range(width):
            room.x[m, i] = np.float32(np.int32(weights.embedding[token, i]) - ZERO) * scale
        if not shape.rope:
            for i in range(width):
                room.x[m, i] += weights.positions[place, i]
        state = states[m]
        if state > 0:
            for i in range(width):
                room.x[m, i] += weights.states[state, i]
    for layer in range(shape.layers):
        _norm_rows(shape, weights, 2 * layer, rows, room, thread, threads)
        meet(barrier, threads)
        _project(shape, weights, layer, QKV, rows, room, thread, threads)
        meet(barrier, threads)
        _attention(
            shape, weights, cache, layer, rows, slots, position, prefill, room, thread, threads,
            barrier,
        )  # fmt: skip
        meet(barrier, threads)
        y = room.y.reshape(-1)
        stride = room.y.shape[1]
        taken = weights.columns_of[layer, ATTENTION_OUT]
        for m in range(thread, rows, threads):  # what lies beyond the heads is not theirs
            for i in range(shape.heads * shape.head, taken):
                y[m * stride + i] = np.float32(0.0)
        _quantize_rows(y, stride, taken, rows, room, thread, threads)
        meet(barrier, threads)
        _project(shape, weights, layer, ATTENTION_OUT, rows, room, thread, threads)
        meet(barrier, threads)
        _norm_rows(shape, weights, 2 * layer + 1, rows, room, thread, threads)
        meet(barrier, threads)
        _project(shape, weights, layer, MLP_IN, rows, room, thread, threads)
        meet(barrier, threads)
        _quantize_rows(y, stride, shape.inner, rows, room, thread, threads)
        meet(barrier, threads)
        _project(shape, weights, layer, MLP_OUT, rows, room, thread, threads)
        meet(barrier, threads)
    if room.layout[0] != 0:
        tiles_close()
    _norm_rows(shape, weights, 2 * shape.layers, rows, room, thread, threads)
    meet(barrier, threads)


@jit
def head_logits(  # type: ignore[no-untyped-def]
    thread, threads, barrier, codes, scales, no_bias, bytes_, row_scales, row_sums, need, acc,
    panel, layout, out,
):  # fmt: skip
    """Logits of the first rows of a packed output layer, from rows of bytes.

    codes packed (V'/64 panels), scales float32 (V',), no_bias: zeros like them. bytes_: int8
    (2 rows, wide), row_scales float32, row_sums int32 (rows,), as `forward` leaves them in `Room`.
    need: int64 (rows,), descending: how many logits each row needs. out: float32 (rows, >= need[0]
    rounded up to PANEL); what lies beyond a row's need is left as it was or is right.
    """
    rows = len(need)
    if rows == 0 or need[0] == 0:
        return
    wide = bytes_.shape[1]
    flat = bytes_.reshape(-1)
    k = codes.shape[0] // scales.shape[0]
    panels = (need[0] + PANEL - 1) // PANEL
    many = rows
    tiles = layout[0] != 0
    if tiles:
        tiles_open(layout)
    # alternately, since later panels serve fewer rows
    for p in range(thread, panels, threads):
        while many and need[many - 1] <= p * PANEL:
            many -= 1
        product_panel(
            flat, wide, row_scales, row_sums, many, codes, p * PANEL * k, k // 4, scales, no_bias,
            p * PANEL, tiles, acc[thread], panel[thread],
        )  # fmt: skip
        for m in range(many):
            for c in range(PANEL):
                out[m, p * PANEL + c] = panel[thread, m * PANEL + c]
    if tiles:
        tiles_close()


@jit
def token_logits(thread, threads, barrier, codes, scales, room, start, tokens, out):  # type: ignore[no-untyped-def]
    """Logits of single tokens, row by row: out[e] for e in start[m] .. start[m + 1].

    codes: uint8 (V', K') row by row; the numbers are those of `head_logits` to the bit.
    """
    wide = room.bytes.shape[1]
    bytes_ = room.bytes.reshape(-1)
    flat = codes.reshape(-1)
    k = codes.shape[1]
    for m in range(thread, len(start) - 1, threads):
        less = np.int32(np.int32(ZERO) * room.sums[m])
        for e in range(start[m], start[m + 1]):
            token = tokens[e]
            high = row_product(bytes_, 2 * m * wide, flat, token * k, k)
            low = row_product(bytes_, (2 * m + 1) * wide, flat, token * k, k)
            whole = np.int32(np.int32(np.int32(high << np.int32(5)) + low) - less)
            out[e] = np.float32(whole) * (room.scales[m] * scales[token])


__all__ = [
    "ATTENTION_OUT", "GELU", "GELU_TANH", "LAYERNORM", "MLP_IN", "MLP_OUT", "QKV", "RMSNORM",
    "ROWS", "SWIGLU", "Cache", "Room", "Shape", "Weights", "forward", "head_logits",
    "token_logits",
]  # fmt: skip
