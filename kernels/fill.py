"""The masks of a whole batch in one call; of bitmasks, every thread of a team fills a share.

What rows have in common is made before (`boundary`), but for patches, which are made as they are
met, by one thread at a time. New states read what no cache holds, so rows ask for it some rows
ahead (`bring`). Knows neither text nor models. Its slow twin is `Lattice.candidates`. Called by
`constrained_gpt.lattice.boundary`.
"""

from __future__ import annotations

import numpy as np

from . import book as bk
from ._index import look, look_at, read
from ._jit import jit, jit_borrowing, jit_into
from ._simd import fetch
from ._team import LEFT
from ._threads import atomic_load, atomic_swap, pause
from .boundary import (
    DONE,
    NEED_BASE,
    NEED_PATCHES,
    NEED_ROOM,
    P_DROP,
    P_DROP_STOP,
    P_EXTRA,
    P_EXTRA_STOP,
    P_VALUE,
    U_LOCK,
    Entries,
    add_patch,
    find_key,
    forget_patches,
    go_on,
    line_known,
    merge_extras,
    merge_refused,
    patches_full,
    set_context,
    sounds_refused,
)
from .judging import (
    B_CLOSES,
    B_ENTRY,
    B_PREFIX,
    B_START,
    B_STOP,
    C_FORMS,
    C_OTHERS,
    CONTEXT,
    may_close,
    other_units,
    starting_bits,
)
from .mask import (
    BUDGET,
    CUT,
    ENDS,
    FINISHED,
    LAST,
    LINE,
    LINE_ROOT,
    MID_ROOT,
    NODE,
    SEASON,
    STYLE,
    WORD,
)
from .walk import commit, heard_at, node_at

# Columns of a share's report: NEED_* and of what (see `fill_masks`), and where its part of the
# drops and extras ends by then.
N_KIND, N_OF, N_AND, N_DROPS, N_EXTRAS = range(5)
APART = 16  # numbers that lie between what two threads write: the cache lends them by so many
REPORT = APART
_AHEAD = 3  # rows between asking for the next thing a row reads and for what that leads to
_MOST_BROUGHT = 32  # of the children of a node, and of the words that rhyme with one word


@jit_borrowing
def bring_node(book: np.ndarray, row: np.ndarray) -> None:
    """Ask for what the mask of a row will read, so that the waits of several rows overlap. What is
    found through this is asked for some rows later, by `bring_words`, then `bring_runs`, then
    `bring_telling`."""
    fetch(book, node_at(book, row[NODE]), 1)
    if row[LAST] >= 0:
        fetch(book, heard_at(book, row[LAST]), 1)
    for line in range(row[LINE]):
        fetch(book, heard_at(book, row[ENDS + line]), 1)


@jit_borrowing
def bring_words(book: np.ndarray, row: np.ndarray) -> None:
    """The word a row is at, what may go on with it, and the sounds of words before it."""
    node = row[NODE]
    if node > MID_ROOT:
        at = node_at(book, node)
        fetch(book, heard_at(book, look(book, at + bk.OWN_WORD)), 1)
        children = min(look(book, at + bk.COUNT), _MOST_BROUGHT)
        first = int(book[bk.CHILD]) + bk.CHILD_WIDTH * look(book, at + bk.FIRST)
        fetch(book, first, bk.CHILD_WIDTH * children)
    if row[LAST] >= 0:
        at = heard_at(book, row[LAST])
        fetch(book, int(book[bk.SOUND]) + 2 * look(book, at + bk.FROM), 1)
    for line in range(row[LINE]):
        at = heard_at(book, row[ENDS + line])
        fetch(book, int(book[bk.SOUND]) + 2 * look(book, at + bk.FROM), 1)


@jit_borrowing
def bring_runs(book: np.ndarray, row: np.ndarray) -> None:
    """The sound of a row's word, and where the words stand that rhyme with ends of lines."""
    node, n_shapes = row[NODE], int(book[bk.N_SHAPES])
    if node > MID_ROOT:
        at = heard_at(book, look(book, node_at(book, node) + bk.OWN_WORD))
        fetch(book, int(book[bk.SOUND]) + 2 * look(book, at + bk.FROM), 1)
    for line in range(row[LINE]):
        at = heard_at(book, row[ENDS + line])
        part = read(book, bk.SOUND, 2 * look(book, at + bk.FROM))
        if part >= 0:
            fetch(book, int(book[bk.TELLING_START]) + part * n_shapes, n_shapes + 16)


@jit_borrowing
def bring_telling(book: np.ndarray, row: np.ndarray) -> None:
    """The words that rhyme with ends of lines."""
    n_shapes = int(book[bk.N_SHAPES])
    for line in range(row[LINE]):
        at = heard_at(book, row[ENDS + line])
        part = read(book, bk.SOUND, 2 * look(book, at + bk.FROM))
        if part >= 0:
            low = read(book, bk.TELLING_START, part * n_shapes)
            stop = read(book, bk.TELLING_START, (part + 1) * n_shapes)
            at = int(book[bk.TELLING]) + 4 * low
            fetch(book, at, 4 * min(stop - low, _MOST_BROUGHT) + 15)


@jit_borrowing
def bring(book: np.ndarray, states: np.ndarray, first: int, stop: int, b: int) -> None:
    """Ask for what the masks of rows soon after row b will read; of none but first .. stop."""
    if first <= b + 4 * _AHEAD < stop and states[b + 4 * _AHEAD, NODE] != FINISHED:
        bring_node(book, states[b + 4 * _AHEAD])
    if first <= b + 3 * _AHEAD < stop and states[b + 3 * _AHEAD, NODE] != FINISHED:
        bring_words(book, states[b + 3 * _AHEAD])
    if book[bk.RHYME] == bk.NO_RHYME:
        return
    if first <= b + 2 * _AHEAD < stop and states[b + 2 * _AHEAD, NODE] != FINISHED:
        bring_runs(book, states[b + 2 * _AHEAD])
    if first <= b + _AHEAD < stop and states[b + _AHEAD, NODE] != FINISHED:
        bring_telling(book, states[b + _AHEAD])


@jit
def patch_of(
    book: np.ndarray,
    reals: np.ndarray,
    entries: Entries,
    row: np.ndarray,
    at_start: bool,
    ctx: np.ndarray,
    a: int,
    b: int,
    scratch: np.ndarray,
    shares: int,
    barrier: np.ndarray,
) -> int:
    """The slot of a patch that was not there when looked for; it is added, unless another thread
    has done so meanwhile. -1: there is no room, and others may be reading what is there."""
    used, patches = entries.used, entries.patch
    while shares > 1 and atomic_swap(used, U_LOCK, 0, 1) != 0:
        if atomic_load(barrier, LEFT) != 0:
            return -1  # another thread failed, and may have the lock
        pause()
    slot = find_key(patches, a, b)
    if slot < 0:
        full = patches_full(book, entries)
        if full and shares == 1:
            forget_patches(entries)
        if not full or shares == 1:
            slot = add_patch(book, reals, entries, row, at_start, ctx, a, b, scratch)
    if shares > 1:
        atomic_swap(used, U_LOCK, 1, 0)
    return max(slot, -1)


@jit_into
def fill_share(
    book: np.ndarray,
    reals: np.ndarray,
    entries: Entries,
    scratch: np.ndarray,
    states: np.ndarray,
    first: int,
    last: int,
    share: int,
    shares: int,
    barrier: np.ndarray,
    row: np.ndarray,
    report: np.ndarray,
    entry: np.ndarray,
    begin: np.ndarray,
    stop: np.ndarray,
    prefix: np.ndarray,
    drop_start: np.ndarray,
    drop: np.ndarray,
    extra_start: np.ndarray,
    extra: np.ndarray,
    extra_outlook: np.ndarray,
) -> int:
    """Fill the masks of rows first .. last, drops and extras into the share's part of the buffers;
    the first row that is left. report: where that part begins, then where it ends; and what the row
    that is left needs.

    row: int64 (width,), scratch: int64, as long as needed: both scratch. barrier: of the team.
    """
    ctx = np.zeros(CONTEXT, np.int64)
    base, codes, lines = entries.base, entries.codes, entries.lines
    found, patches = entries.found, entries.patch
    n_drop, n_extra = report[N_DROPS], report[N_EXTRAS]
    drop_room, extra_room = len(drop) // shares * (share + 1), len(extra) // shares * (share + 1)
    spare = int(book[bk.N_ORDER]) + int(book[bk.N_WIDEST])
    report[N_KIND] = DONE
    for b in range(first - (4 * _AHEAD if last - first > 1 else 0), last):
        bring(book, states, first, last, b)
        if b < first:
            continue
        report[N_DROPS], report[N_EXTRAS] = n_drop, n_extra
        for i in range(len(row)):
            row[i] = states[b, i]
        node = row[NODE]
        entry[b], begin[b], stop[b], prefix[b] = -1, 0, 0, 0
        drop_start[b], extra_start[b] = n_drop, n_extra
        if node == FINISHED:
            continue
        if n_drop + spare > drop_room or n_extra + 2 * spare > extra_room:
            report[N_KIND] = NEED_ROOM
            return b
        here = n_extra
        ready = line_known(book, found, row, report)
        if ready < 0:
            return b
        after_word = False
        if node > MID_ROOT:
            record = node_at(book, node)
            flags = look(book, record + bk.FLAGS)
            if look(book, record + bk.COUNT):  # the unit may go on
                at_start = look(book, record + bk.HI) <= look(
                    book, node_at(book, LINE_ROOT) + bk.HI
                )
                if set_context(book, found, row, at_start, ready, ctx) < 0:
                    report[N_KIND], report[N_OF], report[N_AND] = NEED_BASE, int(at_start), ready
                    return b
                if row[LAST] >= 0 and flags & bk.HAS_OTHER:
                    own = look(book, heard_at(book, row[LAST]) + bk.CRUCIAL)
                    start = starting_bits(book, lines, ready, own)
                    closes = may_close(book, row)
                    ctx[C_OTHERS] = other_units(book, lines, row, ready, start, True, closes)
                n_extra = go_on(
                    book, reals, entries, ctx, row, node, at_start, extra, extra_outlook, n_extra
                )
            if look(book, record + bk.UNIT) < 0:
                continue
            after_word = flags & 3 == WORD
            commit(book, row, node)
            if row[STYLE] < 0 or row[CUT] < 0:
                continue  # "A" where small letters are asked for: it can only become "Alaska"
        at_start = node == LINE_ROOT
        number = set_context(book, found, row, at_start, ready, ctx)
        if number < 0:
            report[N_KIND], report[N_OF], report[N_AND] = NEED_BASE, int(at_start), ready
            return b
        entry[b], prefix[b] = base[number, B_ENTRY], base[number, B_PREFIX]
        begin[b], stop[b] = base[number, B_START], base[number, B_STOP]
        closes = may_close(book, row)
        own = look(book, heard_at(book, row[LAST]) + bk.CRUCIAL) if closes else 0
        start = starting_bits(book, lines, ready, own)
        key = int(after_word) | int(closes) << 1 | ctx[C_FORMS] << 2 | int(at_start) << 5
        a = row[BUDGET] | row[LINE] << 32 | key << 38 | row[CUT] << 44
        c = row[SEASON] | ready << 24 | start << 56
        patch = find_key(patches, a, c)
        if patch < 0:
            if not at_start:
                ctx[C_OTHERS] = other_units(book, lines, row, ready, start, after_word, closes)
            patch = patch_of(
                book, reals, entries, row, at_start, ctx, a, c, scratch, shares, barrier
            )
            if patch < 0:
                report[N_KIND] = NEED_PATCHES
                return b
        elif shares > 1:  # what another thread wrote before it made the patch known
            atomic_load(patches, patch * patches.shape[1] + P_VALUE)
        inside = n_extra
        n_found = 0
        if base[number, B_CLOSES] and (row[LINE] or book[bk.N_SPECIAL]):
            n_found = sounds_refused(
                book, base, codes, lines, ctx, row, at_start, entries.units[entry[b]], scratch
            )
        if n_found == 0:
            for i in range(look_at(patches, patch, P_DROP), look_at(patches, patch, P_DROP_STOP)):
                drop[n_drop] = look(entries.drop, i)
                n_drop += 1
            for i in range(look_at(patches, patch, P_EXTRA), look_at(patches, patch, P_EXTRA_STOP)):
                extra[n_extra], extra_outlook[n_extra] = (
                    look(entries.extra, i),
                    look(entries.extra_outlook, i),
                )
                n_extra += 1
        else:
            if not at_start:
                ctx[C_OTHERS] = other_units(book, lines, row, ready, start, after_word, closes)
            n_drop, n_extra = merge_refused(
                book, reals, entries, ctx, row, at_start, patch, n_found,
                drop, n_drop, extra, extra_outlook, n_extra, scratch,
            )  # fmt: skip
        merge_extras(extra, extra_outlook, here, inside, n_extra)
    report[N_DROPS], report[N_EXTRAS] = n_drop, n_extra
    return last


@jit
def fill_masks(
    first_row: int,
    book: np.ndarray,
    reals: np.ndarray,
    base: np.ndarray,
    codes: np.ndarray,
    hope: np.ndarray,
    lines: np.ndarray,
    deep: np.ndarray,
    units: np.ndarray,
    without: np.ndarray,
    found: np.ndarray,
    patches: np.ndarray,
    patch_drop: np.ndarray,
    patch_extra: np.ndarray,
    patch_outlook: np.ndarray,
    used: np.ndarray,
    scratch: np.ndarray,
    states: np.ndarray,
    row: np.ndarray,
    report: np.ndarray,
    entry: np.ndarray,
    begin: np.ndarray,
    stop: np.ndarray,
    prefix: np.ndarray,
    drop_start: np.ndarray,
    drop: np.ndarray,
    extra_start: np.ndarray,
    extra: np.ndarray,
    extra_outlook: np.ndarray,
) -> int:
    """Fill the fields of `mask.Masks` for the rows from `first_row` on; the rows done so far.

    base .. scratch: the fields of `Entries`, one by one, since numba is slow at taking them
    together. states: int64 (B, width); row: int64 (shares, at least width), scratch.
    begin, stop: `Masks.start` and `Masks.stop`. drop, extra, extra_outlook: with room to spare.

    report: int64 (shares, REPORT). If rows are left, report[0, N_KIND] says what the next one needs
    first (NEED_*) and what stands behind it of what: a line and the sounds before it; sounds so far
    and one more; for a base whether it stands at the start of a line, and the number of the line,
    its state being in `row`.
    """
    entries = Entries(
        base, codes, hope, lines, deep, units, without, found, patches, patch_drop,
        patch_extra, patch_outlook, used, scratch,
    )  # fmt: skip
    n, width, own = len(states), states.shape[1], report[0]
    own[N_DROPS] = drop_start[first_row] if first_row else 0
    own[N_EXTRAS] = extra_start[first_row] if first_row else 0
    done = fill_share(
        book, reals, entries, scratch[0], states, first_row, n, 0, 1, used, row[0, :width], own,
        entry, begin, stop, prefix, drop_start, drop, extra_start, extra, extra_outlook,
    )  # fmt: skip
    drop_start[done], extra_start[done] = own[N_DROPS], own[N_EXTRAS]
    return done


@jit
def share_bitmasks(
    thread: int,
    threads: int,
    barrier: np.ndarray,
    book: np.ndarray,
    reals: np.ndarray,
    base: np.ndarray,
    codes: np.ndarray,
    hope: np.ndarray,
    lines: np.ndarray,
    deep: np.ndarray,
    units: np.ndarray,
    without: np.ndarray,
    found: np.ndarray,
    patches: np.ndarray,
    patch_drop: np.ndarray,
    patch_extra: np.ndarray,
    patch_outlook: np.ndarray,
    used: np.ndarray,
    scratch: np.ndarray,
    states: np.ndarray,
    row: np.ndarray,
    report: np.ndarray,
    entry: np.ndarray,
    begin: np.ndarray,
    stop: np.ndarray,
    prefix: np.ndarray,
    drop_start: np.ndarray,
    drop: np.ndarray,
    extra_start: np.ndarray,
    extra: np.ndarray,
    extra_outlook: np.ndarray,
    bits: np.ndarray,
    bitmask: np.ndarray,
) -> None:
    """Write the masks of rows into int32 bitmasks (B, >= V/32), as one of `threads` threads that
    each take a share of the rows.

    bits: int32 (entries, words of 32 tokens), the entries as bitmasks. The rest as in `fill_masks`,
    but that all but the bitmasks is scratch, and that every share has a report: if one needs
    something, they are written anew once it is made.
    """
    shares = min(threads, len(scratch))
    if thread >= shares:
        return
    entries = Entries(
        base, codes, hope, lines, deep, units, without, found, patches, patch_drop,
        patch_extra, patch_outlook, used, scratch,
    )  # fmt: skip
    n, width, own = len(states), states.shape[1], report[thread]
    first = n * thread // shares
    own[N_DROPS], own[N_EXTRAS] = len(drop) // shares * thread, len(extra) // shares * thread
    done = fill_share(
        book, reals, entries, scratch[thread], states, first, n * (thread + 1) // shares, thread,
        shares, barrier, row[thread, :width], own, entry, begin, stop, prefix, drop_start, drop,
        extra_start, extra, extra_outlook,
    )  # fmt: skip
    for b in range(first, done):
        drops, extras = own[N_DROPS], own[N_EXTRAS]
        if b + 1 < done:
            drops, extras = drop_start[b + 1], extra_start[b + 1]
        write_bitmask(
            book, bits, entry[b], drop[drop_start[b] : drops], extra[extra_start[b] : extras],
            bitmask[b],
        )  # fmt: skip


@jit
def write_bitmasks(
    book: np.ndarray,
    bits: np.ndarray,
    entry: np.ndarray,
    drop_start: np.ndarray,
    drop: np.ndarray,
    extra_start: np.ndarray,
    extra: np.ndarray,
    bitmask: np.ndarray,
) -> None:
    """Write masks, as `fill_masks` gives them, into int32 bitmasks (B, >= V/32)."""
    for b in range(len(entry)):
        write_bitmask(
            book, bits, entry[b], drop[drop_start[b] : drop_start[b + 1]],
            extra[extra_start[b] : extra_start[b + 1]], bitmask[b],
        )  # fmt: skip


@jit_borrowing
def write_bitmask(
    book: np.ndarray,
    bits: np.ndarray,
    entry: int,
    drop: np.ndarray,
    extra: np.ndarray,
    bitmask: np.ndarray,
) -> None:
    """Write one row's mask into an int32 bitmask (>= V/32,)."""
    one = np.uint32(1)
    out = bitmask.view(np.uint32)
    known = min(bits.shape[1], len(out)) if entry >= 0 else 0
    for i in range(known):
        out[i] = bits[entry, i]
    for i in range(known, len(out)):
        out[i] = 0
    for place in drop:
        token = read(book, bk.ORDER, place)
        out[token >> 5] &= ~(one << np.uint32(token & 31))
    for token in extra:
        out[token >> 5] |= one << np.uint32(token & 31)
