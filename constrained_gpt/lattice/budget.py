"""Where a poem stands in its form, as one number a row: what a budget-aware model is told.

Of a lattice row, whatever the form: the line, counted from the last one (0); the syllables left in
it; and whether the row is inside a word. A word that could end here counts as ended. Inside one
that cannot, the syllables are those left before it. Where a line has several readings the smallest
number counts. Lines beyond the `lines`-th from the end count as that one, syllables past `left` - 1
as so many. Knows no model. Called by `decoding.batch`, and by `finetune` on poems to learn from, so
that both mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from constrained_gpt.kernels.mask import LINE
from constrained_gpt.kernels.walk import budget_states
from constrained_gpt.lattice.lattice import Lattice

LINES, LEFT = 8, 16  # told apart by default: the forms of `lexicon.FORMS` need no more
Sizes = tuple[int, int]  # lines, syllables left


def budget_of(lattice: Lattice, rows: np.ndarray, sizes: Sizes = (LINES, LEFT)) -> np.ndarray:
    """int64 (B,) for lattice rows (B, width): 1 + 2 (line * left + syllables) + inside, or 0 at the
    end of the poem."""
    out = np.zeros(len(rows), np.int64)
    budget_states(lattice.book, rows, sizes[0], sizes[1], out)
    return out


def walk(
    lattice: Lattice, tokens: Sequence[int], sizes: Sizes = (LINES, LEFT)
) -> np.ndarray | None:
    """The number after each token of a poem, the one that ends it included: int64 (T + 1,), the
    first for the start of the poem.

    None if the tokens are not a poem of the form's lines: a word that the lattice does not spell, a
    line too short or too long. Only syllables are judged here, neither season word nor rhyme.
    """
    row = lattice.start()
    out = np.zeros(len(tokens) + 1, np.int64)
    out[:1] = budget_of(lattice, row, sizes)
    taken = np.empty(1, np.int64)
    for step, token in enumerate(tokens, 1):
        line, before = int(row[0, LINE]), int(out[step - 1])
        taken[0] = token
        try:
            lattice.advance(row, taken)
        except ValueError:
            return None
        if row[0, LINE] != line and not _ended(before, sizes):
            return None
        out[step : step + 1] = budget_of(lattice, row, sizes)
    whole = lattice.finished(row)[0] and row[0, LINE] == len(lattice.form.lines)
    return out if whole else None


def _ended(state: int, sizes: Sizes) -> bool:
    """May a line end in this state: outside a word, with no syllable left?"""
    place, inside = divmod(state - 1, 2)
    return not inside and place % sizes[1] == 0


__all__ = ["LEFT", "LINES", "Sizes", "budget_of", "walk"]
