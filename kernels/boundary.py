"""Masks of a whole batch in one call: entries shared by many states, and small patches on them.

An *entry* is what may begin a unit when nothing is pending: it depends on the line, the syllables
left, whether season word and cut are there, and on nothing that is new in every poem. What is
special to a state is a *patch*: a few tokens taken away or added (a season phrase half said, a
mark just written). What rhymes with earlier lines is worked out at once, at the price of the words
that rhyme. Knows neither text nor models. Its slow twin is `Lattice.candidates`; the twins of the
parts stand in `reference_boundary`. Called by `constrained_gpt.lattice.boundary`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._jit import jit
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
    Tables,
    commit_unit,
    settled_cut,
    shift_budget,
)

PERFECT, IDENTICAL = 1, 2  # values of Words.rhyme; 0: the form has no rule of rhyme
GOES_ON, CLOSES = 1, 2  # what a word may do: stand inside the line, end it
# What `fill_masks` may come back for.
DONE, NEED_ROOM, NEED_LINE, NEED_SOUND, NEED_BASE = range(5)
# Counters in Entries.used.
N_BASES, N_ENTRIES, N_ARENA, N_PATCHES, N_DROPS, N_EXTRAS, N_SOUNDS, N_LINES = range(8)
# Columns of Entries.base and Entries.patch.
B_ENTRY, B_START, B_STOP, B_PREFIX, B_CLOSES = range(5)
P_BASE, P_DROP, P_DROP_STOP, P_EXTRA, P_EXTRA_STOP = range(5)
# Fields of a context: the state at the last boundary, as `judge` needs it.
C_BASE, C_SEASON, C_CUT, C_READY, C_FORMS, C_OTHERS, C_LINE, C_HEED = range(8)
_N_CONTEXT = 8
_FIRST = 3  # the first node below LINE_ROOT; those below MID_ROOT follow


class Words(NamedTuple):
    """What never changes while the lattice is used, beside `mask.Tables`.

    unit_type: int32 (units,), the type of a word's unit. top: int32 (units,), the child of
    MID_ROOT or LINE_ROOT above it. unit_of: int32 (words, 3), the units of a word inside a line,
    at its start, and at its start in capitals; -1 for none. place: int32, of each such child
    (node - 3), its position in `order`; node_at: int32 (2, S), the child of LINE_ROOT (0) and of
    MID_ROOT (1) at a position or -1. least: int8 (S,): fewer syllables left, and no word that
    starts so fits. other_nodes: int32, children of MID_ROOT with a mark, break or end below;
    has_other: uint8 (nodes,), is one below this node. type_of: int32 (words,); type_shape, type_column: int32 (types,): a *shape* is a set of
    syllable counts and whether the word may end a line. shape_bits: int64 (shapes,);
    shape_dangles: uint8 (shapes,). to_done: uint8 (K,), whether a break makes the season word
    found. odd_start, odd_column: int32: the columns in which a season state differs from the one
    that a break would leave; column_start, column_word: the words of each column.
    rhyme: int64 (1,). sound_start, sound_part, sound_onset: int32, the sounds of each word and
    then of line ends from outside. run_start: int32 (parts + 1,); run_shape, run_word: int32, for
    each run of words of one part and one shape its shape and where it begins; part_word,
    part_onset: int32, in the order of their positions inside a run.
    crucial: int32 (words + outside,): which set of sounds that can decide whether a later line
    can be filled, 0 for none; special: int32, the words with such sounds.
    left_after: int32 (lines,): syllables of the lines after. chance: float64 (most + 1, 2, cuts):
    log-chance that what is owed will come, by syllables left in the poem and whether the season
    word is there. strain: float64 (1,). has_end: uint8 (1,).
    order: int32 (S,).
    """

    unit_type: np.ndarray
    top: np.ndarray
    unit_of: np.ndarray
    place: np.ndarray
    node_at: np.ndarray
    least: np.ndarray
    other_nodes: np.ndarray
    has_other: np.ndarray
    type_of: np.ndarray
    type_shape: np.ndarray
    type_column: np.ndarray
    shape_bits: np.ndarray
    shape_dangles: np.ndarray
    to_done: np.ndarray
    odd_start: np.ndarray
    odd_column: np.ndarray
    column_start: np.ndarray
    column_word: np.ndarray
    rhyme: np.ndarray
    sound_start: np.ndarray
    sound_part: np.ndarray
    sound_onset: np.ndarray
    run_start: np.ndarray
    run_shape: np.ndarray
    run_word: np.ndarray
    part_word: np.ndarray
    part_onset: np.ndarray
    crucial: np.ndarray
    special: np.ndarray
    left_after: np.ndarray
    chance: np.ndarray
    strain: np.ndarray
    has_end: np.ndarray
    order: np.ndarray


class Entries(NamedTuple):
    """What grows: entries and patches found so far, and what Python has worked out for them.

    position: int32 (A,), outlook: float32 (A,): the arena. base: int64 (bases, 5), see B_*.
    after: int64 (bases, shapes): what may remain after a word of a shape; hope: float64 (bases,
    shapes, 2): its outlook, season word missing or there. bits: int32 (entries, words of 32
    tokens), each entry as a bitmask.
    base_key, patch_key: int64 (n, 2), base_slot, patch_slot: int32 (2**k,): open addressing.
    patch: int64 (patches, 5), see P_*; drop: int32, extra: int32, extra_outlook: float32: of all.
    sound_key, sound_value: int64, int32 (2**k,), -1 where free: set of crucial sounds of the lines
    so far, and one line more -> the set with it. ready: int32 (lines, sets): the number under which
    a line with such sounds before it is known, or -1. By that number: mid, next_word: int64
    (n, cuts, K); end: uint8 (n, crucial), bits 2 * cut + (season word there): may the line end
    so on a word with that crucial sound (0: none); start: the same of the line that follows.
    used: int64 (8,), see N_*. scratch: int64, as long as needed.
    """

    position: np.ndarray
    outlook: np.ndarray
    base: np.ndarray
    after: np.ndarray
    hope: np.ndarray
    bits: np.ndarray
    base_key: np.ndarray
    base_slot: np.ndarray
    patch_key: np.ndarray
    patch_slot: np.ndarray
    patch: np.ndarray
    drop: np.ndarray
    extra: np.ndarray
    extra_outlook: np.ndarray
    sound_key: np.ndarray
    sound_value: np.ndarray
    ready: np.ndarray
    mid: np.ndarray
    next_word: np.ndarray
    end: np.ndarray
    start: np.ndarray
    used: np.ndarray
    scratch: np.ndarray


# -- tables with open addressing ---------------------------------------------------------------
@jit
def hashed(a: int, b: int, size: int) -> int:
    """Where the search for the key (a, b) begins in a table of `size` (a power of two) slots."""
    h = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(b) * np.uint64(0xC2B2AE3D27D4EB4F)
    h ^= h >> np.uint64(29)
    h *= np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(32)
    return np.int64(h & np.uint64(size - 1))  # type: ignore[return-value]


@jit
def find_key(keys: np.ndarray, slots: np.ndarray, a: int, b: int) -> int:
    """The number under which (a, b) stands in `keys`, or -1 - the free slot where it belongs."""
    at = hashed(a, b, len(slots))
    while slots[at] >= 0:
        number = slots[at]
        if keys[number, 0] == a and keys[number, 1] == b:
            return int(number)
        at = (at + 1) & (len(slots) - 1)
    return -1 - at


@jit
def find_sound(entries: Entries, so_far: int, crucial: int) -> int:
    """The set of crucial sounds once one line more has ended, or -1 if nobody has made it yet."""
    key = so_far << 32 | crucial
    at = hashed(key, 0, len(entries.sound_key))
    while entries.sound_key[at] >= 0:
        if entries.sound_key[at] == key:
            return int(entries.sound_value[at])
        at = (at + 1) & (len(entries.sound_key) - 1)
    return -1


@jit
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


# -- one word, one token -----------------------------------------------------------------------
@jit
def word_may(words: Words, entries: Entries, season_next: np.ndarray, ctx: np.ndarray, kind: int):
    """(what a word of a type may do here, GOES_ON | CLOSES, its own sound aside; its outlook)."""
    base = ctx[C_BASE]
    shape = words.type_shape[kind]
    after = entries.after[base, shape]
    if after == 0:
        return 0, 0.0, 0
    reached = season_next[ctx[C_SEASON], words.type_column[kind]]
    done = words.to_done[reached]
    may = 0
    if after & ~1 & entries.mid[ctx[C_READY], ctx[C_CUT], reached]:
        may = GOES_ON
    if (
        after & 1
        and not words.shape_dangles[shape]
        and entries.end[ctx[C_READY], 0] >> (2 * ctx[C_CUT] + done) & 1
    ):
        may |= CLOSES
    return may, entries.hope[base, shape, done], done


@jit
def rhymes(words: Words, row: np.ndarray, line: int, word: int) -> bool:
    """Does `word` rhyme, as the form forbids it, with the end of a line before `line`?"""
    if words.rhyme[0] == 0:
        return False
    for place in range(line):
        end = row[ENDS + place]
        for i in range(words.sound_start[word], words.sound_start[word + 1]):
            for j in range(words.sound_start[end], words.sound_start[end + 1]):
                if words.sound_part[i] == words.sound_part[j] and words.sound_part[i] >= 0:
                    if words.rhyme[0] == IDENTICAL:
                        return True
                    if words.sound_onset[i] != words.sound_onset[j]:
                        return True
    return False


@jit
def refused(
    words: Words, entries: Entries, ctx: np.ndarray, row: np.ndarray, word: int, done: int
) -> bool:
    """Is it for its sound that `word` may not end the line?"""
    crucial = words.crucial[word]
    if crucial and not entries.end[ctx[C_READY], crucial] >> (2 * ctx[C_CUT] + done) & 1:
        return True
    return rhymes(words, row, ctx[C_LINE], word)


@jit
def judge(
    tables: Tables, words: Words, entries: Entries, ctx: np.ndarray, row: np.ndarray, child: int
) -> float:
    """Outlook of the token of a trie node, or -inf if no allowed unit begins with it.

    As in `mask.allowed_children`; ctx[C_HEED]: heed sounds.
    """
    first, stop = tables.lo[child], tables.hi[child]
    whole = tables.unit[child] >= 0
    hope = 0.0
    found = False
    for unit in range(first, stop):
        may = 0
        fine = True
        ahead = 0.0
        if tables.kind[unit] == WORD:
            if ctx[C_CUT] >= 0 and ctx[C_FORMS] >> tables.form[unit] & 1:
                may, ahead, done = word_may(
                    words, entries, tables.season_next, ctx, words.unit_type[unit]
                )
                if may == CLOSES and ctx[C_HEED]:
                    fine = not refused(words, entries, ctx, row, tables.word[unit], done)
        elif ctx[C_OTHERS] >> tables.word[unit] & 1:
            may = CLOSES
            ahead = other_outlook(tables, words, row, tables.word[unit])
        if whole and unit == first:
            if may and fine:
                return ahead
        elif may:
            hope += np.exp(ahead)
            found = found or fine
    if not found:
        return -np.inf
    hope = np.log(hope / (stop - first))
    if whole:
        hope += words.strain[0]
    return hope


@jit
def other_outlook(tables: Tables, words: Words, row: np.ndarray, which: int) -> float:
    """Outlook of the state after a mark, a break or the end: see `outlook.Outlook.others`."""
    cut = row[CUT] % tables.cut_after.shape[0]
    if which < len(tables.mark_mid):
        cut = max(tables.cut_after[cut, which], 0)
    left = words.left_after[row[LINE]]
    budget = row[BUDGET]
    while budget > 1:
        budget >>= 1
        left += 1
    done = words.to_done[row[SEASON]]
    return float(words.chance[left, done, cut])


@jit
def other_units(
    tables: Tables,
    words: Words,
    entries: Entries,
    row: np.ndarray,
    ready: int,
    start: int,
    after_word: bool,
    closes: bool,
) -> int:
    """Bits of what may come that is no word: bit m mark m, then the line break, then the end.

    start: may the line that follows be filled, as bits 2 * cut + (season word there); closes: the
    line may end on its last word, as far as that word goes.
    """
    n_marks = len(tables.mark_mid)
    budget = row[BUDGET]
    if row[LAST] < 0 or budget == 0:
        return 0
    flushed = tables.season_flush[row[SEASON]]
    done = words.to_done[flushed]
    cut = row[CUT] % tables.cut_after.shape[0]
    is_last = row[LINE] == len(tables.line_bits) - 1
    closes = closes and budget & 1 != 0
    found = 0
    ends = closes and start >> (2 * cut + done) & 1
    if ends:
        found = 1 << (n_marks + int(is_last and words.has_end[0]))
    if after_word:
        for mark in range(n_marks):
            after = tables.cut_after[cut, mark]
            fine = (
                tables.mark_mid[mark]
                and after >= 0
                and entries.next_word[ready, after, flushed] & budget & ~1 != 0
            )
            if closes and not fine:
                if is_last:
                    fine = tables.mark_close[1, mark] and ends
                else:
                    fine = tables.mark_close[0, mark] and after >= 0
                    fine = fine and start >> (2 * after + done) & 1
            if fine:
                found |= 1 << mark
    return found


# -- entries -----------------------------------------------------------------------------------
@jit
def forms_of(tables: Tables, row: np.ndarray, at_start: bool) -> int:
    """Bits of the forms (neutral, lower, capital) in which a word may be written here."""
    if not at_start:
        return 7
    found = 0
    for form in range(3):
        if tables.style_next[row[STYLE] >> 1, row[STYLE] & 1, form] >= 0:
            found |= 1 << form
    return found


@jit
def line_known(tables: Tables, words: Words, entries: Entries, row: np.ndarray, need: np.ndarray):
    """The number under which this line, after these line ends, is known. -1: `need` says what."""
    sounds = 0
    if len(words.special):
        for place in range(row[LINE]):
            crucial = words.crucial[row[ENDS + place]]
            if crucial:
                following = find_sound(entries, sounds, crucial)
                if following < 0:
                    need[0], need[1], need[2] = NEED_SOUND, sounds, crucial
                    return -1
                sounds = following
    ready = entries.ready[row[LINE], sounds]
    if ready < 0:
        need[0], need[1], need[2] = NEED_LINE, row[LINE], sounds
    return ready


@jit
def base_key(tables: Tables, row: np.ndarray, at_start: bool, ready: int):
    """What an entry depends on, as two integers. See `unpacked_base`."""
    forms = 8 + forms_of(tables, row, True) if at_start else 0
    a = row[BUDGET] | row[LINE] << 32 | forms << 38 | row[CUT] << 44
    return a, int(tables.season_flush[row[SEASON]]) | ready << 24


@jit
def set_context(
    tables: Tables, entries: Entries, row: np.ndarray, at_start: bool, ready: int, ctx: np.ndarray
) -> int:
    """Set a context up for `judge`; sounds unheeded, no mark allowed yet. Returns the base or -1."""
    a, b = base_key(tables, row, at_start, ready)
    base = find_key(entries.base_key, entries.base_slot, a, b)
    if base < 0:
        return -1
    ctx[C_BASE] = base
    ctx[C_SEASON] = row[SEASON]
    ctx[C_CUT] = settled_cut(tables, row[CUT])
    ctx[C_READY] = ready
    ctx[C_FORMS] = forms_of(tables, row, at_start)
    ctx[C_OTHERS] = 0
    ctx[C_LINE] = row[LINE]
    ctx[C_HEED] = 0
    return base


@jit
def add_base(
    tables: Tables, words: Words, entries: Entries, row: np.ndarray, at_start: bool, ready: int
) -> int:
    """Work out the entry of a state and add it: the season state as a break leaves it, whatever
    mark could come. The arena must have room for all of `order`. Returns its number."""
    number = entries.used[N_BASES]
    a, b = base_key(tables, row, at_start, ready)
    slot = -1 - find_key(entries.base_key, entries.base_slot, a, b)
    plain = row.copy()
    plain[SEASON] = tables.season_flush[row[SEASON]]
    cut = settled_cut(tables, row[CUT])
    rest = words.left_after[row[LINE]]
    closes = 0
    for shape in range(len(words.shape_bits)):
        after = shift_budget(row[BUDGET], words.shape_bits[shape])
        entries.after[number, shape] = after
        left = rest
        if after & 1 and not words.shape_dangles[shape]:
            closes = 1
        while after > 1:
            after >>= 1
            left += 1
        for done in range(2):
            entries.hope[number, shape, done] = words.chance[left, done, max(cut, 0)]
    begin, name = entries.used[N_ARENA], entries.used[N_ENTRIES]
    entries.base_key[number, 0], entries.base_key[number, 1] = a, b
    entries.base_slot[slot] = number
    entries.base[number, B_ENTRY] = name
    entries.base[number, B_START] = begin
    entries.base[number, B_CLOSES] = closes if cut >= 0 else 0
    entries.used[N_BASES] = number + 1
    ctx = np.zeros(_N_CONTEXT, np.int64)
    set_context(tables, entries, plain, at_start, ready, ctx)
    if not at_start:
        start = entries.start[ready, 0]
        ctx[C_OTHERS] = other_units(tables, words, entries, plain, ready, start, True, True)
    most = 0
    while row[BUDGET] >> (most + 1):
        most += 1
    fill = begin
    prefix = 0
    bits = entries.bits[name].view(np.uint32)
    bits[:] = 0
    root = 0 if at_start else 1
    for position in range(len(words.order)):
        child = words.node_at[root, position]
        if child < 0 or words.least[position] > most:
            continue
        outlook = judge(tables, words, entries, ctx, plain, child)
        if outlook > -np.inf:
            entries.position[fill] = position
            entries.outlook[fill] = outlook
            fill += 1
            prefix = position + 1
            token = words.order[position]
            bits[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
    entries.used[N_ARENA], entries.used[N_ENTRIES] = fill, name + 1
    entries.base[number, B_STOP] = fill
    entries.base[number, B_PREFIX] = prefix
    return int(number)


# -- patches -----------------------------------------------------------------------------------
@jit
def add_patch(
    tables: Tables,
    words: Words,
    entries: Entries,
    row: np.ndarray,
    at_start: bool,
    ctx: np.ndarray,
    a: int,
    b: int,
) -> int:
    """Work out in what a state differs from its entry, sounds aside, and keep it under (a, b)."""
    if (
        entries.used[N_PATCHES] == len(entries.patch)
        or entries.used[N_DROPS] + len(words.order) > len(entries.drop)
        or entries.used[N_EXTRAS] + len(words.order) > len(entries.extra)
    ):  # full: forget all of them
        entries.used[N_PATCHES] = entries.used[N_DROPS] = entries.used[N_EXTRAS] = 0
        entries.patch_slot[:] = -1
    number = entries.used[N_PATCHES]
    slot = -1 - find_key(entries.patch_key, entries.patch_slot, a, b)
    root = 0 if at_start else 1
    # The places where it may differ.
    places = entries.scratch
    n = 0
    if not at_start:
        for node in words.other_nodes:
            places[n] = words.place[node - _FIRST]
            n += 1
    state = row[SEASON]
    for i in range(words.odd_start[state], words.odd_start[state + 1]):
        column = words.odd_column[i]
        for j in range(words.column_start[column], words.column_start[column + 1]):
            word = words.column_word[j]
            for which in range(0 if root else 1, 1 if root else 3):
                unit = words.unit_of[word, which]
                if unit >= 0:
                    places[n] = words.place[words.top[unit] - _FIRST]
                    n += 1
    sort_run(places, n)
    plain = row.copy()
    plain[SEASON] = tables.season_flush[state]
    usual = ctx.copy()
    usual[C_SEASON] = plain[SEASON]
    if not at_start:
        start = entries.start[ctx[C_READY], 0]
        usual[C_OTHERS] = other_units(
            tables, words, entries, plain, ctx[C_READY], start, True, True
        )
    drops = first_drop = entries.used[N_DROPS]
    extras = first_extra = entries.used[N_EXTRAS]
    before = -1
    for i in range(n):
        position = places[i]
        if position == before:
            continue
        before = position
        child = words.node_at[root, position]
        was = np.float32(judge(tables, words, entries, usual, plain, child))
        now = np.float32(judge(tables, words, entries, ctx, row, child))
        if was != now:
            if was > -np.inf:
                entries.drop[drops] = position
                drops += 1
            if now > -np.inf:  # kept in the order of tokens
                token = words.order[position]
                at = extras
                while at > first_extra and entries.extra[at - 1] > token:
                    entries.extra[at] = entries.extra[at - 1]
                    entries.extra_outlook[at] = entries.extra_outlook[at - 1]
                    at -= 1
                entries.extra[at] = token
                entries.extra_outlook[at] = now
                extras += 1
    entries.patch_key[number, 0], entries.patch_key[number, 1] = a, b
    entries.patch_slot[slot] = number
    entries.patch[number, P_BASE] = ctx[C_BASE]
    entries.patch[number, P_DROP], entries.patch[number, P_DROP_STOP] = first_drop, drops
    entries.patch[number, P_EXTRA], entries.patch[number, P_EXTRA_STOP] = first_extra, extras
    entries.used[N_DROPS], entries.used[N_EXTRAS] = drops, extras
    entries.used[N_PATCHES] = number + 1
    return int(number)


@jit
def gather(
    tables: Tables,
    words: Words,
    entries: Entries,
    ctx: np.ndarray,
    row: np.ndarray,
    at_start: bool,
    word: int,
    n: int,
) -> int:
    """Add to the scratch the places of a word that could only end the line, and may not."""
    if ctx[C_CUT] < 0:
        return n
    may, _, _ = word_may(words, entries, tables.season_next, ctx, words.type_of[word])
    if may != CLOSES:
        return n
    if not at_start:
        entries.scratch[n] = words.place[words.top[words.unit_of[word, 0]] - _FIRST]
        return n + 1
    for which in range(1, 3):
        unit = words.unit_of[word, which]
        if unit >= 0 and ctx[C_FORMS] >> tables.form[unit] & 1:
            entries.scratch[n] = words.place[words.top[unit] - _FIRST]
            n += 1
    return n


@jit
def sounds_refused(
    tables: Tables,
    words: Words,
    entries: Entries,
    ctx: np.ndarray,
    row: np.ndarray,
    at_start: bool,
) -> int:
    """Places of the words that could end the line but for their sound: sorted, in the scratch."""
    n = 0
    base = ctx[C_BASE]
    if words.rhyme[0]:
        for line in range(ctx[C_LINE]):
            end = row[ENDS + line]
            for i in range(words.sound_start[end], words.sound_start[end + 1]):
                part = words.sound_part[i]
                if part < 0:
                    continue
                for run in range(words.run_start[part], words.run_start[part + 1]):
                    shape = words.run_shape[run]
                    if not entries.after[base, shape] & 1 or words.shape_dangles[shape]:
                        continue
                    for k in range(words.run_word[run], words.run_word[run + 1]):
                        if (
                            words.rhyme[0] == IDENTICAL
                            or words.part_onset[k] != words.sound_onset[i]
                        ):
                            n = gather(
                                tables, words, entries, ctx, row, at_start, words.part_word[k], n
                            )
    for word in words.special:
        if entries.after[base, words.type_shape[words.type_of[word]]] & 1 == 0:
            continue
        _, _, done = word_may(words, entries, tables.season_next, ctx, words.type_of[word])
        if not entries.end[ctx[C_READY], words.crucial[word]] >> (2 * ctx[C_CUT] + done) & 1:
            n = gather(tables, words, entries, ctx, row, at_start, word, n)
    sort_run(entries.scratch, n)
    return n


@jit
def merge_refused(
    tables: Tables,
    words: Words,
    entries: Entries,
    ctx: np.ndarray,
    row: np.ndarray,
    at_start: bool,
    patch: int,
    n_places: int,
    drop: np.ndarray,
    n_drop: int,
    extra: np.ndarray,
    extra_outlook: np.ndarray,
    n_extra: int,
) -> tuple[int, int]:
    """Write a patch less what `sounds_refused` found: positions dropped, tokens added.

    Where a token's own word is refused and a longer one is not, the token stays with the outlook
    of the longer ones: it is dropped and comes again as an extra.
    """
    root = 0 if at_start else 1
    low, high = entries.patch[patch, P_EXTRA], entries.patch[patch, P_EXTRA_STOP]
    own = n_extra
    for i in range(low, high):
        extra[n_extra], extra_outlook[n_extra] = entries.extra[i], entries.extra_outlook[i]
        n_extra += 1
    patched = n_extra
    removed = 0
    at, drop_stop = entries.patch[patch, P_DROP], entries.patch[patch, P_DROP_STOP]
    before = -1
    for i in range(n_places):
        position = entries.scratch[i]
        if position == before:
            continue
        before = position
        child = words.node_at[root, position]
        now = np.float32(-np.inf)
        if tables.hi[child] - tables.lo[child] > 1:
            ctx[C_HEED] = 1
            now = np.float32(judge(tables, words, entries, ctx, row, child))
            ctx[C_HEED] = 0
            if now > -np.inf and (
                tables.unit[child] < 0
                or now == np.float32(judge(tables, words, entries, ctx, row, child))
            ):
                continue
        token = words.order[position]
        place = own + np.searchsorted(extra[own:patched], token)
        if place < patched and extra[place] == token:
            extra_outlook[place] = now
            removed += now == -np.inf
            continue
        while at < drop_stop and entries.drop[at] < position:
            drop[n_drop] = entries.drop[at]
            n_drop += 1
            at += 1
        drop[n_drop] = position
        n_drop += 1
        if now > -np.inf:
            extra[n_extra], extra_outlook[n_extra] = token, now
            n_extra += 1
    while at < drop_stop:
        drop[n_drop] = entries.drop[at]
        n_drop += 1
        at += 1
    if removed:
        kept = own
        for i in range(own, n_extra):
            if extra_outlook[i] > -np.inf:
                extra[kept], extra_outlook[kept] = extra[i], extra_outlook[i]
                kept += 1
        n_extra = kept
    return n_drop, n_extra


# -- the masks of a batch ----------------------------------------------------------------------
@jit
def fill_masks(
    tables: Tables,
    words: Words,
    entries: Entries,
    states: np.ndarray,
    first_row: int,
    entry: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    prefix: np.ndarray,
    drop_start: np.ndarray,
    drop: np.ndarray,
    extra_start: np.ndarray,
    extra: np.ndarray,
    extra_outlook: np.ndarray,
    need: np.ndarray,
) -> int:
    """Fill the fields of `mask.Masks` for the rows from `first_row` on; the rows done so far.

    states: int64 (B, width). drop, extra, extra_outlook: with room to spare. need: int64 (4,): if
    rows are left, need[0] says what is to be made first (NEED_*), need[1:] of what; if that is a
    base, need[1] tells whether it is one at the start of a line and need[2] its line's number, and
    the state is in the row of `states` behind the last.
    """
    ctx = np.zeros(_N_CONTEXT, np.int64)
    n_rows = len(states) - 1
    row = states[n_rows]  # the state at the last boundary, or at the one that is here
    n_drop, n_extra = drop_start[first_row], extra_start[first_row]
    spare = len(words.order)
    for b in range(first_row, n_rows):
        row[:] = states[b]
        node = row[NODE]
        entry[b], prefix[b], start[b], stop[b] = -1, 0, 0, 0
        drop_start[b], extra_start[b] = n_drop, n_extra
        if node == FINISHED:
            continue
        if n_drop + spare > len(drop) or n_extra + 2 * spare > len(extra):
            need[0] = NEED_ROOM
            return b
        here = n_extra
        unit = tables.unit[node] if node > MID_ROOT else -1
        ready = line_known(tables, words, entries, row, need)
        if ready < 0:
            return b
        if node > MID_ROOT and tables.count[node]:  # the units go on
            at_start = tables.hi[node] <= tables.hi[LINE_ROOT]
            if set_context(tables, entries, row, at_start, ready, ctx) < 0:
                need[0], need[1], need[2] = NEED_BASE, int(at_start), ready
                return b
            ctx[C_HEED] = 1
            if row[LAST] >= 0 and words.has_other[node]:
                own = words.crucial[row[LAST]]
                dangles = words.shape_dangles[words.type_shape[words.type_of[row[LAST]]]]
                closes = not dangles and not rhymes(words, row, row[LINE], row[LAST])
                ctx[C_OTHERS] = other_units(
                    tables, words, entries, row, ready, entries.start[ready, own], True, closes
                )
            begin = tables.first[node]
            for child in range(begin, begin + tables.count[node]):
                outlook = judge(tables, words, entries, ctx, row, child)
                if outlook > -np.inf:
                    extra[n_extra] = tables.token[child]
                    extra_outlook[n_extra] = outlook
                    n_extra += 1
        if node > MID_ROOT and unit < 0:
            continue
        after_word = False
        if unit >= 0:
            after_word = tables.kind[unit] == WORD
            commit_unit(tables, row, unit)
            node = MID_ROOT
        at_start = node == LINE_ROOT
        base = set_context(tables, entries, row, at_start, ready, ctx)
        if base < 0:
            need[0], need[1], need[2] = NEED_BASE, int(at_start), ready
            return b
        closes = False
        own = 0
        last = row[LAST]
        if last >= 0 and row[BUDGET] & 1:
            dangles = words.shape_dangles[words.type_shape[words.type_of[last]]]
            closes = not dangles and not rhymes(words, row, row[LINE], last)
            own = words.crucial[last]
        following = int(entries.start[ready, own])
        forms = ctx[C_FORMS]
        flags = int(after_word) | int(closes) << 1 | forms << 2 | int(at_start) << 5
        a = row[BUDGET] | row[LINE] << 32 | flags << 38 | row[CUT] << 44
        c = row[SEASON] | ready << 24 | following << 56
        patch = find_key(entries.patch_key, entries.patch_slot, a, c)
        if not at_start and last >= 0:
            ctx[C_OTHERS] = other_units(
                tables, words, entries, row, ready, following, after_word, closes
            )
        if patch < 0:
            patch = add_patch(tables, words, entries, row, at_start, ctx, a, c)
        entry[b] = entries.base[base, B_ENTRY]
        start[b], stop[b] = entries.base[base, B_START], entries.base[base, B_STOP]
        prefix[b] = entries.base[base, B_PREFIX]
        n_places = 0
        if entries.base[base, B_CLOSES] and (row[LINE] or len(words.special)):
            n_places = sounds_refused(tables, words, entries, ctx, row, at_start)
        if n_places == 0:
            for i in range(entries.patch[patch, P_DROP], entries.patch[patch, P_DROP_STOP]):
                drop[n_drop] = entries.drop[i]
                n_drop += 1
            for i in range(entries.patch[patch, P_EXTRA], entries.patch[patch, P_EXTRA_STOP]):
                extra[n_extra] = entries.extra[i]
                extra_outlook[n_extra] = entries.extra_outlook[i]
                n_extra += 1
        else:
            n_drop, n_extra = merge_refused(
                tables, words, entries, ctx, row, at_start, patch, n_places,
                drop, n_drop, extra, extra_outlook, n_extra,
            )  # fmt: skip
        # Each of the two or three runs of extras is ascending; so is what comes out.
        for i in range(here + 1, n_extra):
            token, hope = extra[i], extra_outlook[i]
            at = i
            while at > here and extra[at - 1] > token:
                extra[at], extra_outlook[at] = extra[at - 1], extra_outlook[at - 1]
                at -= 1
            extra[at], extra_outlook[at] = token, hope
    drop_start[n_rows], extra_start[n_rows] = n_drop, n_extra
    return n_rows


@jit
def fill_bitmasks(
    words: Words,
    entries: Entries,
    entry: np.ndarray,
    drop_start: np.ndarray,
    drop: np.ndarray,
    extra_start: np.ndarray,
    extra: np.ndarray,
    bitmask: np.ndarray,
) -> None:
    """Write masks, as `fill_masks` gives them, into int32 bitmasks (B, >= V/32)."""
    known = min(entries.bits.shape[1], bitmask.shape[1])
    for b in range(len(entry)):
        out = bitmask[b].view(np.uint32)
        if entry[b] >= 0:
            out[:known] = entries.bits[entry[b]].view(np.uint32)[:known]
            out[known:] = 0
        else:
            out[:] = 0
        for i in range(drop_start[b], drop_start[b + 1]):
            token = words.order[drop[i]]
            out[token >> 5] &= ~(np.uint32(1) << np.uint32(token & 31))
        for i in range(extra_start[b], extra_start[b + 1]):
            token = extra[i]
            out[token >> 5] |= np.uint32(1) << np.uint32(token & 31)
