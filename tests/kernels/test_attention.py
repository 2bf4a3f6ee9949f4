"""Decode attention against its slow twin and torch's own, and float16 against numpy's."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from constrained_gpt.kernels import _simd, attention, reference_attention
from constrained_gpt.kernels._team import Team

Arrays = tuple[np.ndarray, ...]


def arrays(
    b: int, h: int, kv: int, p: int, n: int, d: int, seed: int = 0, dtype: type = np.float32
) -> Arrays:
    """Arguments of `decode_attention`, lengths drawn from what is allowed."""
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    cached = [numbers(kv, p, d), numbers(kv, p, d), numbers(b, kv, n, d), numbers(b, kv, n, d)]
    lengths = rng.integers(0 if p else 1, n + 1, b)
    return (2 * numbers(b, h, d), *(a.astype(dtype) for a in cached), lengths)


@given(
    b=st.integers(1, 9), group=st.integers(1, 7), kv=st.integers(1, 3), p=st.integers(0, 37), n=st.integers(1, 35),
    d=st.sampled_from([1, 4, 16, 20, 48, 64, 80, 128]), half=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_is_its_slow_twin(b: int, group: int, kv: int, p: int, n: int, d: int, half: bool) -> None:
    given_ = arrays(
        b, group * kv, kv, p, n, d, seed=b + n, dtype=np.float16 if half else np.float32
    )
    got = attention.decode_attention(*given_)
    assert got.shape == given_[0].shape and got.dtype == np.float32
    np.testing.assert_allclose(got, reference_attention.decode_attention(*given_), atol=1e-5)


def test_tails_lie_where_slots_say() -> None:
    q, prefix_k, prefix_v, tail_k, tail_v, lengths = arrays(9, 6, 2, 21, 30, 32)
    slots = np.array([8, 0, 3, 5, 1])
    given_ = (q[:5], prefix_k, prefix_v, tail_k, tail_v, lengths[slots], slots)
    wanted = attention.decode_attention(
        q[:5], prefix_k, prefix_v, tail_k[slots], tail_v[slots], lengths[slots]
    )
    for alone in (False, True):
        np.testing.assert_array_equal(attention.decode_attention(*given_, alone=alone), wanted)
    np.testing.assert_allclose(reference_attention.decode_attention(*given_), wanted, atol=1e-5)
    for wrong in (slots[:4], slots + 1, slots - 1, slots.astype(float)):
        with pytest.raises(ValueError, match=r"say which tail|there are 9 tails"):
            attention.decode_attention(*given_[:-1], wrong)


@pytest.mark.parametrize(("b", "h", "kv"), [(1, 12, 12), (7, 9, 3), (64, 12, 12), (3, 8, 1)])
def test_is_torchs_own(b: int, h: int, kv: int) -> None:
    q, prefix_k, prefix_v, tail_k, tail_v, _ = arrays(b, h, kv, 16, 24, 64)
    got = attention.decode_attention(q, prefix_k, prefix_v, tail_k, tail_v, np.full(b, 24))

    def whole(prefix: np.ndarray, tail: np.ndarray) -> torch.Tensor:
        return torch.cat([torch.tensor(prefix)[None].expand(b, -1, -1, -1), torch.tensor(tail)], 2)

    wanted = F.scaled_dot_product_attention(
        torch.tensor(q)[:, :, None],
        whole(prefix_k, tail_k),
        whole(prefix_v, tail_v),
        enable_gqa=h != kv,
    )
    np.testing.assert_allclose(got, wanted[:, :, 0].numpy(), atol=1e-5)


def test_a_row_depends_on_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    q, prefix_k, prefix_v, tail_k, tail_v, lengths = arrays(70, 6, 2, 21, 30, 32)
    monkeypatch.setattr(attention, "_WORTH", 0)
    team = Team(3)
    for asked in (team, Team(1)):
        monkeypatch.setattr(attention, "shared_team", lambda asked=asked: asked)
        together = attention.decode_attention(q, prefix_k, prefix_v, tail_k, tail_v, lengths)
        for row in (0, 5, 33, 69):
            one = slice(row, row + 1)
            alone = attention.decode_attention(
                q[one], prefix_k, prefix_v, tail_k[one], tail_v[one], lengths[one]
            )
            np.testing.assert_array_equal(alone[0], together[row])


@pytest.mark.parametrize(
    ("place", "change", "says"),
    [
        (0, lambda a: a.astype(np.float64), "q must be float32"),
        (0, lambda a: a[0], "add the missing axes"),
        (1, lambda a: a.astype(np.float16), "prefix_k must be float32"),
        (2, lambda a: a[:, :-1], "prefix_v must have shape"),
        (3, lambda a: a[:-1], "tail_k must have shape"),
        (4, lambda a: a[..., :-1], "tail_v must have shape"),
        (5, lambda a: a[:-1], "lengths must be 3 integers"),
        (5, lambda a: a + 100, "lengths must lie in 0..5"),
        (5, lambda a: a - 100, "lengths must lie in 0..5"),
        (5, lambda a: a.astype(float), "lengths must be 3 integers"),
    ],
)
def test_what_does_not_fit_is_refused(place: int, change: object, says: str) -> None:
    given_ = list(arrays(3, 4, 2, 7, 5, 16))
    given_[place] = change(given_[place])  # type: ignore[operator]
    with pytest.raises(ValueError, match=says):
        attention.decode_attention(*given_)


def test_heads_that_cannot_share_and_nothing_to_attend_to() -> None:
    q, prefix_k, prefix_v, tail_k, tail_v, lengths = arrays(3, 4, 2, 7, 5, 16)
    with pytest.raises(ValueError, match="cannot share"):
        attention.decode_attention(q[:, :3], prefix_k, prefix_v, tail_k, tail_v, lengths)
    with pytest.raises(ValueError, match="nothing to attend to"):
        attention.decode_attention(q, prefix_k[:, :0], prefix_v[:, :0], tail_k, tail_v, lengths * 0)


@pytest.mark.parametrize("by_name", [True, False])
def test_float16_is_numpys(by_name: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of the processor's and by whole numbers: every float16, and float32 around them."""
    if not by_name:
        monkeypatch.setattr(_simd, "_half_by_name", lambda context: False)
    score, keep = _simd.score_keys_1x1, _simd.keep

    @numba.njit
    def narrowed(x, out):  # type: ignore[no-untyped-def]
        keep(x, 0, len(x), out, 0)

    @numba.njit
    def widened(one, halves, out):  # type: ignore[no-untyped-def]
        score(one, 0, 16, halves, 0, 16, len(out), out, 0, 0)

    finite = np.arange(65536, dtype=np.uint16)
    finite = finite[np.isfinite(finite.view(np.float16))]
    exact = finite.view(np.float16).astype(np.float32)
    # every one alone in a row of 16: a product with 1 is the number itself
    rows = np.zeros((len(finite), 16), np.uint16)
    rows[:, 3] = finite
    out = np.zeros(-(-len(finite) // 4) * 4, np.float32)
    widened(np.ones(16, np.float32), rows.reshape(-1), out[: len(finite)])
    np.testing.assert_array_equal(out[: len(finite)], exact)

    step = np.abs(np.spacing(exact.astype(np.float16))).astype(np.float32)
    around = np.concatenate(
        [exact, exact + step / 2, exact - step / 2, exact + step / 3, [1e6, -1e6, 1e-30, -0.0]]
    )
    around = np.pad(around.astype(np.float32), (0, -len(around) % 16))
    got = np.zeros(len(around), np.uint16)
    narrowed(around, got)
    held = np.clip(around, -65504, 65504)
    np.testing.assert_array_equal(got.view(np.float16), held.astype(np.float16))
    np.testing.assert_array_equal(np.signbit(got.view(np.float16)), np.signbit(held))
