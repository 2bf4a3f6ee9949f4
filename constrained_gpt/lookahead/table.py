"""A learned look-ahead: for every token, how likely the model is to finish the line well after it.

Numbers about tokens of one model, whatever the form; `guide` lays them out for a lattice. Knows no
model. Made by `fit`, kept by `store`, used by `generate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from constrained_gpt.decoding.guide import Guide
from constrained_gpt.lattice import Lattice
from constrained_gpt.lattice.openings import INSIDE, START, Openings
from constrained_gpt.lattice.outlook import STRAIN

INNER, LAST = 0, 1  # kinds of line: one that another follows, and the poem's last
APART = (4, 2)  # of each kind: syllables left (0, 1, ...) at which tokens are told apart
FARTHEST = 7  # syllables left up to which means are learned; beyond, they go on falling alike
LONGEST = 12  # lines up to so many syllables have a mean of their own at their start
_STEP = 0.05  # nats; what a byte of the stored tables counts


@dataclass(frozen=True, eq=False)
class Lookahead:
    """All in nats, logs of the model's expected mass of what may follow, up to the line's end.

    tokens: int32 (N,), ascending. value: float32 (2, FARTHEST + 1, N), of finishing a line of
    either kind well when the token ends a word and so many syllables are left. mean: float32
    (2, FARTHEST + 1), the same of a word on average. longer: float32 (N,), of the token going on
    to a longer word. start: float32 (2, LONGEST + 1), of a whole line, by its syllables.
    """

    tokens: np.ndarray
    value: np.ndarray
    mean: np.ndarray
    longer: np.ndarray
    start: np.ndarray

    def guide(self, lattice: Lattice, temperature: float = 1.0) -> Guide:
        """Laid out for a lattice. temperature: of the target, which makes unlikely ends unlikelier
        (or less so)."""
        openings, lines = lattice.openings, lattice.form.lines
        most, places = max(lines), len(lattice.order)
        at = np.searchsorted(self.tokens, lattice.order).clip(0, len(self.tokens) - 1)
        known = self.tokens[at] == lattice.order
        value = np.where(known, self.value[:, :, at], self.mean[:, :, None])
        longer = np.where(known, self.longer[at], np.median(self.longer)).astype(np.float32)
        table = np.zeros((len(lines), most + 1, places + 1), np.float32)
        after = 0.0  # all lines that follow
        for line in reversed(range(len(lines))):
            kind = LAST if line == len(lines) - 1 else INNER
            for left in range(lines[line] + 1):
                where = START if left == lines[line] else INSIDE
                row = following(openings, value[kind], self.mean[kind], longer, left, where)
                # `Outlook` has its own guess of what a strained token is worth.
                row[strained(openings, left, where)] -= STRAIN
                row[openings.mark[where] & (left == 0)] = 0.0
                table[line, left, :-1] = row
                table[line, left, -1] = _mean(self.mean[kind], left - 1)
            table[line] += after
            after += float(_mean_start(self.start[kind], lines[line]))
        table /= temperature or 1.0
        return Guide(lattice, table.reshape(-1, places + 1))

    # -- on disk ----------------------------------------------------------------------------
    def arrays(self) -> dict[str, np.ndarray]:
        """The least that `from_arrays` needs: tables in bytes, and what follows from others not."""
        stored = np.concatenate([self.value[INNER, : APART[0]], self.value[LAST, : APART[1]]])
        return {
            "tokens": self.tokens.astype(np.int32),
            "value": _bytes(stored),
            "longer": _bytes(self.longer),
            "mean": self.mean.astype(np.float32),
            "start": self.start.astype(np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Lookahead:
        """Undoes `arrays`, to a twentieth of a nat."""
        stored = _STEP * -arrays["value"].astype(np.float32)
        apart = [stored[: APART[0]], stored[APART[0] :]]
        return cls(
            tokens=arrays["tokens"],
            value=spread(apart, arrays["mean"]),
            mean=arrays["mean"],
            longer=_STEP * -arrays["longer"].astype(np.float32),
            start=arrays["start"],
        )


def spread(apart: list[np.ndarray], mean: np.ndarray) -> np.ndarray:
    """`Lookahead.value` from the parts that tell tokens apart: [(APART[0], N), (APART[1], N)].

    Farther from the line's end a token is worth the mean, and as much more or less as it was where
    it was last told apart; on a last line, as on another.
    """
    value = np.empty((2, FARTHEST + 1, apart[0].shape[1]), np.float32)
    for left in range(FARTHEST + 1):
        near = min(left, APART[0] - 1)
        value[INNER, left] = apart[0][near] - mean[INNER, near] + mean[INNER, left]
        if left < APART[1]:
            value[LAST, left] = apart[1][left]
        else:
            value[LAST, left] = value[INNER, left] - mean[INNER, left] + mean[LAST, left]
    return value


def strained(openings: Openings, left: int, where: int) -> np.ndarray:
    """Tokens that are a word, but may only stand here as the beginning of a longer one."""
    return (openings.syllables[where] > 0) & ~own_word(openings, left, where)


def own_word(openings: Openings, left: int, where: int) -> np.ndarray:
    """Tokens that may stand with `left` syllables to fill as the word which they are: bool (S,)."""
    syllables = openings.syllables[where]
    fits = (syllables < left) | ((syllables == left) & openings.closes[where])
    return np.asarray((syllables > 0) & fits)


def following(
    openings: Openings,
    value: np.ndarray,
    mean: np.ndarray,
    longer: np.ndarray,
    left: int,
    where: int,
) -> np.ndarray:
    """Log mass expected after each token of the order, `left` syllables being left before it:
    float32 (S,). value: (FARTHEST + 1, S), mean: (FARTHEST + 1,), of one kind of line."""
    row = np.full(len(longer), _mean(mean, left - 1), np.float32)
    own = own_word(openings, left, where)
    after = left - openings.syllables[where]
    far = np.minimum(after, FARTHEST)
    beyond = (after - far) * (mean[-1] - mean[-2])
    row[own] = value[far[own], np.flatnonzero(own)] + beyond[own]
    begun = openings.exists[where] & ~own & ~openings.mark[where]
    row[begun] = longer[begun] + _mean(mean, left - 2)
    return row


def _mean(mean: np.ndarray, left: int) -> float:
    """The mean with so many syllables left, however many."""
    far = min(max(left, 0), FARTHEST)
    return float(mean[far] + max(left - FARTHEST, 0) * (mean[-1] - mean[-2]))


def _mean_start(start: np.ndarray, syllables: int) -> float:
    known = min(syllables, LONGEST)
    return float(start[known] + (syllables - known) * (start[-1] - start[-2]))


def _bytes(nats: np.ndarray) -> np.ndarray:
    return np.clip(np.round(-nats / _STEP), 0, 255).astype(np.uint8)
