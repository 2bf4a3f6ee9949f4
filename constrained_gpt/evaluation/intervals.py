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
    measures = len(over)
    drawn = _drawn(np.concatenate((over, under)), seed)
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
        result.append(Estimate(value, *_ends(top[some] / bottom[some]), counted))
    return result


def difference(own: np.ndarray, other: np.ndarray, seed: int) -> Estimate:
    """The ratio of one set less that of another, each (2, poems), over and under the line, and none
    under the line 0; intervals as those of `ratios`, each set drawn by itself."""
    values, drawn = [], []
    for place, parts in enumerate((own, other)):
        over, under = parts.sum(axis=1)
        values.append(float(over / under))
        sums = _drawn(parts, seed + place)
        drawn.append(sums[:, 0] / sums[:, 1])
    poems = min(own.shape[1], other.shape[1])
    return Estimate(values[0] - values[1], *_ends(drawn[0] - drawn[1]), poems)


def _drawn(parts: np.ndarray, seed: int) -> np.ndarray:
    """Sums over RESAMPLES sets of poems drawn with replacement: (sets, rows of `parts`)."""
    n = parts.shape[1]
    rng = np.random.default_rng([seed, n])
    drawn = np.empty((RESAMPLES, len(parts)))
    parts = parts.astype(np.float64)
    for sums in drawn:  # one at a time: memory stays that of one set
        sums[:] = parts @ np.bincount(rng.integers(0, n, n), minlength=n)
    return drawn


def _ends(values: np.ndarray) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (tail, 1 - tail)).tolist()
    return low, high


def normal(value: float, error: float, poems: int) -> Estimate:
    """A share in 0..1 and its standard error (nan: unknown)."""
    if not np.isfinite(error):
        return Estimate(value, None, None, poems)
    return Estimate(value, max(0.0, value - _Z * error), min(1.0, value + _Z * error), poems)
