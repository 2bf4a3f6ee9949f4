"""Totals and their intervals, against plain sums and against what statistics say of a mean."""

from __future__ import annotations

import math

import numpy as np
import pytest

from constrained_gpt.evaluation.intervals import Estimate, difference, normal, ratios


def test_totals_are_ratios_of_sums_not_means_of_ratios() -> None:
    over = np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    under = np.array([[2.0, 1.0, 3.0], [0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    first, nothing, single = ratios(over, under, 0)
    assert first is not None
    assert first.value == 4 / 6
    assert first.poems == 3
    assert nothing is None
    assert single == Estimate(0.5, None, None, 1)


def test_the_interval_of_a_mean_is_that_of_the_textbook() -> None:
    values = np.random.default_rng(3).normal(5.0, 2.0, 400)
    (found,) = ratios(values[None], np.ones((1, 400)), 0)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    error = values.std(ddof=1) / math.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.25 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.25 * error)


def test_poems_without_a_figure_change_nothing_but_their_number() -> None:
    """Half of the poems say nothing: the interval is that of the other half."""
    values = np.random.default_rng(4).normal(5.0, 2.0, 400)
    over, under = np.zeros((1, 800)), np.zeros((1, 800))
    over[0, ::2], under[0, ::2] = values, 1
    (found,) = ratios(over, under, 0)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.poems == 400
    assert found.high - found.low == pytest.approx(2 * 1.96 * 2.0 / 20, rel=0.15)


def test_a_seed_names_the_interval() -> None:
    values = np.random.default_rng(5).random((1, 50))
    ones = np.ones((1, 50))
    assert ratios(values, ones, 1) == ratios(values, ones, 1)
    assert ratios(values, ones, 1) != ratios(values, ones, 2)


def test_standard_errors() -> None:
    found = normal(0.5, 0.1, 7)
    assert found.low == pytest.approx(0.304, abs=1e-4)
    assert found.high == pytest.approx(0.696, abs=1e-4)
    assert normal(0.9, 0.1, 7).high == 1.0
    assert normal(0.5, math.nan, 1) == Estimate(0.5, None, None, 1)


def test_a_difference_has_the_interval_of_two_means() -> None:
    rng = np.random.default_rng(3)
    own, other = rng.normal(1.0, 2.0, 400), rng.normal(0.5, 1.0, 300)
    found = difference(np.stack((own, np.ones(400))), np.stack((other, np.ones(300))), seed=0)
    apart = own.mean() - other.mean()
    error = 1.96 * np.sqrt(own.var() / 400 + other.var() / 300)
    assert found.value == pytest.approx(apart)
    assert found.low == pytest.approx(apart - error, abs=0.2 * error)
    assert found.high == pytest.approx(apart + error, abs=0.2 * error)
