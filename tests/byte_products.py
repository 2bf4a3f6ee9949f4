"""What the vector instructions compute, as one number to compare across processors.

Products of bytes of every number of rows, and the formulas in float32. Used by the kernels' tests.
"""

from __future__ import annotations

import hashlib

import numpy as np

from constrained_gpt.kernels import _simd, int8, reference_int8
from constrained_gpt.kernels._jit import jit

PANEL = int8.PANEL


@jit
def _formulas(x, out):  # type: ignore[no-untyped-def]
    """Sums in front, then e^x, both GELUs and SwiGLU of x (whole LANES)."""
    n = len(x)
    out[0] = _simd.sum_values(x, 0, n)
    out[1] = _simd.sum_squares(x, 0, n, np.float32(0.3))
    out[2] = _simd.largest(x, n)
    for i in range(n):
        out[16 + i] = x[i]
        out[16 + n + i] = x[i]
        out[16 + 2 * n + i] = x[i]
    _simd.gelu(out, 16, n)
    _simd.gelu_tanh(out, 16 + n, n)
    _simd.swiglu(out, 16 + 2 * n, 16 + 2 * n, n, out, 16 + 3 * n)
    _simd.exp_less(x, n, np.float32(0.7))


def digest() -> str:
    """SHA-256 of all of it; the products are compared with their slow twin on the way."""
    rng = np.random.default_rng(5)
    found = hashlib.sha256()
    for rows, n, k in ((1, 64, 64), (2, 130, 70), (3, 64, 200), (8, 64, 64), (19, 70, 130)):
        weight = rng.standard_normal((n, k)).astype(np.float32)
        codes, scales = int8.quantize_weight(weight)
        size = codes.shape[1]
        x = np.zeros((rows, size), np.float32)
        x[:, :k] = rng.standard_normal((rows, k)) * 10 ** rng.uniform(-3, 3, (rows, 1))
        packed = int8.pack(codes)
        bytes_ = np.zeros(2 * rows * size, np.int8)
        row_scales, sums = np.zeros(rows, np.float32), np.zeros(rows, np.int32)
        for m in range(rows):
            row_scales[m], sums[m] = int8.quantize_row(
                x.reshape(-1), m * size, size, bytes_, 2 * m * size, size
            )
        acc = np.zeros(int8.ROWS * PANEL, np.int32)
        panel = np.zeros(rows * PANEL, np.float32)
        wanted = reference_int8.linear(x, codes, scales)
        for p in range(len(codes) // PANEL):
            int8.product_panel(
                bytes_, size, row_scales, sums, rows, packed, p * PANEL * size, size // 4, scales,
                np.zeros_like(scales), p * PANEL, False, acc, False, panel, 0, PANEL,
            )  # fmt: skip
            got = panel.reshape(rows, PANEL)
            np.testing.assert_array_equal(got, wanted[:, p * PANEL : (p + 1) * PANEL])
            found.update(got.tobytes())
        found.update(bytes_.tobytes())
        found.update(sums.tobytes())
    x = np.linspace(-20, 20, 1600, dtype=np.float32)
    out = np.zeros(16 + 4 * len(x), np.float32)
    _formulas(x, out)
    found.update(out.tobytes())
    found.update(x.tobytes())
    return found.hexdigest()
