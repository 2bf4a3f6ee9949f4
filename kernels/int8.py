"""Matrices of bytes: weights quantised by output channel, activations by row, their product exact.

y[m, n] = sum over k of x[m, k] w[n, k] with w[n, k] ~ (code - 128) * scale[n], codes 1..255, and
x[m, k] ~ q * scale[m], |q| <= 2047. One byte is too little for activations: with eight bits a few
large channels cost SmolLM2 11 % of perplexity, with twelve under 1 % (bench/LOG.md; the outliers of
LLM.int8(), Dettmers et al. 2022, section 3). So q = 32 high + low, each a byte, and a row of
activations is two rows of bytes against one reading of the weights. The sum of products is a whole
number below 2^31: a row's result is the same in any company and on any processor. Weights lie in
panels of 64 rows of the matrix (columns of the product), four bytes of one row together, as the
instructions want them. The slow twins stand in `reference_int8`. Called by `decoder`.
"""

from __future__ import annotations

import numpy as np

from ._jit import jit
from ._simd import (
    GROUP,
    LANES,
    PANEL,
    TILE_ROWS,
    add_panel,
    bits_float,
    panel_product_2,
    panel_product_4,
    panel_product_6,
    panel_tiles_16,
    panel_tiles_32,
    split_bytes_5,
    top_bits,
    weigh_panel,
)

ROWS = 2 * TILE_ROWS  # most rows of bytes that share one reading of the weights
ZERO = 128  # the code of weight 0
LEVELS = 2047  # of activations, either side of 0
LARGEST = (2**31 - 1) // (LEVELS * 127) // PANEL * PANEL  # inputs whose sum of products still fits


def padded(size: int) -> int:
    """The next multiple of PANEL: the size that matrices are stored with."""
    return -(-size // PANEL) * PANEL


def quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales of a matrix (N, K) of float32: uint8 (N', K'), float32 (N',), both sizes
    padded with weights 0.

    ValueError where a weight is not finite.
    """
    weight = np.ascontiguousarray(weight, np.float32)
    n, k = weight.shape
    codes = np.full((padded(n), padded(k)), ZERO, np.uint8)
    scales = np.zeros(padded(n), np.float32)
    for first in range(0, n, 4096):  # a large matrix in parts: no second copy of it in float32
        part = weight[first : first + 4096]
        top = np.abs(part).max(axis=1, initial=0.0)
        if not np.isfinite(top).all():
            raise ValueError("a weight is not finite; the checkpoint is damaged, fetch it again")
        scale = (top / np.float32(127)).astype(np.float32)
        safe = np.where(scale > 0, scale, np.float32(1))
        whole = np.rint(part / safe[:, None]).astype(np.int16) + ZERO
        codes[first : first + len(part), :k] = whole.clip(1, 255)
        scales[first : first + len(part)] = scale
    return codes, scales


def pack(codes: np.ndarray) -> np.ndarray:
    """Codes (N', K') in panels: uint8 (N'/64 * K'/4 * 64 * 4,)."""
    n, k = codes.shape
    fours = np.ascontiguousarray(codes).view(np.uint32)  # GROUP bytes are moved as one
    panels = fours.reshape(n // PANEL, PANEL, k // GROUP).transpose(0, 2, 1)
    return np.ascontiguousarray(panels).reshape(-1).view(np.uint8)


@jit
def quantize_row(
    x: np.ndarray, at: int, size: int, codes: np.ndarray, codes_at: int, stride: int
) -> tuple[float, int]:
    """Write x[at : at + size] as bytes, high ones to codes[codes_at:], low ones `stride` further;
    returns their scale and the sum of q.

    x float32, codes int8, size a multiple of 16, at most LARGEST. Rounds halves to even. Where a
    number is not finite all become 0 and the scale nan, so that it is seen downstream.
    """
    top = top_bits(x, at, size)
    largest = bits_float(top)
    inverse = np.float32(LEVELS) / largest
    finite = top < np.int32(0x7F800000)
    if not (finite and top > 0 and inverse < np.float32(np.inf)):  # or too small to be inverted
        for i in range(size):
            codes[codes_at + i] = 0
            codes[codes_at + stride + i] = 0
        return np.float32(0.0) if finite else np.float32(np.nan), np.int32(0)
    total = split_bytes_5(x, at, size, inverse, codes, codes_at, codes_at + stride)
    return largest / np.float32(LEVELS), total


@jit
def product_panel(
    x: np.ndarray,
    x_stride: int,
    scales: np.ndarray,
    sums: np.ndarray,
    rows: int,
    weights: np.ndarray,
    panel_at: int,
    groups: int,
    weight_scales: np.ndarray,
    biases: np.ndarray,
    scales_at: int,
    tiles: bool,
    acc: np.ndarray,
    adds: bool,
    out: np.ndarray,
    out_at: int,
    out_stride: int,
) -> None:
    """One panel of the product for the first `rows` rows, biases added: PANEL float32 a row, from
    out[out_at + m * out_stride]. adds: onto what stands there.

    x int8, the high bytes of row m from 2 m x_stride, the low ones x_stride further; scales
    float32, sums int32: of its rows, by `quantize_row`. weights packed, the panel from panel_at,
    `groups` = K'/4; weight_scales, biases float32, the panel's from scales_at. tiles: this thread
    has AMX tiles laid out. acc int32 (ROWS * PANEL,): room to work in.
    """
    m = 0
    while m < rows:
        at = 2 * m * x_stride
        if tiles and m + TILE_ROWS <= rows:
            panel_tiles_32(x, at, x_stride, weights, panel_at, groups, acc)
            many = TILE_ROWS
        elif tiles and m + TILE_ROWS // 2 <= rows:
            panel_tiles_16(x, at, x_stride, weights, panel_at, groups, acc)
            many = TILE_ROWS // 2
        elif m + 3 <= rows:
            panel_product_6(x, at, x_stride, weights, panel_at, groups, acc)
            many = 3
        elif m + 2 == rows:
            panel_product_4(x, at, x_stride, weights, panel_at, groups, acc)
            many = 2
        else:
            panel_product_2(x, at, x_stride, weights, panel_at, groups, acc)
            many = 1
        for r in range(many):  # the sums may wrap: they are right modulo 2^32, and fit
            less = np.int32(np.int32(ZERO) * sums[m + r])
            to = out_at + (m + r) * out_stride
            if adds:
                add_panel(
                    acc, 2 * r * PANEL, less, scales[m + r], weight_scales, biases, scales_at, out,
                    to,
                )  # fmt: skip
            else:
                weigh_panel(
                    acc, 2 * r * PANEL, less, scales[m + r], weight_scales, biases, scales_at, out,
                    to,
                )  # fmt: skip
        m += many


__all__ = [
    "LANES", "LARGEST", "PANEL", "ROWS", "ZERO", "pack", "padded", "product_panel", "quantize_row",
    "quantize_weight",
]  # fmt: skip
