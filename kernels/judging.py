"""One word, one token, one mark: what a state of the lattice allows of each, and how hopeful it is.

Judges by an entry (see `boundary.Entries`: base, codes, hope, lines) and a *context*, the state at
the last boundary, C_*. Keeps nothing. The slow twin of `judge` is `mask.allowed_children`. Called
by `boundary`.
"""

from __future__ import annotations

import numpy as np

from . import book as bk
from ._index import look, look_at, read
from ._jit import jit_borrowing
from .mask import BUDGET, CUT, ENDS, LAST, LINE, SEASON
from .walk import heard_at, node_at, season_after

GOES_ON, CLOSES = 1, 2  # what a word may do: stand inside the line, end it
# Fields of a context.
C_BASE, C_SEASON, C_CUT, C_READY, C_FORMS, C_OTHERS, C_LINE, C_HEED, C_PLAIN = range(9)
CONTEXT = 9
# Columns of Entries.base, before what may remain after each shape.
B_ENTRY, B_START, B_STOP, B_PREFIX, B_CLOSES, B_AFTER = range(6)


@jit_borrowing
def closing_bits(book: np.ndarray, lines: np.ndarray, ready: int, crucial: int) -> int:
    """Entries.lines' bits for ending line `ready` on a word with a set of crucial sounds."""
    at = 2 * int(book[bk.N_CUTS]) * int(book[bk.N_STATES]) + crucial
    return look_at(lines, ready, at)


@jit_borrowing
def starting_bits(book: np.ndarray, lines: np.ndarray, ready: int, crucial: int) -> int:
    """The same for the line that follows: may it be filled?"""
    return closing_bits(book, lines, ready, int(book[bk.N_CRUCIAL]) + crucial)


@jit_borrowing
def worked_out(
    book: np.ndarray, base: np.ndarray, lines: np.ndarray, ctx: np.ndarray, of: int
) -> int:
    """What a word of type `of` may do here, its own sound aside: see `word_may`."""
    cut = ctx[C_CUT]
    if cut < 0:
        return 0
    shape = read(book, bk.TYPE_SHAPE, of)
    after = look_at(base, ctx[C_BASE], B_AFTER + shape)
    if after == 0:
        return 0
    reached = season_after(book, ctx[C_SEASON], of)
    done = read(book, bk.TO_DONE, reached)
    code = (2 * shape + done) << 2
    if after & ~1 & look_at(lines, ctx[C_READY], cut * book[bk.N_STATES] + reached):
        code |= GOES_ON
    if (
        after & 1
        and not read(book, bk.SHAPE_DANGLES, shape)
        and closing_bits(book, lines, ctx[C_READY], 0) >> (2 * cut + done) & 1
    ):
        code |= CLOSES
    return code


@jit_borrowing
def word_may(
    book: np.ndarray,
    base: np.ndarray,
    codes: np.ndarray,
    lines: np.ndarray,
    ctx: np.ndarray,
    of: int,
) -> int:
    """What a word of type `of` may do here, its own sound aside: GOES_ON | CLOSES, and above these
    2 * shape + (season word there then)."""
    if ctx[C_PLAIN]:
        return look_at(codes, ctx[C_BASE], of)
    return worked_out(book, base, lines, ctx, of)


@jit_borrowing
def rhymes(book: np.ndarray, row: np.ndarray, line: int, word: int) -> bool:
    """Does `word` rhyme, as the form forbids it, with the end of a line before `line`?"""
    rule = book[bk.RHYME]
    if rule == bk.NO_RHYME:
        return False
    sounds = int(book[bk.SOUND])
    own = heard_at(book, word)
    own_first, own_stop = look(book, own + bk.FROM), look(book, own + bk.TO)
    for place in range(line):
        end = heard_at(book, row[ENDS + place])
        for j in range(look(book, end + bk.FROM), look(book, end + bk.TO)):
            part, onset = look(book, sounds + 2 * j), look(book, sounds + 2 * j + 1)
            for i in range(own_first, own_stop):
                if look(book, sounds + 2 * i) == part and (
                    rule == bk.IDENTICAL or look(book, sounds + 2 * i + 1) != onset
                ):
                    return True
    return False


@jit_borrowing
def refused(
    book: np.ndarray, lines: np.ndarray, ctx: np.ndarray, row: np.ndarray, word: int, done: int
) -> bool:
    """Is it for its sound that `word` may not end the line?"""
    crucial = look(book, heard_at(book, word) + bk.CRUCIAL)
    if crucial:
        bits = closing_bits(book, lines, ctx[C_READY], crucial)
        if not bits >> (2 * ctx[C_CUT] + done) & 1:
            return True
    return rhymes(book, row, ctx[C_LINE], word)


@jit_borrowing
def judge(
    book: np.ndarray,
    reals: np.ndarray,
    base: np.ndarray,
    codes: np.ndarray,
    hopes: np.ndarray,
    lines: np.ndarray,
    ctx: np.ndarray,
    row: np.ndarray,
    child: int,
) -> float:
    """Outlook of the token of a trie node, or -inf if no allowed unit begins with it.

    As in `mask.allowed_children`; ctx[C_HEED]: heed sounds. reals: float64, the strain, then
    `Outlook.chance`, flat.
    """
    at = node_at(book, child)
    first, stop = look(book, at + bk.LO), look(book, at + bk.HI)
    whole = look(book, at + bk.UNIT) >= 0
    number, forms, heed = ctx[C_BASE], ctx[C_FORMS], ctx[C_HEED]
    n_hopes = hopes.shape[1] // 2
    units = int(book[bk.UNIT_SAYS])
    hope = 0.0
    found = False
    code = 0
    for unit in range(first, stop):
        says = look(book, units + unit)
        fine = True
        if says >= 0:
            code = word_may(book, base, codes, lines, ctx, says >> 2)
            may = code & 3
            if may == 0 or not forms >> (says & 3) & 1:
                continue
            ahead = look_at(hopes, number, code >> 2)
            if may == CLOSES and heed:
                which = read(book, bk.WHICH, unit)
                fine = not refused(book, lines, ctx, row, which, code >> 2 & 1)
        else:
            which = -1 - says
            if not ctx[C_OTHERS] >> which & 1:
                continue
            ahead = other_outlook(book, reals, row, which)
        if stop - first == 1:
            return ahead if fine else -np.inf
        if not whole or unit != first:
            hope += look_at(hopes, number, n_hopes + (code >> 2)) if says >= 0 else np.exp(ahead)
            found = found or fine
        elif fine:
            return ahead
    if not found:
        return -np.inf
    hope = np.log(hope / (stop - first))
    if whole:
        hope += reals[0]
    return hope


@jit_borrowing
def own_word(
    book: np.ndarray,
    base: np.ndarray,
    codes: np.ndarray,
    lines: np.ndarray,
    ctx: np.ndarray,
    row: np.ndarray,
    child: int,
) -> int:
    """Of a token below which a word is refused for its sound. 2: its own word is, so that its
    outlook is another one; else 1: an allowed unit begins with it; 0: none does."""
    at = node_at(book, child)
    first, stop = look(book, at + bk.LO), look(book, at + bk.HI)
    whole = look(book, at + bk.UNIT) >= 0
    for unit in range(first, stop):
        says = read(book, bk.UNIT_SAYS, unit)
        if says < 0:
            if ctx[C_OTHERS] >> (-1 - says) & 1:
                return 1
            continue
        code = word_may(book, base, codes, lines, ctx, says >> 2)
        if code & 3 == 0 or not ctx[C_FORMS] >> (says & 3) & 1:
            continue
        which = read(book, bk.WHICH, unit)
        if code & 3 != CLOSES or not refused(book, lines, ctx, row, which, code >> 2 & 1):
            return 1
        if whole and unit == first:
            return 2
    return 0


@jit_borrowing
def chance(book: np.ndarray, reals: np.ndarray, left: int, done: int, cut: int) -> float:
    """`Outlook.chance`: left syllables to come, the season word there or not, cuts so far."""
    return float(reals[1 + (2 * left + done) * book[bk.N_CUTS] + cut])


@jit_borrowing
def most_left(budget: int) -> int:
    """The largest number of syllables in a budget (a bit set)."""
    most = 0
    while budget > 1:
        budget >>= 1
        most += 1
    return most


@jit_borrowing
def other_outlook(book: np.ndarray, reals: np.ndarray, row: np.ndarray, which: int) -> float:
    """Outlook of the state after a mark, a break or the end: see `outlook.Outlook.others`."""
    cut = row[CUT] % book[bk.N_CUTS]
    if which < book[bk.N_MARKS]:
        cut = max(read(book, bk.CUT_AFTER, cut * book[bk.N_MARKS] + which), 0)
    left = read(book, bk.LEFT_AFTER, row[LINE]) + most_left(row[BUDGET])
    return chance(book, reals, left, read(book, bk.TO_DONE, row[SEASON]), cut)


@jit_borrowing
def may_close(book: np.ndarray, row: np.ndarray) -> bool:
    """May the line end on its last word, as far as that word goes?"""
    last = row[LAST]
    if last < 0 or not row[BUDGET] & 1:
        return False
    shape = read(book, bk.TYPE_SHAPE, look(book, heard_at(book, last) + bk.TYPE))
    return not read(book, bk.SHAPE_DANGLES, shape) and not rhymes(book, row, row[LINE], last)


@jit_borrowing
def other_units(
    book: np.ndarray,
    lines: np.ndarray,
    row: np.ndarray,
    ready: int,
    start: int,
    after_word: bool,
    closes: bool,
) -> int:
    """Bits of what may come that is no word: bit m mark m, then the line break, then the end.

    start: `starting_bits`; closes: see `may_close`.
    """
    n_marks, n_states = int(book[bk.N_MARKS]), int(book[bk.N_STATES])
    budget = row[BUDGET]
    if row[LAST] < 0 or budget == 0:
        return 0
    flushed = read(book, bk.FLUSH, row[SEASON])
    done = read(book, bk.TO_DONE, flushed)
    cut = row[CUT] % book[bk.N_CUTS]
    is_last = row[LINE] == book[bk.N_LINES] - 1
    closes = closes and budget & 1 != 0
    found = 0
    ends = closes and start >> (2 * cut + done) & 1 != 0
    if ends:
        found = 1 << (n_marks + int(is_last and book[bk.HAS_END] != 0))
    if after_word:
        for mark in range(n_marks):
            after = read(book, bk.CUT_AFTER, cut * n_marks + mark)
            fine = False
            if read(book, bk.MARK_MID, mark) and budget & ~1 and after >= 0:
                at = (int(book[bk.N_CUTS]) + after) * n_states + flushed
                fine = look_at(lines, ready, at) & budget & ~1 != 0
            closing = read(book, bk.MARK_CLOSE, int(is_last) * n_marks + mark) != 0
            if closes and closing and not fine:
                if is_last:
                    fine = ends
                else:
                    fine = after >= 0 and start >> (2 * after + done) & 1 != 0
            if fine:
                found |= 1 << mark
    return found
