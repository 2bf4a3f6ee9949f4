"""Surface units (words, marks, line break, end) as token sequences in one trie.

A *unit* is what the lattice steps over: a word at the start of a line ("frog", "Frog"), a word
inside one (" frog"), a mark (","), the line break and the end of the text. The trie's first level
splits units that start a line from all others. Knows neither forms nor syllables. Called by
`lattice.compile`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

WORD, MARK, BREAK, END = range(4)
LINE_ROOT, MID_ROOT = 1, 2  # node ids; node 0 is the root above both


@dataclass(frozen=True)
class Trie:
    """Units in depth-first order, nodes in breadth-first order (children are contiguous).

    token, first, count, lo, hi, unit: int32 (nodes,). A node's children are
    `first .. first+count`, ordered by token; the units below it are `lo .. hi`; `unit` is the unit
    that ends at it or -1.
    kind, word, form: int32 (units,): kind WORD/MARK/BREAK/END; word id, mark number, or for BREAK
    and END the numbers after the last mark; form 0 neutral, 1 lower, 2 capital.
    """

    token: np.ndarray
    first: np.ndarray
    count: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    unit: np.ndarray
    kind: np.ndarray
    word: np.ndarray
    form: np.ndarray


def _packed(spelled: np.ndarray) -> np.ndarray:
    """Fewer columns that sort the same: ids from -1 on, as many to a number as 63 bits hold."""
    bits = int(spelled.max(initial=0) + 1).bit_length()
    together = max(63 // bits, 1)
    columns = []
    for first in range(0, spelled.shape[1], together):
        number = np.zeros(len(spelled), np.int64)
        for column in spelled[:, first : first + together].T:
            number = number << bits | column + 1
        columns.append(number)
    return np.stack(columns, axis=1)


class Units(NamedTuple):
    """Units before they are spelled, (units,) each: starts_line bool; kind, word, form as in
    `Trie`."""

    starts_line: np.ndarray
    kind: np.ndarray
    word: np.ndarray
    form: np.ndarray


def build(units: Units, flat: np.ndarray, lengths: np.ndarray) -> Trie:
    """Trie of units spelled by the tokens `flat`, unit after unit, `lengths` of them each."""
    n = len(units.kind)
    if n != len(lengths):
        raise ValueError(f"{n} units but {len(lengths)} spellings; one each is needed")
    depth = int(lengths.max(initial=0))
    spelled = np.full((n, depth + 2), -1, np.int64)
    spelled[:, 0] = ~units.starts_line
    rows = np.repeat(np.arange(n), lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if n else np.zeros(0, np.int64)
    spelled[rows, np.arange(len(flat)) - np.repeat(starts, lengths) + 1] = flat
    # -1 (end of the unit) sorts first, so a node's own unit opens its range.
    order = np.lexsort(_packed(spelled).T[::-1])
    spelled, lengths = spelled[order], lengths[order] + 1

    token, first, count, lo, hi, unit = [[-1], [1], [2], [0], [n], [-1]]
    split = int(np.searchsorted(spelled[:, 0], 1))
    token_level = np.array([-1, -1])
    lo_level, hi_level = np.array([0, split]), np.array([split, n])
    arrays = [np.array(x, np.int64) for x in (token, first, count, lo, hi, unit)]
    base = 1
    column = 0
    while len(lo_level):
        ends_here = np.where(
            (hi_level > lo_level) & (lengths[np.minimum(lo_level, n - 1)] == column + 1),
            lo_level,
            -1,
        )
        # Children: runs of equal tokens in the next column, inside every node's range.
        begin = lo_level + (ends_here >= 0)
        sizes = hi_level - begin
        own = np.repeat(np.arange(len(lo_level)), sizes)
        positions = np.arange(int(sizes.sum())) + np.repeat(
            begin - (np.cumsum(sizes) - sizes), sizes
        )
        nxt = spelled[positions, column + 1] if len(positions) else np.zeros(0, np.int64)
        new = np.ones(len(positions), bool)
        if len(positions) > 1:
            new[1:] = (nxt[1:] != nxt[:-1]) | (own[1:] != own[:-1])
        child_at = np.flatnonzero(new)
        child_lo = positions[child_at]
        child_hi = np.append(child_at[1:], len(positions))
        child_hi = positions[child_hi - 1] + 1 if len(child_at) else child_lo
        child_owner = own[child_at]
        n_children = np.bincount(child_owner, minlength=len(lo_level))
        first_child = base + len(lo_level) + np.concatenate([[0], np.cumsum(n_children)[:-1]])
        level_arrays = (token_level, first_child, n_children, lo_level, hi_level, ends_here)
        arrays = [np.concatenate([a, b]) for a, b in zip(arrays, level_arrays, strict=True)]
        base += len(lo_level)
        token_level = nxt[child_at]
        lo_level, hi_level = child_lo, child_hi
        column += 1

    kind, word, form = (part[order].astype(np.int32) for part in units[1:])
    nodes = [np.ascontiguousarray(a, dtype=np.int32) for a in arrays]
    token_, first_, count_, lo_, hi_, unit_ = nodes
    return Trie(token_, first_, count_, lo_, hi_, unit_, kind, word, form)
