"""From what was seen to a table: expected mass of finishing a line, backwards over its syllables.

With nothing left, the mass of what may close the line after a token. With k syllables left, the
sum over the next words of their probability times what is expected after them, k less theirs being
left: one step of dynamic programming for each k, its expectation taken over the model's own
distributions in many places. Tokens seen seldom are drawn to the mean of their class. Knows arrays;
no model. Called by `store.learn`.
"""

from __future__ import annotations

import numpy as np

from constrained_gpt.lattice.openings import INSIDE, START, Openings
from constrained_gpt.lookahead.collect import Seen
from constrained_gpt.lookahead.table import (
    APART,
    FARTHEST,
    INNER,
    LAST,
    LONGEST,
    Lookahead,
    following,
    spread,
)

_PRIOR = 2.0  # as many sightings the mean of its class is worth to a token
_LEAST = 1e-6
_FAR = 5  # syllables left from which places in a line are alike


def fit(seen: Seen, openings: Openings, order: np.ndarray, function: np.ndarray) -> Lookahead:
    """function: bool (S,), the tokens of the order that are function words."""
    place, where, left = (np.array(a) for a in (seen.place, seen.where, seen.left))
    syllables = openings.syllables[where, place]
    whole = np.flatnonzero(syllables > 0)
    # A word at the end of a line is followed by a break more often than the same word inside it.
    position = np.clip(left - syllables, 0, _FAR)[whole]
    close, longer_p, mid = np.array(seen.close), np.array(seen.longer), np.array(seen.mid)
    token = place[whole]
    kinds = np.where(function, 0, openings.syllables.max(axis=0).clip(1, 4)).astype(np.int64)
    longer = _longer(place, where, longer_p, openings)
    nearest, mass = np.stack(seen.next)[whole], np.stack(seen.next_p)[whole]

    mean = np.zeros((2, FARTHEST + 1), np.float32)
    apart = [np.zeros((n, len(order)), np.float32) for n in APART]
    value = np.zeros((2, FARTHEST + 1, len(order)), np.float32)
    for kind in (INNER, LAST):
        for k in range(FARTHEST + 1):
            if k == 0:
                target = close[whole, kind]
            else:
                after = np.exp(
                    following(openings, value[kind], mean[kind], longer, k, INSIDE).astype(float)
                )
                target = (mass * after[nearest]).sum(1)
                target += (longer_p + mid)[whole] * np.exp(mean[kind, k - 1])
            found, usual = _by_token(token, target, position, min(k, _FAR), kinds)
            mean[kind, k] = usual
            value[kind, k] = found
            if k < APART[kind]:
                apart[kind][k] = found
    value = spread(apart, mean)
    start = _starts(seen, openings, value, mean, longer)
    by_id = np.argsort(order)
    return Lookahead(order[by_id].astype(np.int32), value[:, :, by_id], mean, longer[by_id], start)


def _by_token(
    token: np.ndarray, target: np.ndarray, position: np.ndarray, here: int, kinds: np.ndarray
) -> tuple[np.ndarray, float]:
    """Log of the mean of `target` for each token, at a position; and of all sightings.

    A sighting elsewhere counts too, after a factor common to all tokens there. kinds: int64 (S,),
    the class of each token.
    """
    size = len(kinds)
    target = np.maximum(target, _LEAST)
    seen = np.bincount(token, minlength=size)
    factor = np.ones(_FAR + 1)
    level = np.full(size, float(target.mean()))
    for _ in range(4):  # they settle in three
        total = np.bincount(token, target, minlength=size)
        exposed = np.bincount(token, factor[position], minlength=size)
        of_kind = np.bincount(kinds, total) / np.maximum(np.bincount(kinds, exposed), 1.0)
        prior = np.where(of_kind > 0, of_kind, target.mean())[kinds]
        level = (total + _PRIOR * prior) / (exposed + _PRIOR)
        expected = np.bincount(position, level[token], minlength=_FAR + 1)
        observed = np.bincount(position, target, minlength=_FAR + 1)
        factor = np.where(expected > 0, observed / np.maximum(expected, 1e-12), 1.0)
        factor /= factor[here] if factor[here] > 0 else 1.0
    usual = float((level * seen).sum() / seen.sum())
    return np.log(np.clip(level, _LEAST, 1.0)), float(np.log(usual))


def _longer(
    place: np.ndarray, where: np.ndarray, mass: np.ndarray, openings: Openings
) -> np.ndarray:
    """Log mass of going on to a longer word, of every token: float32 (S,)."""
    size = openings.exists.shape[1]
    rows = np.flatnonzero(openings.longer[where, place])
    total = np.bincount(place[rows], mass[rows], minlength=size)
    seen = np.bincount(place[rows], minlength=size)
    is_word = openings.syllables.max(axis=0) > 0
    prior = np.empty(size)
    for kind in (False, True):
        own = is_word[place[rows]] == kind
        prior[is_word == kind] = mass[rows][own].mean() if own.any() else 0.5
    level = (total + _PRIOR * prior) / (seen + _PRIOR)
    return np.asarray(np.log(np.clip(level, _LEAST, 1.0)), np.float32)


def _starts(
    seen: Seen, openings: Openings, value: np.ndarray, mean: np.ndarray, longer: np.ndarray
) -> np.ndarray:
    """Log of the mean mass of a whole line, by its kind and syllables: float32."""
    nearest, mass = np.stack(seen.start), np.stack(seen.start_p)
    start = np.zeros((2, LONGEST + 1), np.float32)
    for kind in (INNER, LAST):
        for syllables in range(1, LONGEST + 1):
            row = following(openings, value[kind], mean[kind], longer, syllables, START)
            reached = (mass * np.exp(row.astype(float))[nearest]).sum(1)
            start[kind, syllables] = np.log(max(float(reached.mean()), _LEAST))
    return start
