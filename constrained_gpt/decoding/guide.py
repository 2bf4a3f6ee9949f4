"""A learned look-ahead, laid out for one lattice: what is added to every candidate's log weight.

Knows lattice states and numbers, not where the numbers come from (`constrained_gpt.lookahead`).
Read by `batch`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from constrained_gpt.lattice import Lattice


@dataclass(frozen=True, eq=False)
class Guide:
    """table: float32 (lines * (most + 1), S + 1), a row for every line and number of syllables left
    in it (most: in the longest line), a column for every place in `Lattice.order`, and the last
    one for tokens that have none: those that go on with a word."""

    lattice: Lattice
    table: np.ndarray

    def __post_init__(self) -> None:
        lines, places = self.lattice.form.lines, len(self.lattice.order)
        wanted = (len(lines) * (max(lines) + 1), places + 1)
        if self.table.shape != wanted or self.table.dtype != np.float32:
            raise ValueError(
                f"the look-ahead's table is {self.table.dtype} {self.table.shape}, and this "
                f"lattice needs float32 {wanted}; make it for this lattice"
            )

    def rows(self, states: np.ndarray) -> np.ndarray:
        """The row of the table for each lattice state (B, width): int64 (B,), -1 after the end."""
        left = self.lattice.left(states)
        line = np.minimum(self.lattice.line(states), len(self.lattice.form.lines) - 1)
        rows = line * (max(self.lattice.form.lines) + 1) + np.maximum(left, 0)
        return np.where(self.lattice.finished(states), -1, rows)

    def ahead(self, state: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """What is added to each of some tokens (k,) at one lattice state (1, width): float64 (k,),
        natural log."""
        (row,) = self.rows(state)
        return self.table[row, self.lattice.rank[tokens]].astype(np.float64)

    @classmethod
    def blank(cls, lattice: Lattice) -> Guide:
        """One that adds nothing."""
        lines = lattice.form.lines
        shape = (len(lines) * (max(lines) + 1), len(lattice.order) + 1)
        return cls(lattice, np.zeros(shape, np.float32))

    def plus(self, bonus: np.ndarray) -> Guide:
        """The same with a bonus for each place in the order, float32 (S,), wherever it stands."""
        table = self.table.copy()
        table[:, :-1] += bonus
        return Guide(self.lattice, table)
