"""Products of bytes against their slow twin, to the last bit of every whole number."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import byte_products
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained_gpt.kernels import _simd, int8, log_norm, reference, reference_int8
from constrained_gpt.kernels import decoder as kd
from constrained_gpt.kernels._jit import jit
from constrained_gpt.kernels.reference_decoder import unpacked

PANEL = int8.PANEL


@jit
def _exp(x):  # type: ignore[no-untyped-def]
    _simd.exp_less(x, len(x), np.float32(0.0))


@jit
def _gelu(x):  # type: ignore[no-untyped-def]
    _simd.gelu(x, 0, len(x))


@jit
def _gelu_tanh(x):  # type: ignore[no-untyped-def]
    _simd.gelu_tanh(x, 0, len(x))


@jit
def _swiglu(x, out):  # type: ignore[no-untyped-def]
    _simd.swiglu(x, 0, len(out), len(out), out, 0)


@jit
def _with_tiles(  # type: ignore[no-untyped-def]
    x,
    k,
    row_scales,
    sums,
    rows,
    packed,
    at,
    groups,
    scales,
    biases,
    scales_at,
    tiles,
    acc,
    out,
    out_at,
    stride,
    layout,
):
    if tiles:
        _simd.tiles_open(layout)
    int8.product_panel(
        x,
        k,
        row_scales,
        sums,
        rows,
        packed,
        at,
        groups,
        scales,
        biases,
        scales_at,
        tiles,
        acc,
        False,
        out,
        out_at,
        stride,
    )
    if tiles:
        _simd.tiles_close()


LAYOUT = _simd.tile_layout()
TILES = [False, True] if LAYOUT[0] else [False]


def product(
    x: np.ndarray, codes: np.ndarray, scales: np.ndarray, tiles: bool = False
) -> np.ndarray:
    """x (M, K') times quantised rows (N', K'), by the kernel."""
    (rows, k), n = x.shape, len(codes)
    packed = int8.pack(codes)
    bytes_ = np.zeros((2 * rows, k), np.int8)
    row_scales, sums = np.zeros(rows, np.float32), np.zeros(rows, np.int32)
    for m in range(rows):
        row_scales[m], sums[m] = int8.quantize_row(
            x.reshape(-1), m * k, k, bytes_.reshape(-1), 2 * m * k, k
        )
    acc = np.zeros(int8.ROWS * PANEL, np.int32)
    out = np.zeros((rows, n), np.float32)
    for p in range(n // PANEL):
        _with_tiles(
            bytes_.reshape(-1), k, row_scales, sums, rows, packed, p * PANEL * k, k // 4,
            scales, np.zeros_like(scales), p * PANEL, tiles, acc, out.reshape(-1), p * PANEL, n, LAYOUT,
        )  # fmt: skip
    return out


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 8, 11, 19])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (64, 64), (130, 70), (70, 200)])
def test_product_is_its_twin(rows: int, n: int, k: int, tiles: bool) -> None:
    rng = np.random.default_rng(rows * 1000 + n)
    weight = rng.standard_normal((n, k)).astype(np.float32)
    codes, scales = int8.quantize_weight(weight)
    x = np.zeros((rows, codes.shape[1]), np.float32)
    x[:, :k] = rng.standard_normal((rows, k)) * 10 ** rng.uniform(-3, 3, (rows, 1))
    got = product(x, codes, scales, tiles)
    wanted = reference_int8.linear(x, codes, scales)
    np.testing.assert_array_equal(got, wanted)
    exact = x[:, :k].astype(np.float64) @ weight.T.astype(np.float64)
    loose = np.abs(x).max(axis=1, keepdims=True) * np.abs(weight).max() * np.sqrt(k) * 0.03
    assert (np.abs(got[:, :n] - exact) <= loose).all()
    assert not got[:, n:].any()  # padding


@pytest.mark.parametrize("tiles", TILES)
def test_largest_sums_fit(tiles: bool) -> None:
    """Every product at its largest: the sum is right at LARGEST inputs."""
    k = int8.LARGEST
    x = np.full((8, k), -7.0, np.float32)
    codes = np.full((PANEL, k), 255, np.uint8)
    codes[1::2] = 1
    scales = np.ones(PANEL, np.float32)
    got = product(x, codes, scales, tiles)
    sign = np.where(np.arange(PANEL) % 2, 1.0, -1.0)
    np.testing.assert_allclose(got, np.broadcast_to(sign * 7.0 * 127 * k, got.shape), rtol=1e-6)


@given(st.lists(st.floats(width=32), min_size=1, max_size=70))
@settings(max_examples=200, deadline=None)
def test_any_row_is_quantised_or_seen(values: list[float]) -> None:
    """Whatever the row: q within bounds and its sum right, or a scale that is nan."""
    size = int8.padded(len(values))
    x = np.zeros(size, np.float32)
    x[: len(values)] = values
    out = np.full(2 * size, 99, np.int8)
    scale, total = int8.quantize_row(x, 0, size, out, 0, size)
    q = 32 * out[:size].astype(int) + out[size:]
    assert int(q.sum()) == total
    assert (np.abs(q) <= int8.LEVELS).all()
    if not np.isfinite(x).all():
        assert np.isnan(scale) and not q.any()
    else:
        assert np.isfinite(scale)
        # a row too small to be divided by becomes zeros
        assert (np.abs(q * np.float64(scale) - x) <= 0.51 * scale + 6.1e-36).all()


def test_weights_come_back() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((100, 90)).astype(np.float32)
    weight[7] = 0.0
    codes, scales = int8.quantize_weight(weight)
    assert codes.shape == (128, 128) and codes.min() >= 1
    back = (codes[:100, :90].astype(np.float64) - 128) * scales[:100, None]
    assert (np.abs(back - weight) <= 0.5001 * scales[:100, None]).all()
    assert (codes[100:] == 128).all() and (codes[:, 90:] == 128).all()
    np.testing.assert_array_equal(unpacked(int8.pack(codes), 128, 128), codes)
    weight[3, 4] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        int8.quantize_weight(weight)


def test_vector_functions() -> None:
    """The formulas written in LLVM against float64 ones, and what lies outside their range."""
    from math import erf

    x = np.concatenate([np.linspace(-120, 88, 4001), [-np.inf, 0.0, -0.0, 1e-30]], dtype=np.float32)
    x = np.pad(x, (0, -len(x) % _simd.LANES))
    got = x.copy()
    _exp(got)
    with np.errstate(under="ignore"):
        wanted = np.exp(x.astype(np.float64))
    wanted[x < -87] = 0
    np.testing.assert_allclose(got, wanted, rtol=2.5e-7, atol=0)

    y = np.pad(np.linspace(-12, 12, 5000, dtype=np.float32), (0, 8))
    wide = y.astype(np.float64)
    for function, exact in (
        (_gelu, 0.5 * wide * (1 + np.vectorize(erf)(wide / np.sqrt(2)))),
        (
            _gelu_tanh,
            0.5 * wide * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3))),
        ),
    ):
        got = y.copy()
        function(got)
        np.testing.assert_allclose(got, exact, atol=2e-6, rtol=0)
    gate_up = np.concatenate([y, y[::-1]]).astype(np.float32)
    out = np.zeros(len(y), np.float32)
    _swiglu(gate_up, out)
    np.testing.assert_allclose(out, wide / (1 + np.exp(-wide)) * wide[::-1], atol=2e-5, rtol=0)


def test_single_tokens_are_the_output_layer_to_the_bit() -> None:
    rng = np.random.default_rng(3)
    head, scales = int8.quantize_weight(rng.standard_normal((200, 70)).astype(np.float32))
    rows, k = 4, head.shape[1]
    x = np.zeros((rows, k), np.float32)
    x[:, :70] = rng.standard_normal((rows, 70))
    whole = product(x, head, scales)
    room = kd.Room(
        x=x, y=x, bytes=np.zeros((2 * rows, k), np.int8), scales=np.zeros(rows, np.float32),
        sums=np.zeros(rows, np.int32), acc=np.zeros((1, int8.ROWS * PANEL), np.int32),
        panel=np.zeros((1, rows * PANEL), np.float32), scores=x, queries=x, found=x,
        places=np.zeros((1, 2), np.int64),
        picked=np.zeros((2 * rows, k), np.int8), picked_scales=np.zeros(rows, np.float32),
        picked_sums=np.zeros(rows, np.int32), layout=LAYOUT,
    )  # fmt: skip
    for m in range(rows):
        room.scales[m], room.sums[m] = int8.quantize_row(
            x.reshape(-1), m * k, k, room.bytes.reshape(-1), 2 * m * k, k
        )
    tokens = rng.integers(0, 200, 17)
    start = np.array([0, 5, 5, 11, 17])
    out = np.zeros(17, np.float32)
    barrier = np.zeros(32, np.int64)
    like = np.arange(rows)
    kd.token_logits(0, 1, barrier, head, scales, room, start, tokens, like, out)
    owner = np.repeat(np.arange(rows), np.diff(start))
    np.testing.assert_array_equal(out, whole[owner, tokens])
    # descending needs: what a row does not need is not computed
    need = np.array([200, 130, 64, 0])
    # the second row's twice; and what all of a row's logits come to, the padding's not among them
    start, into = np.array([0, 1, 3, 4, 5]), np.array([0, 4, 1, 2, 3])
    for norms in (np.zeros(0), np.zeros(rows)):
        part = np.full((rows + 1, 256), np.nan, np.float32)
        kd.head_logits(
            0, 1, barrier, int8.pack(head), scales, room, np.arange(rows), need, start, into, part,
            200, np.zeros((2, 4, rows), np.float32), norms,
        )  # fmt: skip
        for m, many in enumerate([*need, need[1]]):
            row = m if m < rows else 1
            np.testing.assert_array_equal(part[m, :many], whole[row, :many])
            beyond = -(-many // PANEL) * PANEL
            assert np.isnan(part[m, beyond:]).all()
    for m in range(rows):
        assert norms[m] == log_norm.log_sum_exp(whole[m, :200])
        assert norms[m] == pytest.approx(reference.log_sum_exp(whole[m, :200]), abs=1e-6)


_ELSEWHERE = """
import hashlib, os, sys
import numpy as np
sys.path.insert(0, {tests!r})
import byte_products
print(byte_products.digest())
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 processors")
@pytest.mark.parametrize("processor", ["generic", "haswell"])
def test_other_instructions_give_the_same_numbers(
    processor: str, request: pytest.FixtureRequest
) -> None:
    """Compiled for a processor without VNNI, and for one without AVX2: whole numbers and floats are
    those of this one, to the bit."""
    features = {"generic": "", "haswell": "+avx,+avx2,+fma,+sse4.1,+sse4.2,+ssse3,+sse3,+popcnt"}
    host = _simd.cpu_target.target_context.codegen().magic_tuple()[2]
    if processor == "haswell" and not {"+avx2", "+fma"} <= set(host.split(",")):
        pytest.skip("this processor has no AVX2")
    script = _ELSEWHERE.format(tests=str(request.path.parent.parent))
    environment = os.environ | {
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": features[processor],
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == byte_products.digest()
