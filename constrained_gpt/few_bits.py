"""Weights in three or four bits: codes of a fixed codebook, a scale for every 64 of a row.

The codebooks are the levels that lose least of a normal variable (Lloyd, Least Squares Quantization
in PCM, IEEE Trans. Inf. Theory 28:2, 1982; the levels are recomputed by a test). The scale of a
group is a byte times a float32 of its row. `quantized` rounds column after column and lets the
columns to come make up for what rounding did to the product, as the inputs seen demand (Frantar,
Ashkboos, Hoefler, Alistarh, GPTQ, ICLR 2023, section 3.3, without reordering). numpy alone; knows
arrays, no model. Called by `checkpoint_boxed` and `finetune.pack`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

GROUP = 64  # weights of a row that share a scale
_HALF = {
    3: (0.24509, 0.75600, 1.34390, 2.15195),
    4: (0.12840, 0.38805, 0.65681, 0.94240, 1.25625, 1.61805, 2.06909, 2.73259),
}  # fmt: skip
LEVELS = {
    bits: np.array([*(-x for x in reversed(half)), *half], np.float32)
    for bits, half in _HALF.items()
}
_TRIED = np.linspace(0.6, 1.05, 10, dtype=np.float32)  # scales, of that which spares the largest


class Few(NamedTuple):
    """codes: uint8, `pack`ed; steps: uint8 (N, K / 64); scale: float32 (N,)."""

    codes: Array
    steps: Array
    scale: Array


def pack(codes: Array, bits: int) -> Array:
    """Codes uint8 below 2 ** bits, any shape, as a row of bytes."""
    flat = codes.reshape(-1, 1) >> np.arange(bits - 1, -1, -1, dtype=np.uint8) & 1
    return np.packbits(flat.reshape(-1).astype(bool))


def unpack(data: Array, bits: int, count: int) -> Array:
    """`count` codes back."""
    flat = np.unpackbits(data, count=count * bits).reshape(count, bits)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint8)
    return (flat * weights).sum(1, dtype=np.uint8)


def restored(few: Few, bits: int) -> Array:
    """The matrix, float32 (N, K), that codes and scales stand for."""
    n, groups = few.steps.shape
    codes = unpack(few.codes, bits, n * groups * GROUP).reshape(n, groups, GROUP)
    scale = few.scale[:, None] * few.steps.astype(np.float32) / np.float32(255)
    out: Array = (LEVELS[bits][codes] * scale[:, :, None]).reshape(n, groups * GROUP)
    return out


def quantized(weight: Array, bits: int, inputs: Array | None = None) -> Few:
    """Codes and scales of a matrix, float32 (N, K), K a multiple of 64.

    inputs: float64 (K, K), the sum of x x^T over inputs x that the matrix is used on; None: every
    weight counts the same.
    """
    w = np.array(weight, np.float32)
    n, k = w.shape
    if k % GROUP:
        raise ValueError(f"a row of {k} weights is not made of groups of {GROUP}; use int8")
    if not np.isfinite(w).all():
        raise ValueError("a weight is not finite; train again from the last good checkpoint")
    levels = LEVELS[bits]
    scale = np.abs(w).max(axis=1) / levels[-1] * np.float32(_TRIED[-1])
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    # The largest group of a row need not use the largest step: errors before it may have grown it.
    codes = np.empty((n, k), np.uint8)
    steps = np.empty((n, k // GROUP), np.uint8)
    inverse = None if inputs is None else _inverse(inputs)
    bounds = (levels[1:] + levels[:-1]) / 2
    for group in range(k // GROUP):
        at = group * GROUP
        part = w[:, at : at + GROUP]
        steps[:, group] = _best_steps(part, scale, levels, bounds)
        own = scale * steps[:, group].astype(np.float32) / np.float32(255)
        safe = np.where(own > 0, own, np.float32(1))
        if inverse is None:
            codes[:, at : at + GROUP] = np.searchsorted(bounds, part / safe[:, None])
            continue
        errors = np.empty((n, GROUP), np.float32)
        near = inverse[at : at + GROUP, at : at + GROUP]
        for c in range(GROUP):
            column = part[:, c]
            code = np.searchsorted(bounds, column / safe)
            codes[:, at + c] = code
            errors[:, c] = (column - levels[code] * own) / near[c, c]
            part[:, c + 1 :] -= errors[:, c, None] * near[c, c + 1 :]
        w[:, at + GROUP :] -= errors @ inverse[at : at + GROUP, at + GROUP :]
    return Few(pack(codes, bits), steps, scale)


def _best_steps(part: Array, scale: Array, levels: Array, bounds: Array) -> Array:
    """The step of each row's group, uint8 (N,), that loses least of its weights."""
    top = np.abs(part).max(axis=1) / levels[-1]
    best = np.full(len(part), np.inf, np.float32)
    chosen = np.ones(len(part), np.uint8)
    for share in _TRIED:
        step = np.clip(np.rint(share * top / scale * 255), 1, 255)
        own = (scale * step.astype(np.float32) / np.float32(255))[:, None]
        loss = ((part - levels[np.searchsorted(bounds, part / own)] * own) ** 2).sum(1)
        better = loss < best
        best[better], chosen[better] = loss[better], step[better].astype(np.uint8)
    return chosen


def _inverse(inputs: Array) -> Array:
    """The upper Cholesky factor of the inverse of the inputs' second moments, float32 (K, K)."""
    h = np.array(inputs, np.float64)
    h[np.diag_indices_from(h)] += 0.01 * np.diag(h).mean() + 1e-12
    whole = np.linalg.inv(h)
    return np.linalg.cholesky((whole + whole.T) / 2).T.astype(np.float32)
