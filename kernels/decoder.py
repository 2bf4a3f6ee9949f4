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
    exp_top_sum,
    gelu,
    gelu_tanh,
    keep,
    row_product,
    scale_shift,
    scaled,
    sum_squares,
    sum_values,
    swiglu,
    tiles_close,
    tiles_open,
)
from ._team import BARRIER, meet
from .attention import QUERIES, attend
from .int8 import ROWS, ZERO, product_panel, quantize_row
from .log_norm import norm_of_panels

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
    """prefix_k, prefix_v: (L, KV, P, d'), read by all rows; tail_k, tail_v: (L, S, KV, N, d'), S
    slots, a row's tail is in its slot. float16 as uint16; d' whole LANES."""

    prefix_k: np.ndarray
    prefix_v: np.ndarray
    tail_k: np.ndarray
    tail_v: np.ndarray


class Room(NamedTuple):
    """Work space for up to B rows and T threads. x: float32 (B, width), residual stream; y: (B,
    wide); bytes: int8 (2 B, wide), high and low in turn, with scales (B,) and sums int32 (B,); per
    thread: acc int32 (T, ROWS * PANEL), panel float32 (T, B * PANEL), and for up to Q queries of
    C rows at a time: scores float32 (T, Q * `attention.score_room`), queries and found (T, Q d'),
    places int64 (T, 2 C). picked, picked_scales, picked_sums: as bytes, scales and sums, in the
    order of the output layer's work. layout: `_simd.tile_layout`."""

    x: np.ndarray
    y: np.ndarray
    bytes: np.ndarray
    scales: np.ndarray
    sums: np.ndarray
    acc: np.ndarray
    panel: np.ndarray
    scores: np.ndarray
    queries: np.ndarray
    found: np.ndarray
    places: np.ndarray
    picked: np.ndarray
    picked_scales: np.ndarray
    picked_sums: np.ndarray
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
    else:
        mean = np.float32(0.0)
        square = sum_squares(flat, base, width, mean) / size
        factor = np.float32(1.0) / np.sqrt(square + np.float32(shape.epsilon))
    scale_shift(flat, base, width, mean, factor, gain, shift, out, at)


@jit
def quantize_rows(y, stride, size, rows, room, thread, threads):  # type: ignore[no-untyped-def]
    wide = room.bytes.shape[1]
    flat = room.bytes.reshape(-1)
    for m in range(thread, rows, threads):
        scale, total = quantize_row(y, m * stride, size, flat, 2 * m * wide, wide)
        room.scales[m] = scale
        room.sums[m] = total


@jit
def norm_rows(shape, weights, which, rows, room, thread, threads):  # type: ignore[no-untyped-def]
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
def project(shape, weights, layer, matrix, rows, room, thread, threads):  # type: ignore[no-untyped-def]
    """One matrix of a layer times the rows' bytes; bias, activation or residual follow at once."""
    n, k = weights.rows_of[layer, matrix], weights.columns_of[layer, matrix]
    panels = n // PANEL
    code_at, scale_at = weights.code_at[layer, matrix], weights.scale_at[layer, matrix]
    wide = room.bytes.shape[1]
    acc, panel = room.acc[thread], room.panel[thread]
    tiles = room.layout[0] != 0
    bytes_ = room.bytes.reshape(-1)
    stride = room.y.shape[1]
    y = room.y.reshape(-1)
    gated = matrix == MLP_IN and shape.mlp == SWIGLU
    adds = matrix in (ATTENTION_OUT, MLP_OUT)
    for p in range(panels * thread // threads, panels * (thread + 1) // threads):
        out, out_at, out_stride = y, p * PANEL, stride
        if adds:
            out, out_stride = room.x.reshape(-1), shape.width
        elif gated:
            out, out_at, out_stride = panel, 0, PANEL
        product_panel(
            bytes_, wide, room.scales, room.sums, rows, weights.codes, code_at + p * PANEL * k,
            k // 4, weights.scales, weights.biases, scale_at + p * PANEL, tiles, acc, adds, out,
            out_at, out_stride,
        )  # fmt: skip
        if gated:
            half = PANEL // 2
            for m in range(rows):
                here = m * PANEL
                swiglu(panel, here, here + half, half, y, m * stride + p * half)
        elif matrix == MLP_IN:
            for m in range(rows):
                if shape.mlp == GELU_TANH:
                    gelu_tanh(y, m * stride + p * PANEL, PANEL)
                else:
                    gelu(y, m * stride + p * PANEL, PANEL)


@jit
def _turn(values, at, half, cos, sin):  # type: ignore[no-untyped-def]
    """Rotary positions: the halves of a head turned by the angles of its position, in place."""
    for i in range(half):
        a, b = values[at + i], values[at + half + i]
        values[at + i] = a * cos[i] - b * sin[i]
        values[at + half + i] = b * cos[i] + a * sin[i]


@jit
def _keep_row(y, at, d, width, spare, cache, cache_at):  # type: ignore[no-untyped-def]
    """A key or value of `d` numbers into its row of the cache. spare: zeros from `d` on."""
    if d == width:
        keep(y, at, d, cache, cache_at)
    else:
        for i in range(d):
            spare[i] = y[at + i]
        keep(spare, 0, width, cache, cache_at)


@jit
def attention(  # type: ignore[no-untyped-def]
    shape, weights, cache, layer, rows, slots, before, filled, prefill, room, thread, threads,
    barrier,
):  # fmt: skip
    """New keys and values into the cache, then every row's attention, into y[:, :heads * d]."""
    heads, kv_heads, d = shape.heads, shape.kv_heads, shape.head
    group = heads // kv_heads
    stride = room.y.shape[1]
    y = room.y.reshape(-1)
    width = cache.prefix_v.shape[3]
    p_room, n_room = cache.prefix_k.shape[2], cache.tail_k.shape[3]
    pk, pv = cache.prefix_k[layer].reshape(-1), cache.prefix_v[layer].reshape(-1)
    tk, tv = cache.tail_k[layer].reshape(-1), cache.tail_v[layer].reshape(-1)
    scores, queries, found = room.scores[thread], room.queries[thread], room.found[thread]
    chunk = max(1, QUERIES // group)
    tail_at, own = room.places[thread, :chunk], room.places[thread, chunk:]
    scale = np.float32(1.0) / np.sqrt(np.float32(d))
    items = rows * kv_heads  # the rows of the first key head, then those of the next
    low, high = items * thread // threads, items * (thread + 1) // threads
    if d != width:  # what lies between stays 0
        for i in range(len(queries)):
            queries[i] = np.float32(0.0)
    for item in range(low, high):
        kv, m = item // rows, item % rows
        place = before + m if prefill else before + filled[m]
        key, value = m * stride + (heads + kv) * d, m * stride + (heads + kv_heads + kv) * d
        if shape.rope:
            _turn(y, key, d // 2, weights.cos[place], weights.sin[place])
        if prefill:
            at = (kv * p_room + before + m) * width
            _keep_row(y, key, d, width, queries, pk, at)
            _keep_row(y, value, d, width, queries, pv, at)
        else:
            at = ((slots[m] * kv_heads + kv) * n_room + filled[m]) * width
            _keep_row(y, key, d, width, queries, tk, at)
            _keep_row(y, value, d, width, queries, tv, at)
    if prefill:
        meet(barrier, threads)
    item = low
    while item < high:
        kv, first = item // rows, item % rows
        many = min(chunk, rows - first, high - item)
        for r in range(many):
            m = first + r
            place = before + m if prefill else before + filled[m]
            own[r] = 0 if prefill else filled[m] + 1
            tail_at[r] = 0 if prefill else (slots[m] * kv_heads + kv) * n_room * width
            for g in range(group):
                at = m * stride + (kv * group + g) * d
                if shape.rope:
                    _turn(y, at, d // 2, weights.cos[place], weights.sin[place])
                to = (r * group + g) * width
                if d == width:
                    scaled(y, at, d, scale, queries, to)
                else:
                    for i in range(d):
                        queries[to + i] = y[at + i] * scale
        seen = before + first + many if prefill else before
        attend(
            queries, many, group, width, pk, pv, kv * p_room * width, seen, prefill, tk, tv,
            tail_at, own, scores, found,
        )  # fmt: skip
        for r in range(many):
            for g in range(group):
                at, to = (first + r) * stride + (kv * group + g) * d, (r * group + g) * width
                if d == width:
                    keep(found, to, d, y, at)
                else:
                    for i in range(d):
                        y[at + i] = found[to + i]
        item += many


_SHARE = 16  # rows that fill a tile: fewer are not split among threads


@jit
def teams_of(threads, rows):  # type: ignore[no-untyped-def]
    """How many teams with rows of their own the threads part into."""
    teams = 1
    while threads % (2 * teams) == 0 and rows >= 2 * teams * _SHARE:
        teams *= 2
    return teams


@jit
def forward(  # type: ignore[no-untyped-def]
    thread, threads, barrier, shape, weights, cache, tokens, states, slots, before, filled, prefill,
    room,
):  # fmt: skip
    """Take one token a row through all layers; the final norm's bytes are left in `room`.

    tokens, states (rows of `Weights.states`), slots: int64 (rows,). before: places of the prefix
    that are filled; filled: int64 (rows,), places of each row's tail that are. prefill: the rows
    are what is left of the prompt, one after another, and fill the prefix; else each row takes the
    next place of its tail. Called by every thread of a `Team`. Where there are rows enough, the
    threads part into teams with rows of their own, which never wait for each other and find their
    rows in their own processor's memory.
    """
    rows = len(tokens)
    teams = 1 if prefill else teams_of(threads, rows)
    each = threads // teams
    team = thread // each
    low, high = rows * team // teams, rows * (team + 1) // teams
    first, last = team * each, (team + 1) * each
    own = Room(
        room.x[low:high], room.y[low:high], room.bytes[2 * low : 2 * high], room.scales[low:high],
        room.sums[low:high], room.acc[first:last], room.panel[first:last],
        room.scores[first:last], room.queries[first:last], room.found[first:last],
        room.places[first:last], room.picked[2 * low : 2 * high], room.picked_scales[low:high],
        room.picked_sums[low:high], room.layout,
    )  # fmt: skip
    _forward_rows(
        thread - first, each, barrier[BARRIER * team : BARRIER * (team + 1)], shape, weights, cache,
        tokens[low:high], states[low:high], slots[low:high], before, filled[low:high], prefill,
        own,
    )  # fmt: skip


@jit
def _forward_rows(  # type: ignore[no-untyped-def]
    thread, threads, barrier, shape, weights, cache, tokens, states, slots, before, filled, prefill,
    room,
):  # fmt: skip
    """`forward`, of one team's rows."""
    rows = len(tokens)
    width = shape.width
    if room.layout[0] != 0:
        tiles_open(room.layout)
    for m in range(thread, rows, threads):
        token = tokens[m]
        scale = weights.embedding_scales[token]
        place = before + m if prefill else before + filled[m]
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
        norm_rows(shape, weights, 2 * layer, rows, room, thread, threads)
        meet(barrier, threads)
        project(shape, weights, layer, QKV, rows, room, thread, threads)
        meet(barrier, threads)
        attention(
            shape, weights, cache, layer, rows, slots, before, filled, prefill, room, thread,
            threads, barrier,
        )  # fmt: skip
        meet(barrier, threads)
        y = room.y.reshape(-1)
        stride = room.y.shape[1]
        taken = weights.columns_of[layer, ATTENTION_OUT]
        for m in range(thread, rows, threads):  # what lies beyond the heads is not theirs
            for i in range(shape.heads * shape.head, taken):
                y[m * stride + i] = np.float32(0.0)
        quantize_rows(y, stride, taken, rows, room, thread, threads)
        meet(barrier, threads)
        project(shape, weights, layer, ATTENTION_OUT, rows, room, thread, threads)
        meet(barrier, threads)
        norm_rows(shape, weights, 2 * layer + 1, rows, room, thread, threads)
        meet(barrier, threads)
        project(shape, weights, layer, MLP_IN, rows, room, thread, threads)
        meet(barrier, threads)
        quantize_rows(y, stride, shape.inner, rows, room, thread, threads)
        meet(barrier, threads)
        project(shape, weights, layer, MLP_OUT, rows, room, thread, threads)
        meet(barrier, threads)
    if room.layout[0] != 0:
        tiles_close()
    norm_rows(shape, weights, 2 * shape.layers, rows, room, thread, threads)
    meet(barrier, threads)


@jit
def head_logits(  # type: ignore[no-untyped-def]
    thread, threads, barrier, codes, scales, room, rows, need, into_start, into, out, columns,
    panels, norms,
):  # fmt: skip
    """Logits of the first rows of a packed output layer, from rows of bytes, and what all of a
    row's logits come to.

    codes packed (V'/64 panels), scales float32 (V',). room: as `forward` leaves it. rows: int64,
    those whose logits are wanted, and need: int64, how many of each, descending. out: float32
    (most rows, >= need[0] rounded up to PANEL), logits of rows[i] in its rows into[into_start[i] :
    into_start[i + 1]]; what lies beyond a row's need is left as it was or is right. norms: float64
    (rows,), log sum exp of the first `columns` logits of rows[i], the same in any company; of no
    size where nobody asks. panels: float32 (2, V'/64, rows), tops and sums of theirs: a panel's lie
    together, for it is one thread that writes them. Every thread of a `Team` calls it.
    """
    many = len(need)
    wide = room.bytes.shape[1]
    for m in range(thread, many, threads):
        row = rows[m]
        for half in range(2):
            for i in range(wide):
                room.picked[2 * m + half, i] = room.bytes[2 * row + half, i]
        room.picked_scales[m] = room.scales[row]
        room.picked_sums[m] = room.sums[row]
    meet(barrier[BARRIER * threads :], threads)
    if many == 0 or (need[0] == 0 and len(norms) == 0):
        return
    flat, found, stride = room.picked.reshape(-1), out.reshape(-1), out.shape[1]
    k = codes.shape[0] // scales.shape[0]
    wanted = columns if len(norms) else need[0]
    count = (wanted + PANEL - 1) // PANEL
    tops, sums = panels[0], panels[1]
    tiles = room.layout[0] != 0
    acc, panel = room.acc[thread], room.panel[thread]
    no_bias = np.zeros(PANEL, np.float32)
    if tiles:
        tiles_open(room.layout)
    kept = many
    # alternately, since later panels serve fewer rows
    for p in range(thread, count, threads):
        while kept and need[kept - 1] <= p * PANEL:
            kept -= 1
        if len(norms) == 0:
            many = kept
        product_panel(
            flat, wide, room.picked_scales, room.picked_sums, many, codes, p * PANEL * k, k // 4,
            scales[p * PANEL :], no_bias, 0, tiles, acc, False, panel, 0, PANEL,
        )  # fmt: skip
        for m in range(kept):
            for copy in range(into_start[m], into_start[m + 1]):
                keep(panel, m * PANEL, PANEL, found, into[copy] * stride + p * PANEL)
        if len(norms):
            for m in range(many):
                if columns - p * PANEL < PANEL:
                    for i in range(columns - p * PANEL, PANEL):
                        panel[m * PANEL + i] = np.float32(-np.inf)
                tops[p, m], sums[p, m] = exp_top_sum(panel, m * PANEL, PANEL)
    if tiles:
        tiles_close()
    if len(norms):
        meet(barrier[BARRIER * threads :], threads)
        mine = np.empty((2, (count + LANES - 1) // LANES * LANES), np.float32)
        for m in range(thread, many, threads):
            for p in range(count):
                mine[0, p], mine[1, p] = tops[p, m], sums[p, m]
            norms[m] = norm_of_panels(mine[0], mine[1], count)


@jit
def forward_slice(  # type: ignore[no-untyped-def]
    thread, threads, barrier, shape, weights, cache, tokens, states, slots, before, filled, room,
    rows, need, into_start, into, codes, scales, out, columns, panels, norms, head, head_scales,
    start, singles, like, extra,
):  # fmt: skip
    """`forward`, `head_logits` and `token_logits` of one decoding step in one call."""
    forward(
        thread, threads, barrier, shape, weights, cache, tokens, states, slots, before, filled,
        False, room,
    )  # fmt: skip
    meet(barrier[BARRIER * threads :], threads)
    token_logits(thread, threads, barrier, head, head_scales, room, start, singles, like, extra)
    head_logits(
        thread, threads, barrier, codes, scales, room, rows, need, into_start, into, out, columns,
        panels, norms,
    )  # fmt: skip


@jit
def token_logits(thread, threads, barrier, codes, scales, room, start, tokens, like, out):  # type: ignore[no-untyped-def]
    """Logits of single tokens, row by row: out[e] for e in start[b] .. start[b + 1], from the bytes
    of row like[b].

    codes: uint8 (V', K') row by row; the numbers are those of `head_logits` to the bit.
    """
    wide = room.bytes.shape[1]
    bytes_ = room.bytes.reshape(-1)
    flat = codes.reshape(-1)
    k = codes.shape[1]
    for b in range(thread, len(like), threads):
        m = like[b]
        less = np.int32(np.int32(ZERO) * room.sums[m])
        for e in range(start[b], start[b + 1]):
            token = tokens[e]
            high = row_product(bytes_, 2 * m * wide, flat, token * k, k)
            low = row_product(bytes_, (2 * m + 1) * wide, flat, token * k, k)
            whole = np.int32(np.int32(np.int32(high << np.int32(5)) + low) - less)
            out[e] = np.float32(whole) * (room.scales[m] * scales[token])


__all__ = [
    "ATTENTION_OUT", "GELU", "GELU_TANH", "LAYERNORM", "MLP_IN", "MLP_OUT", "QKV", "RMSNORM",
    "ROWS", "SWIGLU", "Cache", "Room", "Shape", "Weights", "forward", "forward_slice",
    "head_logits", "teams_of", "token_logits",
]  # fmt: skip
