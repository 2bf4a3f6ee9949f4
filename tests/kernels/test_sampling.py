"""The fused draw against its slow twin, and against the distribution it claims to draw from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained_gpt.kernels import log_norm, reference, sampling
from constrained_gpt.kernels._team import Team
from constrained_gpt.kernels.mask import Masks

OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.3},
    {"top_k": 3},
    {"top_k": 1},
    {"top_k": 10_000},
    {"top_p": 0.5},
    {"top_p": 1e-9},
    {"top_p": 0.999},
    {"min_p": 0.2},
    {"min_p": 1.0},
    {"penalty": 1.7},
    {"lookahead": False},
    {"temperature": 1.4, "top_k": 12, "top_p": 0.8, "min_p": 0.05, "penalty": 1.2},
]
DEFAULTS: dict[str, Any] = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "penalty": 1.0, "lookahead": True,
}  # fmt: skip
Drawn = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def some_masks(rng: np.random.Generator, rows: int, vocab: int) -> tuple[np.ndarray, Masks]:
    """An order, and rows of every kind: an entry and extras, one of them, drops, one candidate."""
    sorted_size = int(rng.integers(1, vocab + 1))
    order = rng.permutation(vocab)[:sorted_size].astype(np.int32)
    inner = np.setdiff1d(np.arange(vocab), order)
    entry, start, stop, prefix = [], [], [], []
    position: list[int] = [7, 7]  # the arena holds other entries too
    drop: list[int] = []
    drop_start, extra_start = [0], [0]
    extra: list[int] = []
    for b in range(rows):
        kind = int(rng.integers(4)) if len(inner) else 0
        inside = np.zeros(0, np.int64)
        if kind != 3:
            inside = np.sort(rng.choice(sorted_size, rng.integers(1, sorted_size + 1), False))
        dropped = inside[rng.random(len(inside)) < 0.3]
        if len(inside) and len(dropped) == len(inside):
            dropped = dropped[1:]
        more = np.zeros(0, np.int64)
        if kind >= 2:
            more = np.sort(rng.choice(inner, rng.integers(1, len(inner) + 1), False))
        entry.append(b if len(inside) else -1)
        start.append(len(position))
        position += inside.tolist()
        stop.append(len(position))
        prefix.append(int(inside[-1]) + 1 if len(inside) else 0)
        drop += dropped.tolist()
        drop_start.append(len(drop))
        extra += more.tolist()
        extra_start.append(len(extra))
    masks = Masks(
        entry=np.array(entry, np.int32),
        start=np.array(start, np.int64),
        stop=np.array(stop, np.int64),
        position=np.array(position, np.int32),
        outlook=rng.choice([0.0, -1.5, -4.0], len(position)).astype(np.float32),
        prefix=np.array(prefix, np.int32),
        drop_start=np.array(drop_start, np.int64),
        drop=np.array(drop, np.int32),
        extra_start=np.array(extra_start, np.int64),
        extra_token=np.array(extra, np.int32),
        extra_outlook=rng.choice([0.0, -2.0], len(extra)).astype(np.float32),
    )
    return order, masks


def allowed(order: np.ndarray, masks: Masks, row: int) -> list[int]:
    """The candidates of a row in their sequence, token ids."""
    dropped = set(masks.drop[masks.drop_start[row] : masks.drop_start[row + 1]].tolist())
    places = masks.position[masks.start[row] : masks.stop[row]] if masks.entry[row] >= 0 else []
    extras = masks.extra_token[masks.extra_start[row] : masks.extra_start[row + 1]]
    return [int(order[p]) for p in places if int(p) not in dropped] + extras.tolist()


def draw(
    module: Any, logits: np.ndarray, order: np.ndarray, masks: Masks, uniforms: np.ndarray,
    history: np.ndarray, *, sliced: bool = False, threads: int = 1, **options: Any,
) -> Drawn:  # fmt: skip
    """One draw a row by `module`; sliced: it is given the slices only, and no norms."""
    rows, vocab = logits.shape
    rank = np.full(vocab, -1, np.int32)
    rank[order] = np.arange(len(order))
    norm = np.array([reference.log_sum_exp(row) for row in logits])
    given, extra = logits, np.zeros(0, np.float32)
    if sliced:
        owner = np.repeat(np.arange(rows), np.diff(masks.extra_start))
        given = np.full((rows, int(masks.prefix.max()) + 3), np.nan, np.float32)
        for b, size in enumerate(masks.prefix):
            given[b, :size] = logits[b, order[:size]]
        extra = logits[owner, masks.extra_token]
        norm = np.full(rows, np.nan)
    place = np.arange(rows)[::-1]  # rows of logits lie anywhere
    given = np.ascontiguousarray(given[place])
    chosen = DEFAULTS | options
    guide, guide_row = chosen.get("guide", (np.zeros((1, 1), np.float32), np.full(rows, -1)))
    out = (np.zeros(rows, np.int64), *(np.zeros(rows) for _ in range(4)))
    args = (
        given, place, extra, not sliced, order, rank, masks, norm, history, uniforms,
        float(chosen["temperature"]), int(chosen["top_k"]), float(chosen["top_p"]),
        float(chosen["min_p"]), float(chosen["penalty"]), bool(chosen["lookahead"]), guide, guide_row,
        np.empty((threads, 2, vocab + 1024), np.float32), *out,
    )  # fmt: skip
    if module is reference:
        module.sample_masked(0, 1, np.zeros(32, np.int64), *args)
    else:
        Team(threads).run(module.sample_masked, *args)
    return out


def clear_of_borders(
    logits: np.ndarray, order: np.ndarray, masks: Masks, uniforms: np.ndarray, row: int,
    options: dict[str, Any], history: np.ndarray,
) -> bool:  # fmt: skip
    """Would the twin draw the same with a slightly different uniform number and limits?"""
    results = set()
    for push in (-3e-6, 0.0, 3e-6):
        nudged = dict(options)
        if 1e-6 < options.get("top_p", 1.0) < 1:
            nudged["top_p"] = options["top_p"] + push
        if 0 < options.get("min_p", 0.0) < 1:
            nudged["min_p"] = options["min_p"] * (1 + push)
        shifted = np.clip(uniforms + push, 0, np.nextafter(1.0, 0.0))
        tokens = draw(reference, logits, order, masks, shifted, history, **nudged)[0]
        results.add(int(tokens[row]))
    return len(results) == 1


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("guided", [False, True])
def test_equals_twin(options: dict[str, Any], ties: bool, guided: bool) -> None:
    rng = np.random.default_rng(7)
    compared = 0
    for trial in range(25):
        rows, vocab = int(rng.integers(1, 6)), int(rng.integers(2, 300))
        logits = (3 * rng.standard_normal((rows, vocab))).astype(np.float32)
        if ties:
            logits = np.round(logits)
        order, masks = some_masks(rng, rows, vocab)
        history = rng.integers(-1, vocab, (rows, 5))
        uniforms = rng.random(rows)
        if trial == 0:
            uniforms[:] = 0.0
        elif trial == 1:
            uniforms[:] = np.nextafter(1.0, 0.0)
        if guided:
            table = rng.standard_normal((3, len(order) + 1)).astype(np.float32)
            options = options | {"guide": (table, rng.integers(-1, 3, rows))}
        slow = draw(reference, logits, order, masks, uniforms, history, **options)
        for sliced in (False, True):
            fast = draw(
                sampling, logits, order, masks, uniforms, history, sliced=sliced,
                threads=1 + trial % 3, **options,
            )  # fmt: skip
            for b in range(rows):
                assert int(fast[0][b]) in allowed(order, masks, b)
                if fast[0][b] != slow[0][b]:
                    assert not clear_of_borders(logits, order, masks, uniforms, b, options, history)
                    continue
                compared += 1
                assert fast[2][b] == pytest.approx(slow[2][b], abs=1e-5)
                assert fast[4][b] == pytest.approx(slow[4][b], abs=1e-5)
                if sliced:
                    assert np.isnan(fast[1][b]) and np.isnan(fast[3][b])
                else:
                    assert fast[1][b] == pytest.approx(slow[1][b], abs=1e-5)
                    assert fast[3][b] == pytest.approx(slow[3][b], abs=1e-5)
    assert compared > 100


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=300),
    st.integers(0, 310),
    st.floats(0, 1),
)
@settings(max_examples=300, deadline=None)
def test_keeps_the_largest(values: list[float], top_k: int, share: float) -> None:
    """What is kept by the digits of the weights is what sorting keeps, ties to the earlier."""
    size = -(-len(values) // 16) * 16
    weights = np.zeros(size, np.float32)
    weights[: len(values)] = values
    sort = sorted(range(size), key=lambda i: (-weights[i], i))
    if top_k:
        got = weights.copy()
        sampling._keep_largest(got, size, top_k, 0.0)
        wanted = np.zeros_like(weights)
        wanted[sort[:top_k]] = weights[sort[:top_k]]
        np.testing.assert_array_equal(got, wanted)
    total = float(weights.astype(np.float64).sum())
    got = weights.copy()
    sampling._keep_largest(got, size, 0, share * total)
    kept = np.flatnonzero(got)
    assert sort[: len(kept)] == sorted(kept.tolist(), key=lambda i: (-weights[i], i))
    mass = float(weights[kept].astype(np.float64).sum())
    assert mass >= share * total * (1 - 1e-12)
    if len(kept):  # without the last one it would not have been enough
        assert mass - float(weights[sort[len(kept) - 1]]) < share * total * (1 + 1e-12) or mass == 0


def test_draws_follow_the_distribution() -> None:
    """Over evenly spaced uniforms the frequencies are the probabilities, to the spacing."""
    rng = np.random.default_rng(3)
    order, masks = some_masks(rng, 1, 40)
    many = 4000
    logits = np.repeat(rng.standard_normal((1, 40)).astype(np.float32), many, axis=0)
    repeated = masks._replace(
        entry=np.zeros(many, np.int32),
        start=np.repeat(masks.start, many), stop=np.repeat(masks.stop, many),
        prefix=np.repeat(masks.prefix, many),
        drop_start=np.zeros(many + 1, np.int64), extra_start=np.zeros(many + 1, np.int64),
    )  # fmt: skip
    uniforms = (np.arange(many) + 0.5) / many
    tokens, log_p, log_q, log_mass, _ = draw(
        sampling, logits, order, repeated, uniforms, np.full((many, 1), -1), lookahead=False
    )
    ids = allowed(order, repeated, 0)
    p = np.exp(logits[0, ids].astype(float))
    for token, probability in zip(ids, p / p.sum(), strict=True):
        assert abs((tokens == token).mean() - probability) < 1e-3
    np.testing.assert_allclose(log_p - log_mass, log_q, atol=2e-6)


def test_a_row_depends_on_itself() -> None:
    rng = np.random.default_rng(11)
    order, masks = some_masks(rng, 9, 500)
    logits = rng.standard_normal((9, 500)).astype(np.float32)
    uniforms, history = rng.random(9), rng.integers(-1, 500, (9, 4))
    options = {"top_p": 0.9, "penalty": 1.1}
    every = draw(sampling, logits, order, masks, uniforms, history, threads=3, **options)
    for b in range(9):
        one = masks._replace(
            entry=masks.entry[b : b + 1], start=masks.start[b : b + 1],
            stop=masks.stop[b : b + 1], prefix=masks.prefix[b : b + 1],
            drop_start=masks.drop_start[b : b + 2], extra_start=masks.extra_start[b : b + 2],
        )  # fmt: skip
        alone = draw(
            sampling, logits[b : b + 1], order, one, uniforms[b : b + 1], history[b : b + 1],
            **options,
        )  # fmt: skip
        for got, wanted in zip(alone, every, strict=True):
            assert got[0] == wanted[b]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_logits(bad: float) -> None:
    """What is no number is never drawn; a row of nothing else is named by token -1."""
    rng = np.random.default_rng(5)
    order, masks = some_masks(rng, 3, 50)
    logits = rng.standard_normal((3, 50)).astype(np.float32)
    logits[1] = bad
    tokens = draw(sampling, logits, order, masks, np.full(3, 0.5), np.full((3, 1), -1))[0]
    assert tokens[0] >= 0 and tokens[2] >= 0
    assert (tokens[1] >= 0) == (bad == np.inf)
    for temperature in (1e-9, 0.5, 2.0, 1e9):  # what stands for infinity is scaled too
        scaled = draw(
            sampling, logits, order, masks, np.full(3, 0.5), np.full((3, 1), -1),
            temperature=temperature,
        )[0]  # fmt: skip
        for b in range(3):
            assert int(scaled[b]) in (allowed(order, masks, b) if tokens[b] >= 0 else [-1])
    ids = allowed(order, masks, 0)
    logits[0, ids[:-1]] = -np.inf if bad == np.inf else bad
    assert (
        draw(sampling, logits, order, masks, np.full(3, 0.5), np.full((3, 1), -1))[0][0] == ids[-1]
    )


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=1200))
@settings(max_examples=60, deadline=None)
def test_log_sum_exp(values: list[float]) -> None:
    array = np.array(values, np.float32)
    got = log_norm.log_sum_exp(array)
    assert got == pytest.approx(reference.log_sum_exp(array), abs=1e-6, rel=1e-7)
    nothing = np.full(3, -np.inf, np.float32)
    assert log_norm.log_sum_exp(nothing) == -np.inf
    for low in (np.full(70, -np.inf), np.arange(64.0)):  # a panel of nothing beside others
        many = np.concatenate([low, array]).astype(np.float32)
        assert log_norm.log_sum_exp(many) == pytest.approx(reference.log_sum_exp(many), abs=1e-6)


def test_padded_tail_is_never_drawn() -> None:
    """Law 5: rows of the output layer past the vocabulary hold huge logits and change nothing."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        order, masks = some_masks(rng, 4, 30)
        logits = rng.standard_normal((4, 40)).astype(np.float32)
        logits[:, 30:] = 50.0
        tokens = draw(sampling, logits, order, masks, rng.random(4), np.full((4, 1), -1))[0]
        assert (tokens < 30).all()
