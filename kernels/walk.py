"""Step state rows through the trie, on the book. Twin of `mask.advance_states`, only faster.

Knows neither text nor models. Its slow twins stand in `reference`. Called by `boundary` and by
`constrained_gpt.lattice`.
"""

from __future__ import annotations

import numpy as np

from . import book as bk
from ._jit import jit, jit_borrowing
from .mask import (
    BUDGET,
    CUT,
    END,
    ENDS,
    FINISHED,
    LAST,
    LINE,
    LINE_ROOT,
    MARK,
    MID_ROOT,
    NODE,
    SEASON,
    STYLE,
    WORD,
    shift_budget,
)


@jit_borrowing
def shape_bits(book: np.ndarray, shape: int) -> int:
    """The syllable counts of a shape as bits."""
    return int(book[book[bk.SHAPE_BITS] + shape]) & 0xFFFFFFFF


@jit_borrowing
def find_child(book: np.ndarray, node: int, token: int) -> int:
    """The child of `node` reached by `token`, or -1."""
    if node in (LINE_ROOT, MID_ROOT):
        if token < 0 or token >= book[bk.N_VOCAB]:
            return -1
        root = 0 if node == LINE_ROOT else 1
        return int(book[book[bk.ROOT_CHILD] + root * book[bk.N_VOCAB] + token])
    low = int(book[book[bk.FIRST] + node])
    stop = low + int(book[book[bk.COUNT] + node])
    high = stop
    tokens = book[bk.TOKEN]
    while low < high:
        middle = (low + high) >> 1
        if book[tokens + middle] < token:
            low = middle + 1
        else:
            high = middle
    if low < stop and book[tokens + low] == token:
        return low
    return -1


@jit_borrowing
def settled_cut(book: np.ndarray, cut: int) -> int:
    """The cut counter once a word follows: a mark left open on the last line now counts."""
    n_cuts = int(book[bk.N_CUTS])
    if cut < n_cuts:
        return cut
    return int(book[book[bk.CUT_AFTER] + cut % n_cuts * book[bk.N_MARKS] + cut // n_cuts - 1])


@jit_borrowing
def commit(book: np.ndarray, row: np.ndarray, unit: int) -> None:
    """Apply a finished unit to a state row, in place."""
    kind = book[book[bk.KIND] + unit]
    which = int(book[book[bk.WHICH] + unit])
    if kind == WORD:
        if unit < book[book[bk.HI] + LINE_ROOT]:
            style = row[STYLE]
            form = book[book[bk.FORM] + unit]
            row[STYLE] = 2 * book[book[bk.STYLE_NEXT] + style * 3 + form]
        of = book[book[bk.TYPE_OF] + which]
        row[CUT] = settled_cut(book, row[CUT])
        bits = shape_bits(book, book[book[bk.TYPE_SHAPE] + of])
        row[BUDGET] = shift_budget(row[BUDGET], bits)
        row[SEASON] = season_after(book, row[SEASON], of)
        row[LAST] = which
        row[NODE] = MID_ROOT
    elif kind == MARK:
        n_lines, n_cuts, n_marks = book[bk.N_LINES], book[bk.N_CUTS], book[bk.N_MARKS]
        last_line = row[LINE] == n_lines - 1
        left = row[BUDGET]
        if not book[book[bk.MARK_MID] + which]:
            left &= 1
        if not book[book[bk.MARK_CLOSE] + int(last_line) * n_marks + which]:
            left &= ~1
        row[BUDGET] = left
        row[SEASON] = book[book[bk.FLUSH] + row[SEASON]]
        if not (last_line and left & 1):
            row[CUT] = book[book[bk.CUT_AFTER] + row[CUT] * n_marks + which]
        elif left != 1:  # the poem may end here, and then this mark does not cut; or go on
            row[CUT] += n_cuts * (which + 1)
        if book[book[bk.MARK_SENTENCE] + which]:
            row[STYLE] |= 1
        row[NODE] = MID_ROOT
    else:
        row[SEASON] = book[book[bk.FLUSH] + row[SEASON]]
        row[ENDS + row[LINE]] = row[LAST]
        row[LINE] += 1
        row[LAST] = -1
        if kind == END or row[LINE] == book[bk.N_LINES]:
            row[NODE] = FINISHED
            row[BUDGET] = 0
        else:
            row[NODE] = LINE_ROOT
            row[BUDGET] = 1 << int(book[book[bk.LINES] + row[LINE]])


@jit_borrowing
def season_after(book: np.ndarray, state: int, of: int) -> int:
    """The season state after a word of a type."""
    column = book[book[bk.TYPE_COLUMN] + of]
    return int(book[book[bk.SEASON_NEXT] + state * int(book[bk.N_COLUMNS]) + column])


@jit
def advance_states(book: np.ndarray, states: np.ndarray, tokens: np.ndarray) -> int:
    """Step every row by its token, in place. Returns -1, or the first row its token cannot follow.

    states: int64 (B, ENDS + lines); tokens: int64 (B,).
    """
    for b in range(len(tokens)):
        row = states[b]
        node = row[NODE]
        child = -1
        if node != FINISHED:
            child = find_child(book, node, tokens[b])
            if child < 0 and node > MID_ROOT:
                unit = book[book[bk.UNIT] + node]
                if unit >= 0:
                    commit(book, row, unit)
                    child = find_child(book, MID_ROOT, tokens[b])
        if child < 0:
            return b
        unit = book[book[bk.UNIT] + child]
        whole = unit >= 0 and book[book[bk.COUNT] + child] == 0
        if whole and book[book[bk.KIND] + unit] != WORD:
            commit(book, row, unit)
        else:
            row[NODE] = child
    return -1


@jit
def budget_states(
    book: np.ndarray, states: np.ndarray, lines: int, left: int, out: np.ndarray
) -> None:
    """Where each row stands in its form, as one number: see `constrained_gpt.lattice.budget`.

    states: int64 (B, ENDS + lines); lines, left: how many of each are told apart; out: int64 (B,).
    Called by `constrained_gpt.lattice.budget`; the slow twin stands in its test.
    """
    n_lines = book[bk.N_LINES]
    for b in range(len(states)):
        row = states[b]
        node = row[NODE]
        out[b] = 0
        if node == FINISHED:
            continue
        budget = row[BUDGET]
        inside = 0
        if node > MID_ROOT:
            unit = book[book[bk.UNIT] + node]
            inside = 1
            if unit >= 0:
                if book[book[bk.KIND] + unit] == WORD:
                    which = book[book[bk.WHICH] + unit]
                    of = book[book[bk.TYPE_OF] + which]
                    bits = shape_bits(book, book[book[bk.TYPE_SHAPE] + of])
                    after = shift_budget(budget, bits)
                    if after != 0:
                        budget = after
                        inside = 0
                else:
                    inside = 0
        if inside:
            budget &= ~1  # the word has a syllable at least
        remain = 0
        while budget and not budget & 1:
            budget >>= 1
            remain += 1
        line = min(n_lines - 1 - row[LINE], lines - 1)
        out[b] = 1 + 2 * (line * left + min(remain, left - 1)) + inside
