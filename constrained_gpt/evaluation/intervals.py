"""How sure a figure is: intervals from the poems at hand, with a fixed seed.

Knows arrays of numbers; no poem and no model. Called by `evaluate`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
CONFIDENCE = 0.95
_Z = 1.959964  # of the normal distribution, for CONFIDENCE


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval (None where there is none), and over how many poems."""

    value: float
    low: float | None
    high: float | None
    poems: int


def ratios(over: np.ndarray, under: np.ndarray, seed: int) -> list[Estimate | None]:
    """sum(over) / sum(under) for each row of two arrays, (measures, poems): a mean where `under`
    is 1. Where a measure says nothing of a poem, both are 0.

    The interval is the percentile bootstrap's over poems (Efron and Tibshirani, An Introduction
    to the Bootstrap, 1993, chapter 13): RESAMPLES sets drawn with replacement, the same for all
    measures. It takes poems for independent, which those of one prompt are not quite, and knows
    nothing of what it has not seen: a share of none among the poems has the interval 0 to 0.
    None if there is nothing to divide by; no interval for a single poem.
    """
    measures, n = over.shape
    both = np.concatenate((over, under)).astype(np.float64)  # (2 measures, poems)
    rng = np.random.default_rng([seed, n])
    drawn = np.empty((RESAMPLES, 2 * measures))
    for sums in drawn:  # one at a time: memory stays that of one set
        sums[:] = both @ np.bincount(rng.integers(0, n, n), minlength=n)
    tail = (1 - CONFIDENCE) / 2
    result: list[Estimate | None] = []
    for i, (a, b) in enumerate(zip(over, under, strict=True)):
        counted = int((b > 0).sum())
        if not counted:
            result.append(None)
            continue
        value = float(a.sum() / b.sum())
        if counted < 2:
            result.append(Estimate(value, None, None, counted))
            continue
        top, bottom = drawn[:, i], drawn[:, measures + i]
        some = bottom > 0
        low, high = np.quantile(top[some] / bottom[some], (tail, 1 - tail)).tolist()
        result.append(Estimate(value, low, high, counted))
    return result


def normal(value: float, error: float, poems: int) -> Estimate:
    """A share in 0..1 and its standard error (nan: unknown)."""
    if not np.isfinite(error):
        return Estimate(value, None, None, poems)
    return Estimate(value, max(0.0, value - _Z * error), min(1.0, value + _Z * error), poems)
