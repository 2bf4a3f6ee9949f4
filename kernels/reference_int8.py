"""The slow twins of `int8`, in plain numpy: same names, same numbers to the bit where whole numbers
are compared."""

from __future__ import annotations

import numpy as np

ZERO = 128
LEVELS = 2047


def quantize_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers q, int16 (M, K), and scales (M,) of activations (M, K) float32."""
    x = np.asarray(x, np.float32)
    top = np.abs(x).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(top > 0, np.float32(LEVELS) / top, np.float32(0)).astype(np.float32)
    codes = np.rint(x * inverse[:, None]).astype(np.int16)
    return codes, (top / np.float32(LEVELS)).astype(np.float32)


def linear(x: np.ndarray, codes: np.ndarray, weight_scales: np.ndarray) -> np.ndarray:
    """x (M, K) float32 times codes (N, K) uint8 with their scales (N,): float32 (M, N)."""
    q, scales = quantize_rows(x)
    whole = q.astype(np.int64) @ (codes.astype(np.int64) - ZERO).T
    factor = (scales[:, None] * weight_scales[None]).astype(np.float32)
    return whole.astype(np.float32) * factor
