"""What masks are made of: entries shared by many states, and small patches on them.

An *entry* is what may begin a unit when nothing is pending: it depends on the line, the syllables
left, whether season word and cut are there, and on nothing that is new in every poem. What is
special to a state is a *patch*: a few tokens taken away or added (a season phrase half said, a
mark just written). What rhymes with earlier lines is worked out at once, at the price of the words
that rhyme, and what goes on inside a word at the price of a node's children. Knows neither text nor
models. Its slow twin is `Lattice.candidates`. Called by `fill` and by
`constrained_gpt.lattice.boundary`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import book as bk
from ._index import look, look_at, read
from ._jit import jit, jit_borrowing
from ._simd import fetch
from ._threads import atomic_swap
from .judging import (
    B_AFTER,
    B_CLOSES,
    B_ENTRY,
    B_PREFIX,
    B_START,
    B_STOP,
    C_BASE,
    C_CUT,
    C_FORMS,
    C_HEED,
    C_LINE,
    C_OTHERS,
    C_PLAIN,
    C_READY,
    C_SEASON,
    CLOSES,
    CONTEXT,
    chance,
    closing_bits,
    judge,
    most_left,
    other_units,
    own_word,
    rhymes,
    starting_bits,
    word_may,
    worked_out,
)
from .mask import (
    BUDGET,
    CUT,
    ENDS,
    LINE,
    SEASON,
    STYLE,
    shift_budget,
)
from .walk import heard_at, node_at, settled_cut, shape_bits

# What `fill.fill_masks` may come back for.
DONE, NEED_ROOM, NEED_LINE, NEED_SOUND, NEED_BASE, NEED_PATCHES = range(6)
# Counters in Entries.used; and whether a thread is adding a patch.
U_BASES, U_ENTRIES, U_ARENA, U_PATCHES, U_DROPS, U_EXTRAS, U_LINES, U_FOUND, U_LOCK = range(9)
U_SIZE = U_LOCK + 1
P_VALUE = 2  # column of Entries.patch; and, behind it:
R_SPOT, R_UNIT, R_TYPE, R_ONSET = range(4)  # columns of the book's table of rhyming words
P_DROP, P_DROP_STOP, P_TOUCHED_STOP, P_EXTRA, P_EXTRA_STOP = range(3, 8)
OF_BASE, OF_SOUND, OF_LINE = (kind << 60 for kind in range(3))  # kinds of key in Entries.found


class Entries(NamedTuple):
    """What grows: entries and patches found so far, and what Python has worked out for them.

    base: int64 (bases, B_AFTER + 2 * shapes), see `judging.B_ENTRY` and what follows it (B_CLOSES:
    how many shapes may end the line), then what may remain after a word of each shape, then the
    shapes that may end the line.
    codes: int16 (bases, types), see `word_may`, for the season state that a break leaves. hope:
    float64 (bases, 4 * shapes): the outlook, season word missing or there, then exp of it. lines:
    int64 (n, ...), for a line after certain crucial sounds: `alive.LineTable`'s mid and next_word,
    flat, then for every set of crucial sounds (none first) bits 2 * cut + (season word there), may
    the line end so on a word with those; and then the same of the line that follows, may it be
    filled.
    deep: float32 (bases, n), the outlooks of the tokens that go on with a unit in several ways
    (`book`'s deep), sounds unheeded.
    units: int16 (entries, slots): how many allowed units begin with a candidate of an entry, by
    `book`'s slot (-1: marks may be among them, so look). without: float32 (entries, slots): its
    outlook if its own word is refused for its sound and another is not.
    found: int64 (2**k, 3), open addressing: a key of two numbers, the value or -1. patch: int64
    (2**k, 8), the same, one cache line each, and behind it P_*, ranges of: drop: int32, what is
    dropped, then positions at which units may be other ones than in the entry (touched); extra:
    int32, extra_outlook: float32.
    used: int64 (U_SIZE,), see U_*. scratch: int64 (shares, as long as needed), a row for every
    thread.

    While several threads fill masks, one adds a patch at a time, and nothing else changes.
    """

    base: np.ndarray
    codes: np.ndarray
    hope: np.ndarray
    lines: np.ndarray
    deep: np.ndarray
    units: np.ndarray
    without: np.ndarray
    found: np.ndarray
    patch: np.ndarray
    drop: np.ndarray
    extra: np.ndarray
    extra_outlook: np.ndarray
    used: np.ndarray
    scratch: np.ndarray


# -- tables with open addressing ---------------------------------------------------------------
@jit_borrowing
def hashed(a: int, b: int, size: int) -> int:
    """Where the search for the key (a, b) begins in a table of `size` (a power of two) slots."""
    h = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(b) * np.uint64(0xC2B2AE3D27D4EB4F)
    h ^= h >> np.uint64(29)
    h *= np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(32)
    return np.int64(h & np.uint64(size - 1))  # type: ignore[return-value]


@jit_borrowing
def find_key(table: np.ndarray, a: int, b: int) -> int:
    """The slot of (a, b) in a table, or -1 - the free slot where it belongs."""
    at = hashed(a, b, len(table))
    while look_at(table, at, 2) >= 0:
        if look_at(table, at, 0) == a and look_at(table, at, 1) == b:
            return at
        at = (at + 1) & (len(table) - 1)
    return -1 - at


@jit_borrowing
def look_up(table: np.ndarray, a: int, b: int) -> int:
    """The value of (a, b) in a table, or -1."""
    at = find_key(table, a, b)
    return look_at(table, at, 2) if at >= 0 else -1


@jit_borrowing
def enter(table: np.ndarray, a: int, b: int, value: int) -> int:
    """Write the value of a new key (a, b) into a table that has room; the slot."""
    at = -1 - find_key(table, a, b)
    table[at, 0], table[at, 1], table[at, 2] = a, b, value
    return at


@jit_borrowing
def sort_run(values: np.ndarray, n: int) -> None:
    """Sort values[:n], ascending, in place; what lies behind is scratch, as long again.

    Merges the runs that are there: what comes here is one run, or a few.
    """
    while True:
        read = write = merged = 0
        if n < 2:
            return
        while read < n:
            middle = read + 1
            while middle < n and values[middle - 1] <= values[middle]:
                middle += 1
            stop = min(middle + 1, n)
            while stop < n and values[stop - 1] <= values[stop]:
                stop += 1
            if read == 0 and middle == n:
                return
            left, right = read, middle
            while left < middle or right < stop:
                if right >= stop or (left < middle and values[left] <= values[right]):
                    values[n + write] = values[left]
                    left += 1
                else:
                    values[n + write] = values[right]
                    right += 1
                write += 1
            read = stop
            merged += 1
        for i in range(n):
            values[i] = values[n + i]
        if merged == 1:
            return


# -- entries -----------------------------------------------------------------------------------
@jit_borrowing
def forms_of(book: np.ndarray, row: np.ndarray, at_start: bool) -> int:
    """Bits of the forms (neutral, lower, capital) in which a word may be written here."""
    if not at_start:
        return 7
    found = 0
    for form in range(3):
        if read(book, bk.STYLE_NEXT, row[STYLE] * 3 + form) >= 0:
            found |= 1 << form
    return found


@jit_borrowing
def line_known(book: np.ndarray, found: np.ndarray, row: np.ndarray, need: np.ndarray) -> int:
    """The number under which this line, after these line ends, is known. -1: `need` says what."""
    sounds = 0
    if book[bk.N_SPECIAL]:
        for place in range(row[LINE]):
            crucial = look(book, heard_at(book, row[ENDS + place]) + bk.CRUCIAL)
            if crucial:
                following = look_up(found, sounds, OF_SOUND | crucial)
                if following < 0:
                    need[0], need[1], need[2] = NEED_SOUND, sounds, crucial
                    return -1
                sounds = following
    ready = look_up(found, sounds, OF_LINE | row[LINE])
    if ready < 0:
        need[0], need[1], need[2] = NEED_LINE, row[LINE], sounds
    return ready


@jit_borrowing
def base_key(book: np.ndarray, row: np.ndarray, at_start: bool, ready: int) -> tuple[int, int]:
    """What an entry depends on, as two integers."""
    forms = 8 + forms_of(book, row, True) if at_start else 0
    a = row[BUDGET] | row[LINE] << 32 | forms << 38 | row[CUT] << 44
    return a, OF_BASE | read(book, bk.FLUSH, row[SEASON]) | ready << 24


@jit_borrowing
def set_context(
    book: np.ndarray,
    found: np.ndarray,
    row: np.ndarray,
    at_start: bool,
    ready: int,
    ctx: np.ndarray,
) -> int:
    """Set a context up for `judge`; sounds unheeded, no mark allowed yet. Returns base or -1."""
    a, b = base_key(book, row, at_start, ready)
    base = look_up(found, a, b)
    ctx[C_BASE] = base
    ctx[C_SEASON] = row[SEASON]
    ctx[C_CUT] = settled_cut(book, row[CUT])
    ctx[C_READY] = ready
    ctx[C_FORMS] = forms_of(book, row, at_start)
    ctx[C_OTHERS] = 0
    ctx[C_LINE] = row[LINE]
    ctx[C_HEED] = 0
    ctx[C_PLAIN] = int(row[SEASON] == read(book, bk.FLUSH, row[SEASON]))
    return base


@jit
def add_base(
    book: np.ndarray,
    reals: np.ndarray,
    entries: Entries,
    row: np.ndarray,
    at_start: bool,
    ready: int,
    position: np.ndarray,
    outlook: np.ndarray,
    bits: np.ndarray,
) -> int:
    """Work out the entry of a state and add it: the season state as a break leaves it, whatever
    mark could come. position, outlook (the arena) must have room for all of the order; bits: int32
    (entries, words of 32 tokens), the entries as bitmasks. Returns its number."""
    base, codes, hope, lines = entries.base, entries.codes, entries.hope, entries.lines
    number = entries.used[U_BASES]
    a, b = base_key(book, row, at_start, ready)
    enter(entries.found, a, b, number)
    entries.used[U_FOUND] += 1
    entries.used[U_BASES] = number + 1
    plain = row.copy()
    plain[SEASON] = read(book, bk.FLUSH, row[SEASON])
    cut = settled_cut(book, row[CUT])
    rest = read(book, bk.LEFT_AFTER, row[LINE])
    base[number, B_CLOSES] = 0
    for shape in range(book[bk.N_SHAPES]):
        after = shift_budget(row[BUDGET], shape_bits(book, shape))
        base[number, B_AFTER + shape] = after
        if after & 1 and not read(book, bk.SHAPE_DANGLES, shape) and cut >= 0:
            base[number, B_AFTER + book[bk.N_SHAPES] + base[number, B_CLOSES]] = shape
            base[number, B_CLOSES] += 1
        for done in range(2):
            left = rest + most_left(after)
            ahead = chance(book, reals, left, done, max(cut, 0))
            hope[number, 2 * shape + done] = ahead
            hope[number, 2 * (book[bk.N_SHAPES] + shape) + done] = np.exp(ahead)
    begin = entries.used[U_ARENA]
    ctx = np.zeros(CONTEXT, np.int64)
    set_context(book, entries.found, plain, at_start, ready, ctx)
    for of in range(book[bk.N_TYPES]):
        codes[number, of] = worked_out(book, base, lines, ctx, of)
    root = 0 if at_start else 1
    for i in range(read(book, bk.DEEP_START, root), read(book, bk.DEEP_START, root + 1)):
        child = read(book, bk.DEEP, i)
        name = -1 - read(book, bk.CHILD, bk.CHILD_WIDTH * child + bk.SAYS)
        entries.deep[number, name] = judge(book, reals, base, codes, hope, lines, ctx, plain, child)
    if not at_start:
        start = starting_bits(book, lines, ready, 0)
        ctx[C_OTHERS] = other_units(book, lines, plain, ready, start, True, True)
    most = most_left(row[BUDGET])
    name = entries.used[U_ENTRIES]
    fill = begin
    prefix = 0
    flags = bits[name].view(np.uint32)
    flags[:] = 0
    entries.units[name], entries.without[name] = 0, 0
    slots = int(book[bk.SLOT]) + (0 if at_start else int(book[bk.N_ORDER]))
    nodes = int(book[bk.NODE_AT]) + (0 if at_start else int(book[bk.N_ORDER]))
    for place in range(book[bk.N_ORDER]):
        child = look(book, nodes + place)
        if child < 0 or read(book, bk.LEAST, place) > most:
            continue
        ahead = judge(book, reals, base, codes, hope, lines, ctx, plain, child)
        if ahead > -np.inf:
            position[fill] = place
            outlook[fill] = ahead
            slot = look(book, slots + place)
            if slot >= 0:
                units, without = count_units(book, reals, codes, hope, ctx, number, child)
                entries.units[name, slot], entries.without[name, slot] = min(units, 32767), without
            fill += 1
            prefix = place + 1
            token = read(book, bk.ORDER, place)
            flags[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
    entries.used[U_ARENA], entries.used[U_ENTRIES] = fill, name + 1
    base[number, B_ENTRY], base[number, B_PREFIX] = name, prefix
    base[number, B_START], base[number, B_STOP] = begin, fill
    return int(number)


@jit_borrowing
def count_units(
    book: np.ndarray,
    reals: np.ndarray,
    codes: np.ndarray,
    hopes: np.ndarray,
    ctx: np.ndarray,
    number: int,
    child: int,
) -> tuple[int, float]:
    """Entries.units and Entries.without of a candidate of an entry that begins several units."""
    at = node_at(book, child)
    first, stop = look(book, at + bk.LO), look(book, at + bk.HI)
    whole = look(book, at + bk.UNIT) >= 0
    n_hopes = hopes.shape[1] // 2
    hope = 0.0
    units = 0
    for unit in range(first, stop):
        says = read(book, bk.UNIT_SAYS, unit)
        if says < 0:
            return -1, -np.inf
        code = look_at(codes, number, says >> 2)
        if code & 3 and ctx[C_FORMS] >> (says & 3) & 1:
            units += 1
            if not whole or unit != first:
                hope += look_at(hopes, number, n_hopes + (code >> 2))
    return units, np.log(hope / (stop - first)) + (reals[0] if whole else 0.0)


# -- patches -----------------------------------------------------------------------------------
@jit_borrowing
def place_of(book: np.ndarray, unit: int) -> int:
    """The position in the order of the token that begins a unit."""
    return read(book, bk.PLACE, read(book, bk.TOP, unit) - bk.LOWEST_CHILD)


@jit_borrowing
def patches_full(book: np.ndarray, entries: Entries) -> bool:
    """Is there no room for one patch more?"""
    used = entries.used
    most = 2 * book[bk.N_ORDER]
    return (
        2 * used[U_PATCHES] >= len(entries.patch)
        or used[U_DROPS] + most > len(entries.drop)
        or used[U_EXTRAS] + most > len(entries.extra)
    )


@jit_borrowing
def forget_patches(entries: Entries) -> None:
    """Start anew with no patches."""
    entries.used[U_PATCHES] = entries.used[U_DROPS] = entries.used[U_EXTRAS] = 0
    entries.patch[:, P_VALUE] = -1


@jit
def add_patch(
    book: np.ndarray,
    reals: np.ndarray,
    entries: Entries,
    row: np.ndarray,
    at_start: bool,
    ctx: np.ndarray,
    a: int,
    b: int,
    places: np.ndarray,
) -> int:
    """Work out in what a state differs from its entry, sounds aside, and keep it under (a, b), for
    which there must be room. Returns its slot. places: int64, scratch, as long as needed.

    Others may read patches meanwhile: this one is there for them once it is whole.
    """
    base, codes, hope = entries.base, entries.codes, entries.hope
    lines, used = entries.lines, entries.used
    n_order = int(book[bk.N_ORDER])
    state = row[SEASON]
    plain = row.copy()
    plain[SEASON] = read(book, bk.FLUSH, state)
    usual = ctx.copy()
    usual[C_SEASON], usual[C_PLAIN] = plain[SEASON], 1
    if not at_start:
        start = starting_bits(book, lines, ctx[C_READY], 0)
        usual[C_OTHERS] = other_units(book, lines, plain, ctx[C_READY], start, True, True)
    # The places where it may differ, and whether for what the words there may do.
    n = 0
    if not at_start:
        for i in range(book[bk.N_OTHERS]):
            child = read(book, bk.OTHER_NODES, i)
            at = node_at(book, child)
            if look(book, at + bk.HI) - look(book, at + bk.LO) == 1:
                which = read(book, bk.WHICH, look(book, at + bk.LO))
                if not (usual[C_OTHERS] | ctx[C_OTHERS]) >> which & 1:
                    continue
            places[n] = 2 * read(book, bk.PLACE, child - bk.LOWEST_CHILD)
            n += 1
    for i in range(read(book, bk.ODD_START, state), read(book, bk.ODD_START, state + 1)):
        columns = book[bk.COLUMN_START] + read(book, bk.ODD_COLUMN, i)
        for j in range(look(book, columns), look(book, columns + 1)):
            word = read(book, bk.COLUMN_WORD, j)
            of = look(book, heard_at(book, word) + bk.TYPE)
            if worked_out(book, base, lines, ctx, of) == look_at(codes, ctx[C_BASE], of):
                continue
            units = book[bk.UNIT_OF] + 3 * word
            for which in range(1 if at_start else 0, 3 if at_start else 1):
                if look(book, units + which) >= 0:
                    places[n] = 2 * place_of(book, look(book, units + which)) + 1
                    n += 1
    sort_run(places, n)
    drops = first_drop = used[U_DROPS]
    extras = first_extra = used[U_EXTRAS]
    nodes = int(book[bk.NODE_AT]) + (0 if at_start else n_order)
    n_touched = 0
    for i in range(n):
        position = places[i] >> 1
        if i + 1 < n and places[i + 1] >> 1 == position:
            continue  # the last of those that are equal tells most
        if places[i] & 1:
            places[n_touched] = position
            n_touched += 1
        child = look(book, nodes + position)
        was = np.float32(judge(book, reals, base, codes, hope, lines, usual, plain, child))
        now = np.float32(judge(book, reals, base, codes, hope, lines, ctx, row, child))
        if was != now:
            if was > -np.inf:
                entries.drop[drops] = position
                drops += 1
            if now > -np.inf:  # kept in the order of tokens
                token = read(book, bk.ORDER, position)
                at = extras
                while at > first_extra and entries.extra[at - 1] > token:
                    entries.extra[at] = entries.extra[at - 1]
                    entries.extra_outlook[at] = entries.extra_outlook[at - 1]
                    at -= 1
                entries.extra[at] = token
                entries.extra_outlook[at] = now
                extras += 1
    for i in range(n_touched):
        entries.drop[drops + i] = places[i]
    slot = -1 - find_key(entries.patch, a, b)
    entries.patch[slot, 0], entries.patch[slot, 1] = a, b
    entries.patch[slot, P_DROP], entries.patch[slot, P_DROP_STOP] = first_drop, drops
    entries.patch[slot, P_TOUCHED_STOP] = drops + n_touched
    entries.patch[slot, P_EXTRA], entries.patch[slot, P_EXTRA_STOP] = first_extra, extras
    atomic_swap(entries.patch, slot * entries.patch.shape[1] + P_VALUE, -1, used[U_PATCHES])
    used[U_DROPS], used[U_EXTRAS] = drops + n_touched, extras
    used[U_PATCHES] += 1
    return slot


@jit_borrowing
def spot_of(book: np.ndarray, unit: int) -> int:
    """4 * the position of the token that begins a unit + 2 * whether that token is all of it + 1 *
    whether the token begins other units too."""
    top = read(book, bk.TOP, unit)
    at = node_at(book, top)
    many = look(book, at + bk.HI) - look(book, at + bk.LO) > 1
    own = look(book, at + bk.UNIT) == unit
    place = read(book, bk.PLACE, top - bk.LOWEST_CHILD)
    return 4 * place + 2 * int(own) + int(many)


@jit_borrowing
def gather(
    book: np.ndarray,
    base: np.ndarray,
    codes: np.ndarray,
    lines: np.ndarray,
    ctx: np.ndarray,
    at_start: bool,
    word: int,
    found: np.ndarray,
    n: int,
) -> int:
    """Add to `found` the spots and units of a word that may only end the line, as it stands."""
    code = word_may(book, base, codes, lines, ctx, look(book, heard_at(book, word) + bk.TYPE))
    if code & 3 != CLOSES:
        return n
    units = book[bk.UNIT_OF] + 3 * word
    if not at_start:
        found[n] = spot_of(book, look(book, units)) << 32 | look(book, units)
        return n + 1
    for which in range(1, 3):
        unit = look(book, units + which)
        if unit >= 0 and ctx[C_FORMS] >> read(book, bk.FORM, unit) & 1:
            found[n] = spot_of(book, unit) << 32 | unit
            n += 1
    return n


@jit_borrowing
def sounds_refused(
    book: np.ndarray,
    base: np.ndarray,
    codes: np.ndarray,
    lines: np.ndarray,
    ctx: np.ndarray,
    row: np.ndarray,
    at_start: bool,
    units: np.ndarray,
    found: np.ndarray,
) -> int:
    """The units that could end the line but for their sound, once or more often each, as spot << 32
    | unit (see `spot_of`): sorted; their number. Inside a line, only those that can tell (see
    `book`): where others are left out, the token surely has another unit that is allowed. units:
    Entries.units of the entry, which is read next."""
    n = 0
    number = ctx[C_BASE]
    rule = book[bk.RHYME]
    if rule != bk.NO_RHYME:
        n_shapes, starts, rhyming = book[bk.N_SHAPES], book[bk.RUN_START], book[bk.RHYMING]
        tell_starts, telling = book[bk.TELLING_START], book[bk.TELLING]
        closing = B_AFTER + n_shapes
        for line in range(ctx[C_LINE]):
            ends = heard_at(book, row[ENDS + line])
            for i in range(look(book, ends + bk.FROM), look(book, ends + bk.TO)):
                part, onset = read(book, bk.SOUND, 2 * i), read(book, bk.SOUND, 2 * i + 1)
                if part < 0:
                    continue
                for j in range(closing, closing + look_at(base, number, B_CLOSES)):
                    run = part * n_shapes + look_at(base, number, j)
                    if at_start:
                        for k in range(look(book, starts + run), look(book, starts + run + 1)):
                            if (
                                rule == bk.IDENTICAL
                                or look(book, rhyming + 4 * k + R_ONSET) != onset
                            ):
                                word = read(book, bk.WORD_OF_RHYME, k)
                                n = gather(book, base, codes, lines, ctx, at_start, word, found, n)
                        continue
                    for k in range(
                        look(book, tell_starts + run), look(book, tell_starts + run + 1)
                    ):
                        at = telling + 4 * k
                        if rule != bk.IDENTICAL and look(book, at + R_ONSET) == onset:
                            continue
                        code = word_may(book, base, codes, lines, ctx, look(book, at + R_TYPE))
                        if code & 3 == CLOSES:
                            spot = look(book, at + R_SPOT)
                            slot = read(book, bk.SLOT, book[bk.N_ORDER] + (spot >> 2))
                            fetch(units, slot, 1)
                            found[n] = spot << 32 | look(book, at + R_UNIT)
                            n += 1
    for i in range(book[bk.N_SPECIAL]):
        word = read(book, bk.SPECIAL, i)
        of = look(book, heard_at(book, word) + bk.TYPE)
        code = word_may(book, base, codes, lines, ctx, of)
        if code & 3 == CLOSES:
            crucial = look(book, heard_at(book, word) + bk.CRUCIAL)
            bits = closing_bits(book, lines, ctx[C_READY], crucial)
            if not bits >> (2 * ctx[C_CUT] + (code >> 2 & 1)) & 1:
                n = gather(book, base, codes, lines, ctx, at_start, word, found, n)
    sort_run(found, n)
    return n


@jit_borrowing
def merge_refused(
    book: np.ndarray,
    reals: np.ndarray,
    entries: Entries,
    ctx: np.ndarray,
    row: np.ndarray,
    at_start: bool,
    patch: int,
    n_found: int,
    drop: np.ndarray,
    n_drop: int,
    extra: np.ndarray,
    extra_outlook: np.ndarray,
    n_extra: int,
    found: np.ndarray,
) -> tuple[int, int]:
    """Write a patch, and take off what `sounds_refused` found.

    Where a token's own word is refused and a longer one is not, the token stays with the outlook
    of the longer ones: it is dropped and comes again as an extra. extra[:n_extra] beyond the
    patch's own may be unsorted.
    """
    own = n_extra
    for i in range(entries.patch[patch, P_EXTRA], entries.patch[patch, P_EXTRA_STOP]):
        extra[n_extra], extra_outlook[n_extra] = entries.extra[i], entries.extra_outlook[i]
        n_extra += 1
    patched = n_extra
    removed = 0
    at, drop_stop = entries.patch[patch, P_DROP], entries.patch[patch, P_DROP_STOP]
    touched_stop = entries.patch[patch, P_TOUCHED_STOP]
    entry = look_at(entries.base, ctx[C_BASE], B_ENTRY)
    slots = int(book[bk.SLOT]) + (0 if at_start else int(book[bk.N_ORDER]))
    i = 0
    while i < n_found:
        place = found[i] >> 34
        many = found[i] >> 32 & 1 != 0  # do other units begin with this token too?
        own_refused = False
        refused_units = 0
        before = np.int64(-1)
        while i < n_found and found[i] >> 34 == place:
            refused_units += int(found[i] != before)
            own_refused |= found[i] >> 33 & 1 != 0
            before = found[i]
            i += 1
        now = np.float32(-np.inf)
        touched = found_token(entries.drop, drop_stop, touched_stop, place) >= 0
        if many:
            units = -1
            slot = look(book, slots + place)
            if not touched:
                units = look_at(entries.units, entry, slot)
            if units > refused_units:
                if not own_refused:
                    continue
                now = look_at(entries.without, entry, slot)
            elif units < 0:
                keeps, now = judge_refused(book, reals, entries, ctx, row, at_start, place)
                if keeps:
                    continue
                touched = True  # if by marks
        if touched:
            low = found_token(extra, own, patched, read(book, bk.ORDER, place))
            if low >= 0:
                extra_outlook[low] = now
                removed += int(now == -np.inf)
                continue
        while at < drop_stop and entries.drop[at] < place:
            drop[n_drop] = entries.drop[at]
            n_drop += 1
            at += 1
        drop[n_drop] = place
        n_drop += 1
        if now > -np.inf:
            extra[n_extra], extra_outlook[n_extra] = read(book, bk.ORDER, place), now
            n_extra += 1
    while at < drop_stop:
        drop[n_drop] = entries.drop[at]
        n_drop += 1
        at += 1
    if removed:
        n_extra = without_refused(extra, extra_outlook, own, n_extra)
    return n_drop, n_extra


@jit_borrowing
def judge_refused(
    book: np.ndarray,
    reals: np.ndarray,
    entries: Entries,
    ctx: np.ndarray,
    row: np.ndarray,
    at_start: bool,
    place: int,
) -> tuple[bool, float]:
    """Of a token below which a word is refused for its sound: does it stay as it is; if not, its
    outlook, sounds heeded."""
    nodes = int(book[bk.NODE_AT]) + (0 if at_start else int(book[bk.N_ORDER]))
    child = look(book, nodes + place)
    base, codes, lines = entries.base, entries.codes, entries.lines
    own_is = own_word(book, base, codes, lines, ctx, row, child)
    now = np.float32(-np.inf)
    if own_is == 2:
        ctx[C_HEED] = 1
        now = np.float32(judge(book, reals, base, codes, entries.hope, lines, ctx, row, child))
        ctx[C_HEED] = 0
    return own_is == 1, now


@jit_borrowing
def found_token(extra: np.ndarray, start: int, stop: int, token: int) -> int:
    """Where a token stands in the ascending extra[start:stop], or -1."""
    low, high = start, stop
    while low < high:
        middle = (low + high) >> 1
        if extra[middle] < token:
            low = middle + 1
        else:
            high = middle
    return low if low < stop and extra[low] == token else -1


@jit_borrowing
def without_refused(extra: np.ndarray, extra_outlook: np.ndarray, start: int, stop: int) -> int:
    """Take those of an outlook of -inf out of extra[start:stop]; the new stop."""
    kept = start
    for i in range(start, stop):
        if extra_outlook[i] > -np.inf:
            extra[kept], extra_outlook[kept] = extra[i], extra_outlook[i]
            kept += 1
    return kept


# -- inside a unit -----------------------------------------------------------------------------
@jit_borrowing
def judge_children(
    book: np.ndarray,
    reals: np.ndarray,
    entries: Entries,
    ctx: np.ndarray,
    row: np.ndarray,
    node: int,
    extra: np.ndarray,
    extra_outlook: np.ndarray,
    n: int,
) -> int:
    """Write the tokens that may go on from a node inside a unit behind extra[:n]; the new n."""
    at = node_at(book, node)
    first = look(book, at + bk.FIRST)
    for child in range(first, first + look(book, at + bk.COUNT)):
        ahead = judge(
            book, reals, entries.base, entries.codes, entries.hope, entries.lines, ctx, row, child
        )
        if ahead > -np.inf:
            extra[n] = read(book, bk.CHILD, bk.CHILD_WIDTH * child + bk.TOKEN)
            extra_outlook[n] = ahead
            n += 1
    return n


@jit_borrowing
def parts_heard(book: np.ndarray, row: np.ndarray, line: int) -> int:
    """Two sieves of the rhyme parts on which the lines before `line` end: bits part % 32 and 32 +
    part // 32 % 31 are set."""
    found = 0
    for place in range(line):
        ends = heard_at(book, row[ENDS + place])
        for i in range(look(book, ends + bk.FROM), look(book, ends + bk.TO)):
            part = read(book, bk.SOUND, 2 * i)
            found |= 1 << (part & 31) | 1 << (32 + (part >> 5) % 31)
    return found


@jit_borrowing
def run_children(
    book: np.ndarray,
    reals: np.ndarray,
    entries: Entries,
    ctx: np.ndarray,
    row: np.ndarray,
    node: int,
    heard: int,
    extra: np.ndarray,
    extra_outlook: np.ndarray,
    n: int,
) -> int:
    """As `judge_children`, where no mark is below and the season state changes nothing. heard:
    `parts_heard`, or 0 if no sound matters."""
    number, forms = ctx[C_BASE], ctx[C_FORMS]
    codes, hopes, deep = entries.codes[number], entries.hope[number], entries.deep[number]
    at = node_at(book, node)
    first = look(book, at + bk.FIRST)
    stop = first + look(book, at + bk.COUNT)
    for child in range(first, stop):
        at = bk.CHILD_WIDTH * child
        says = read(book, bk.CHILD, at + bk.SAYS)
        extra[n] = read(book, bk.CHILD, at + bk.TOKEN)
        if says < 0:
            ahead = np.float64(look(deep, -1 - says))
            some = heard & read(book, bk.CHILD, at + bk.PART) & 0xFFFFFFFF
            if some and heard >> 32 & read(book, bk.CHILD, at + bk.WORD):
                ahead = judge(
                    book, reals, entries.base, entries.codes, entries.hope, entries.lines, ctx,
                    row, child,
                )  # fmt: skip
            extra_outlook[n] = ahead
            n += int(ahead > -np.inf)
            continue
        code = look(codes, says >> 2)
        extra_outlook[n] = look(hopes, code >> 2)
        fine = int(code & 3 != 0) & (forms >> (says & 3))  # no jump: nobody could foretell it
        if heard and code & 3 == CLOSES and heard >> (read(book, bk.CHILD, at + bk.PART) & 31) & 1:
            word = read(book, bk.CHILD, at + bk.WORD)
            fine &= int(not rhymes(book, row, ctx[C_LINE], word))
        n += fine & 1
    return n


@jit_borrowing
def odd_below(book: np.ndarray, state: int, first: int, stop: int, at_start: bool) -> bool:
    """Is one of the units first .. stop a word that a season state takes in a way of its own?"""
    for i in range(read(book, bk.ODD_START, state), read(book, bk.ODD_START, state + 1)):
        columns = book[bk.COLUMN_START] + read(book, bk.ODD_COLUMN, i)
        for j in range(look(book, columns), look(book, columns + 1)):
            units = book[bk.UNIT_OF] + 3 * read(book, bk.COLUMN_WORD, j)
            for which in range(1 if at_start else 0, 3 if at_start else 1):
                if first <= look(book, units + which) < stop:
                    return True
    return False


@jit_borrowing
def go_on(
    book: np.ndarray,
    reals: np.ndarray,
    entries: Entries,
    ctx: np.ndarray,
    row: np.ndarray,
    node: int,
    at_start: bool,
    extra: np.ndarray,
    extra_outlook: np.ndarray,
    n: int,
) -> int:
    """Write the tokens that may go on from a node inside a unit behind extra[:n]; the new n."""
    heard = book[bk.RHYME] != bk.NO_RHYME and ctx[C_LINE] > 0
    heard = heard and look_at(entries.base, ctx[C_BASE], B_CLOSES) != 0
    at = node_at(book, node)
    first, stop = look(book, at + bk.LO), look(book, at + bk.HI)
    if (
        book[bk.N_SPECIAL]
        or look(book, at + bk.FLAGS) & bk.HAS_OTHER
        or (not ctx[C_PLAIN] and odd_below(book, ctx[C_SEASON], first, stop, at_start))
    ):
        ctx[C_HEED] = int(heard or book[bk.N_SPECIAL] != 0)
        n = judge_children(book, reals, entries, ctx, row, node, extra, extra_outlook, n)
    else:
        ctx[C_HEED] = int(heard)
        sounds = parts_heard(book, row, ctx[C_LINE]) if heard else 0
        n = run_children(book, reals, entries, ctx, row, node, sounds, extra, extra_outlook, n)
    ctx[C_HEED] = 0
    return n


@jit_borrowing
def merge_extras(
    extra: np.ndarray, extra_outlook: np.ndarray, here: int, middle: int, stop: int
) -> None:
    """Put extra[here:stop] into ascending order; extra[here:middle] is already, the rest, two or
    three runs, nearly. Behind `stop` is scratch, as long again."""
    for i in range(middle + 1, stop):
        token, ahead = extra[i], extra_outlook[i]
        at = i
        while at > middle and extra[at - 1] > token:
            extra[at], extra_outlook[at] = extra[at - 1], extra_outlook[at - 1]
            at -= 1
        extra[at], extra_outlook[at] = token, ahead
    if middle in (here, stop) or extra[middle - 1] < extra[middle]:
        return
    more = stop - middle
    for i in range(more):
        extra[stop + i], extra_outlook[stop + i] = extra[middle + i], extra_outlook[middle + i]
    left, right = middle - 1, stop + more - 1
    at = stop - 1
    while right >= stop:
        if left >= here and extra[left] > extra[right]:
            extra[at], extra_outlook[at] = extra[left], extra_outlook[left]
            left -= 1
        else:
            extra[at], extra_outlook[at] = extra[right], extra_outlook[right]
            right -= 1
        at -= 1
