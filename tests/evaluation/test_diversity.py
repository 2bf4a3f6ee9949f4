"""Distinct-n, self-BLEU and shared lines: hand counts, and twins that do it the long way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained_gpt.evaluation import diversity

poems_of_words = st.lists(st.lists(st.sampled_from("abcd"), max_size=8), min_size=1, max_size=7)


def test_distinct_by_hand() -> None:
    poems = [["a", "b", "c"], ["a", "b", "d"]]
    assert diversity.distinct(poems, 1)[0] == pytest.approx(4 / 6)  # type: ignore[index]
    assert diversity.distinct(poems, 2)[0] == pytest.approx(3 / 6)  # type: ignore[index]  # ab bc bd
    assert diversity.distinct([[]], 1) is None
    value, error = diversity.distinct([["a", "a", "b"]], 2)  # type: ignore[misc]
    assert (value, math.isnan(error)) == (2 / 3, True)  # aa ab


def _distinct(poems: Sequence[Sequence[str]], n: int) -> float:
    grams = {tuple(p[i : i + n]) for p in poems for i in range(len(p) - n + 1)}
    return len(grams) / sum(map(len, poems))


@settings(deadline=None)
@given(poems_of_words, st.integers(1, 3))
def test_the_error_of_distinct_leaves_each_poem_out_in_turn(poems: list[list[str]], n: int) -> None:
    found = diversity.distinct(poems, n)
    if not any(poems):
        assert found is None
        return
    assert found is not None
    assert found[0] == _distinct(poems, n)
    rest = [poems[:i] + poems[i + 1 :] for i in range(len(poems))]
    if len(poems) < 2 or not all(any(r) for r in rest):
        assert math.isnan(found[1])
        return
    without = [_distinct(r, n) for r in rest]
    mean = sum(without) / len(without)
    variance = (len(poems) - 1) / len(poems) * sum((w - mean) ** 2 for w in without)
    assert found[1] == pytest.approx(math.sqrt(variance), abs=1e-12)


def _bleu(words: Sequence[str], references: Sequence[Sequence[str]], n: int) -> float:
    """BLEU as its papers write it down, one poem against all references."""
    product = 1.0
    for size in range(1, n + 1):
        own = Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))
        most: Counter[tuple[str, ...]] = Counter()
        for other in references:
            most |= Counter(tuple(other[i : i + size]) for i in range(len(other) - size + 1))
        matched = sum((own & most).values())
        if size == 1 and matched == 0:
            return 0.0
        product *= (matched if matched else 0.1) / max(1, sum(own.values()))
    nearest = min((len(r) for r in references), key=lambda r: (abs(r - len(words)), r))
    penalty = 1.0 if len(words) > nearest else math.exp(1 - nearest / len(words))
    return float(penalty * product ** (1 / n))


@settings(deadline=None, max_examples=300)
@given(poems_of_words, st.integers(1, 4))
def test_self_bleu_equals_its_slow_twin(poems: list[list[str]], n: int) -> None:
    slow = [
        _bleu(p, poems[:i] + poems[i + 1 :], n) if len(poems) > 1 else 0.0
        for i, p in enumerate(poems)
    ]
    assert diversity.self_bleu(poems, n) == pytest.approx(slow)


def test_self_bleu_by_hand() -> None:
    """2/3 of the words, 1/2 of the pairs, none of the one triple (0.1 in place of 0)."""
    one, other = diversity.self_bleu([["a", "b", "c"], ["a", "b", "d"]])
    assert one == other == pytest.approx((2 / 3 * 1 / 2 * 0.1) ** (1 / 3))
    # "a a a": one a of three counts, no pair of two, no triple; the longer poem pays nothing.
    long, short = diversity.self_bleu([["a", "a", "a"], ["a", "b"]])
    assert long == pytest.approx((1 / 3 * 0.1 / 2 * 0.1) ** (1 / 3))
    assert short == pytest.approx((1 / 2 * 0.1 * 0.1) ** (1 / 3) * math.exp(1 - 3 / 2))
    assert diversity.self_bleu([["a"] * 3] * 2) == pytest.approx([1.0, 1.0])  # two alike
    assert diversity.self_bleu([["a", "b", "c"], ["x", "y", "z"]]) == [0.0, 0.0]
    assert diversity.self_bleu([["a"]]) == [0.0]


def test_shared_lines_and_commonest_words_by_hand() -> None:
    poems = [
        [["old", "pond"], ["a", "frog"]],
        [["a", "frog"], ["old", "pond"], ["splash"]],
        [["splash", "again"], ["splash", "again"]],
    ]
    assert diversity.shared_lines(poems) == [2, 2, 0]
    words = [{"moon", "frog"}, {"moon"}, {"frog", "moon"}, {"ant"}]
    assert diversity.commonest(words, 2) == [("moon", 0.75), ("frog", 0.5)]
    assert diversity.commonest(words)[2] == ("ant", 0.25)


def test_a_sample_is_the_same_every_time_and_of_everywhere() -> None:
    assert diversity.sample(5, 9, 0) == [0, 1, 2, 3, 4]
    chosen = diversity.sample(1000, 100, 0)
    assert chosen == sorted(set(chosen)) == diversity.sample(1000, 100, 0)
    assert len(chosen) == 100
    assert chosen != diversity.sample(1000, 100, 1)
    assert 300 < np.mean(chosen) < 700
