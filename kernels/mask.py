"""Walk the token trie: step states, list the tokens a state allows, fill bitmasks.

Arrays in, arrays out; knows neither text nor models. The slow twins of every function stand in
`reference`. Called by `constrained_gpt.lattice` (own sampler) and by the adapters (bitmasks).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._jit import jit

# Columns of a state row (int64). A row is the whole state of one poem: forking copies it.
NODE, LINE, BUDGET, SEASON, CUT, STYLE, LAST, ENDS = range(8)
FINISHED, LINE_ROOT, MID_ROOT = 0, 1, 2  # values of NODE that are not inside a unit
WORD, MARK, BREAK, END = range(4)  # kinds of unit


class Tables(NamedTuple):
    """The frozen lattice. Trie nodes are in breadth-first order, units in depth-first order.

    first, count, token, lo, hi, unit: int32 (nodes,); a node's children are
    first .. first+count, sorted by token; units below it lo .. hi; unit ending at it or -1.
    kind, word, form: int32 (units,). bits: int64 (words,), bit s = may have s syllables.
    column: int32 (words,); season_next: int32 (K, columns); season_flush: int32 (K,).
    mark_mid, mark_sentence: uint8 (marks,); mark_close: uint8 (2, marks), whether the mark may
    close a line that is not the last (0) or the poem (1); cut_after: int32 (cuts, marks), -1 if
    refused. style_next: int32 (5, 2, 3); line_bits: int64 (lines,), 1 << syllables of the line.
    """

    first: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # shadows tuple.count, which nobody needs here
    token: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    unit: np.ndarray
    kind: np.ndarray
    word: np.ndarray
    form: np.ndarray
    bits: np.ndarray
    column: np.ndarray
    season_next: np.ndarray
    season_flush: np.ndarray
    mark_mid: np.ndarray
    mark_close: np.ndarray
    mark_sentence: np.ndarray
    cut_after: np.ndarray
    style_next: np.ndarray
    line_bits: np.ndarray


class Masks(NamedTuple):
    """The masks of a batch of B rows, as slices of a common order of tokens.

    Row b's candidates are position[start[b]:stop[b]] (places in the order, ascending) with
    outlook[start[b]:stop[b]], less drop[drop_start[b]:drop_start[b + 1]] (places too, ascending,
    all among the former), then extra_token[extra_start[b]:extra_start[b + 1]] (token ids,
    ascending, none among the former) with extra_outlook. A decoder draws from them in this
    sequence.

    entry: int32 (B,), which entry of the arena it is, -1 if none; the candidates are extras alone
    then. prefix: int32 (B,), 1 + the entry's largest position, 0 if none: so many rows of the
    output layer are needed. position: int32 (A,), outlook: float32 (A,), the arena, common to all
    rows and calls, frozen in what it holds. start, stop: int64 (B,). drop_start, extra_start:
    int64 (B + 1,). drop: int32. extra_token: int32; extra_outlook: float32.
    """

    entry: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    position: np.ndarray
    outlook: np.ndarray
    prefix: np.ndarray
    drop_start: np.ndarray
    drop: np.ndarray
    extra_start: np.ndarray
    extra_token: np.ndarray
    extra_outlook: np.ndarray


@jit
def shift_budget(budget: int, bits: int) -> int:
    """Syllables that may remain (a bit set) after a word with the counts in `bits`."""
    out = 0
    syllables = 0
    while bits:
        if bits & 1:
            out |= budget >> syllables
        bits >>= 1
        syllables += 1
    return out


@jit
def find_child(tables: Tables, node: int, token: int) -> int:
    """The child of `node` reached by `token`, or -1. Binary search."""
    low = tables.first[node]
    high = low + tables.count[node]
    while low < high:
        middle = (low + high) >> 1
        if tables.token[middle] < token:
            low = middle + 1
        else:
            high = middle
    if low < tables.first[node] + tables.count[node] and tables.token[low] == token:
        return int(low)
    return -1


@jit
def settled_cut(tables: Tables, cut: int) -> int:
    """The cut counter once a word follows: a mark left open on the last line now counts."""
    n_cuts = tables.cut_after.shape[0]
    if cut < n_cuts:
        return cut
    return int(tables.cut_after[cut % n_cuts, cut // n_cuts - 1])


@jit
def commit_unit(tables: Tables, row: np.ndarray, unit: int) -> None:
    """Apply a finished unit to a state row, in place."""
    kind = tables.kind[unit]
    which = tables.word[unit]
    if kind == WORD:
        if unit < tables.hi[LINE_ROOT]:
            style = row[STYLE]
            row[STYLE] = 2 * tables.style_next[style >> 1, style & 1, tables.form[unit]]
        row[CUT] = settled_cut(tables, row[CUT])
        row[BUDGET] = shift_budget(row[BUDGET], tables.bits[which])
        row[SEASON] = tables.season_next[row[SEASON], tables.column[which]]
        row[LAST] = which
        row[NODE] = MID_ROOT
    elif kind == MARK:
        last_line = row[LINE] == len(tables.line_bits) - 1
        left = row[BUDGET]
        if not tables.mark_mid[which]:
            left &= 1
        if not tables.mark_close[int(last_line), which]:
            left &= ~1
        row[BUDGET] = left
        row[SEASON] = tables.season_flush[row[SEASON]]
        if not (last_line and left & 1):
            row[CUT] = tables.cut_after[row[CUT], which]
        elif left != 1:  # the poem may end here, and then this mark does not cut; or go on
            row[CUT] += tables.cut_after.shape[0] * (which + 1)
        if tables.mark_sentence[which]:
            row[STYLE] |= 1
        row[NODE] = MID_ROOT
    else:
        row[SEASON] = tables.season_flush[row[SEASON]]
        row[ENDS + row[LINE]] = row[LAST]
        row[LINE] += 1
        row[LAST] = -1
        if kind == END or row[LINE] == len(tables.line_bits):
            row[NODE] = FINISHED
            row[BUDGET] = 0
        else:
            row[NODE] = LINE_ROOT
            row[BUDGET] = tables.line_bits[row[LINE]]


@jit
def advance_states(tables: Tables, states: np.ndarray, tokens: np.ndarray) -> int:
    """Step every row by its token, in place. Returns -1, or the first row its token cannot follow.

    states: int64 (B, ENDS + lines); tokens: int64 (B,). Checks the trie only: that the form still
    holds is what the mask is for.
    """
    for b in range(len(tokens)):
        row = states[b]
        node = row[NODE]
        child = -1
        if node != FINISHED:
            child = find_child(tables, node, tokens[b])
            if child < 0 and node > MID_ROOT and tables.unit[node] >= 0:
                commit_unit(tables, row, tables.unit[node])
                child = find_child(tables, MID_ROOT, tokens[b])
        if child < 0:
            return b
        unit = tables.unit[child]
        if unit >= 0 and tables.count[child] == 0 and tables.kind[unit] != WORD:
            commit_unit(tables, row, unit)
        else:
            row[NODE] = child
    return -1


@jit
def allowed_children(
    tables: Tables,
    node: int,
    type_of: np.ndarray,
    type_ok: np.ndarray,
    word_hit: np.ndarray,
    form_ok: np.ndarray,
    other_ok: np.ndarray,
    type_outlook: np.ndarray,
    other_outlook: np.ndarray,
    strain: float,
    out: np.ndarray,
    outlook: np.ndarray,
) -> int:
    """Write to `out` the tokens of those children of `node` that lead to an allowed unit; count.

    type_of: int32 (words,). type_ok: uint8 (types,): 1 the line may go on after the word, 2 the
    line may end on it with the season word owed, 4 with it done. word_hit: uint8 (words,), bits
    2 and 4 taken away from this word (its sound). form_ok: uint8 (3,). other_ok: uint8
    (marks + 2,): marks, then line break, then end.
    type_outlook, other_outlook: float64 (types,), (marks + 2,), log of how hopeful the state after
    such a unit is. outlook: float64, as long as `out`: of the token's own unit, or the only
    one below, where that is allowed; else of the log-mean over all other units below, the
        forbidden ones counting nothing
    (but those that only their sound forbids as much as the rest, so that this does not depend on
    what was said before), and less by `strain` where the token alone would be a whole unit (" the"
    for " thefts").
    """
    found = 0
    start = tables.first[node]
    for child in range(start, start + tables.count[node]):
        whole = tables.unit[child] >= 0
        first = tables.lo[child]  # a node's own unit opens its range
        hope = 0.0
        own = -np.inf
        fine = False  # is a unit allowed, its sound considered
        for unit in range(first, tables.hi[child]):
            which = tables.word[unit]
            ahead = -np.inf
            heard = True
            if tables.kind[unit] == WORD:
                kind = type_of[which]
                if type_ok[kind] and form_ok[tables.form[unit]]:
                    ahead = type_outlook[kind]
                    heard = type_ok[kind] & ~word_hit[which] != 0
            elif other_ok[which]:
                ahead = other_outlook[which]
            if ahead > -np.inf:
                if tables.hi[child] - first == 1:
                    if heard:
                        own = ahead
                elif not (whole and unit == first):
                    hope += np.exp(ahead)
                    fine = fine or heard
                elif heard:
                    own = ahead
                    break
        if own > -np.inf or fine:
            out[found] = tables.token[child]
            if own > -np.inf:
                outlook[found] = own
            else:
                outlook[found] = np.log(hope / (tables.hi[child] - first))
                if whole:
                    outlook[found] += strain
            found += 1
    return found


def allocate_token_bitmask(batch_size: int, vocab_size: int) -> np.ndarray:
    """An int32 bitmask (batch, ceil(vocab / 32)), every bit clear; bit t of row b: t allowed."""
    if batch_size < 1 or vocab_size < 1:
        raise ValueError(
            f"batch_size={batch_size} and vocab_size={vocab_size} must both be at least 1"
        )
    return np.zeros((batch_size, -(-vocab_size // 32)), np.int32)


@jit
def set_bits(tokens: np.ndarray, row: np.ndarray) -> None:
    """Clear an int32 bitmask row, then set the bits of `tokens`."""
    words = row.view(np.uint32)
    words[:] = 0
    for token in tokens:
        words[token >> 5] |= np.uint32(1) << np.uint32(token & 31)


@jit
def apply_token_bitmask_inplace(logits: np.ndarray, bitmask: np.ndarray) -> None:
    """Set logits (B, V) float32 to -inf wherever the bitmask (B, >= V/32) has a clear bit."""
    for b in range(logits.shape[0]):
        words = bitmask[b].view(np.uint32)
        for token in range(logits.shape[1]):
            if not (words[token >> 5] >> np.uint32(token & 31)) & np.uint32(1):
                logits[b, token] = -np.inf
