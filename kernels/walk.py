"""Step state rows through the trie, on the book. Twin of `mask.advance_states`, only faster.

Knows neither text nor models. Its slow twins stand in `reference`. Called by `boundary` and by
`constrained_gpt.lattice`.
"""

from __future__ import annotations

import numpy as np

from . import book as bk
from ._index import look, read
from ._jit import jit, jit_borrowing
from ._simd import fetch
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

_AHEAD = 8  # rows between asking for what a step reads and the step


@jit_borrowing
def shape_bits(book: np.ndarray, shape: int) -> int:
    """The syllable counts of a shape as bits."""
    return read(book, bk.SHAPE_BITS, shape) & 0xFFFFFFFF


@jit_borrowing
def node_at(book: np.ndarray, node: int) -> int:
    """Where the record of a node begins: see `book.FIRST` and what follows it."""
    return int(book[bk.NODE]) + bk.NODE_WIDTH * node


@jit_borrowing
def heard_at(book: np.ndarray, word: int) -> int:
    """Where the record of a word or of a line end from outside begins: see `book.TYPE`."""
    return int(book[bk.HEARD]) + bk.HEARD_WIDTH * word


@jit_borrowing
def find_child(book: np.ndarray, node: int, token: int) -> int:
    """The child of `node` reached by `token`, or -1."""
    if node in (LINE_ROOT, MID_ROOT):
        if token < 0 or token >= book[bk.N_VOCAB]:
            return -1
        root = 0 if node == LINE_ROOT else 1
        return read(book, bk.ROOT_CHILD, root * book[bk.N_VOCAB] + token)
    at = node_at(book, node)
    low = look(book, at + bk.FIRST)
    stop = low + look(book, at + bk.COUNT)
    high = stop
    tokens = int(book[bk.CHILD]) + bk.TOKEN
    while low < high:
        middle = (low + high) >> 1
        if look(book, tokens + bk.CHILD_WIDTH * middle) < token:
            low = middle + 1
        else:
            high = middle
    if low < stop and look(book, tokens + bk.CHILD_WIDTH * low) == token:
        return low
    return -1


@jit_borrowing
def settled_cut(book: np.ndarray, cut: int) -> int:
    """The cut counter once a word follows: a mark left open on the last line now counts."""
    n_cuts = int(book[bk.N_CUTS])
    if cut < n_cuts:
        return cut
    return read(book, bk.CUT_AFTER, cut % n_cuts * book[bk.N_MARKS] + cut // n_cuts - 1)


@jit_borrowing
def commit(book: np.ndarray, row: np.ndarray, node: int) -> None:
    """Apply the unit that ends at a node to a state row, in place."""
    at = node_at(book, node)
    flags = look(book, at + bk.FLAGS)
    kind = flags & 3
    which = look(book, at + bk.OWN_WORD)
    if kind == WORD:
        if look(book, at + bk.UNIT) < look(book, node_at(book, LINE_ROOT) + bk.HI):
            style = row[STYLE]
            row[STYLE] = 2 * read(book, bk.STYLE_NEXT, style * 3 + (flags >> 2 & 3))
        of = look(book, at + bk.OWN_TYPE)
        row[CUT] = settled_cut(book, row[CUT])
        bits = shape_bits(book, read(book, bk.TYPE_SHAPE, of))
        row[BUDGET] = shift_budget(row[BUDGET], bits)
        row[SEASON] = season_after(book, row[SEASON], of)
        row[LAST] = which
        row[NODE] = MID_ROOT
    elif kind == MARK:
        n_lines, n_cuts, n_marks = book[bk.N_LINES], book[bk.N_CUTS], book[bk.N_MARKS]
        last_line = row[LINE] == n_lines - 1
        left = row[BUDGET]
        if not read(book, bk.MARK_MID, which):
            left &= 1
        if not read(book, bk.MARK_CLOSE, int(last_line) * n_marks + which):
            left &= ~1
        row[BUDGET] = left
        row[SEASON] = read(book, bk.FLUSH, row[SEASON])
        if not (last_line and left & 1):
            row[CUT] = read(book, bk.CUT_AFTER, row[CUT] * n_marks + which)
        elif left != 1:  # the poem may end here, and then this mark does not cut; or go on
            row[CUT] += n_cuts * (which + 1)
        if read(book, bk.MARK_SENTENCE, which):
            row[STYLE] |= 1
        row[NODE] = MID_ROOT
    else:
        row[SEASON] = read(book, bk.FLUSH, row[SEASON])
        row[ENDS + row[LINE]] = row[LAST]
        row[LINE] += 1
        row[LAST] = -1
        if kind == END or row[LINE] == book[bk.N_LINES]:
            row[NODE] = FINISHED
            row[BUDGET] = 0
        else:
            row[NODE] = LINE_ROOT
            row[BUDGET] = 1 << read(book, bk.LINES, row[LINE])


@jit_borrowing
def season_after(book: np.ndarray, state: int, of: int) -> int:
    """The season state after a word of a type."""
    column = read(book, bk.TYPE_COLUMN, of)
    usual = read(book, bk.FLUSH, state)
    if usual != state:
        bounds = int(book[bk.ODD_START]) + state
        for i in range(look(book, bounds), look(book, bounds + 1)):
            if read(book, bk.ODD_COLUMN, i) == column:
                return read(book, bk.ODD_NEXT, i)
    row = read(book, bk.TO_DONE, usual) * int(book[bk.N_COLUMNS])
    return read(book, bk.USUAL_NEXT, row + column)


@jit
def advance_states(book: np.ndarray, states: np.ndarray, tokens: np.ndarray) -> int:
    """Step every row by its token, in place. Returns -1, or the first row its token cannot follow.

    states: int64 (B, ENDS + lines); tokens: int64 (B,). Checks the trie only: that the form still
    holds is what the mask is for.
    """
    n = len(tokens)
    for b in range(min(_AHEAD, n)):
        bring_step(book, states[b], tokens[b])
    for b in range(n):
        if b + _AHEAD < n:
            bring_step(book, states[b + _AHEAD], tokens[b + _AHEAD])
        row = states[b]
        node = row[NODE]
        child = -1
        if node != FINISHED:
            child = find_child(book, node, tokens[b])
            if child < 0 and node > MID_ROOT and look(book, node_at(book, node) + bk.UNIT) >= 0:
                commit(book, row, node)
                child = find_child(book, MID_ROOT, tokens[b])
        if child < 0:
            return b
        at = node_at(book, child)
        whole = look(book, at + bk.UNIT) >= 0 and look(book, at + bk.COUNT) == 0
        if whole and look(book, at + bk.FLAGS) & 3 != WORD:
            commit(book, row, child)
        else:
            row[NODE] = child
    return -1


@jit_borrowing
def bring_step(book: np.ndarray, row: np.ndarray, token: int) -> None:
    """Ask for what a row's step will read, so that the waits of several rows overlap."""
    node = row[NODE]
    if node > MID_ROOT:
        fetch(book, node_at(book, node), 1)
    if 0 <= token < book[bk.N_VOCAB]:
        root = 0 if node == LINE_ROOT else int(book[bk.N_VOCAB])
        fetch(book, int(book[bk.ROOT_CHILD]) + root + token, 1)


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
            at = node_at(book, node)
            inside = 1
            if look(book, at + bk.UNIT) >= 0:
                if look(book, at + bk.FLAGS) & 3 == WORD:
                    of = look(book, at + bk.OWN_TYPE)
                    bits = shape_bits(book, read(book, bk.TYPE_SHAPE, of))
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
