"""The book: all that never changes in a lattice, in one flat int32 array.

One array costs a kernel one argument, and the disk one file that is mapped, not read. It begins
with numbers (counts, and where each table begins); `book[book[KIND] + unit]` is the kind of a
unit. Knows neither text nor models. Called by `boundary`, `walk` and `constrained_gpt.lattice`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Numbers at the head. NO_RHYME, PERFECT, IDENTICAL are the values of RHYME.
SCALARS = (
    "n_order", "n_others", "n_special", "n_shapes", "n_columns", "n_states", "n_cuts", "n_marks",
    "n_lines", "n_crucial", "rhyme", "has_end", "n_vocab", "n_types", "n_words", "season_done",
    "n_widest", "n_slots",
)  # fmt: skip
NO_RHYME, PERFECT, IDENTICAL = range(3)
# Tables behind it. node (nodes, 8): all that a step asks of a node in half a cache line, see FIRST
# .. OWN_TYPE; child (nodes, 4), apart from it, since children are run through: see TOKEN .. WORD.
# heard (words, 4): see TYPE .. TO; those of line ends from outside follow. sound (.., 2): rhyme
# part and onset, the ranges of which are in heard. Of units: kind, word, form, unit_says (type << 2
# | form; of a mark, break or end -1 - `word`), top (the child of a root above it). Of words:
# unit_of (words, 3), its unit inside a line, at its start, at its start in capitals, or -1. deep:
# nodes that are no children of roots, and have several units below or a word of several sounds,
# so that SAYS cannot tell; deep_start: where those of LINE_ROOT begin and end, then of MID_ROOT.
# Of types: type_shape, type_column. Of shapes (a set of syllable counts, and whether the word may
# end a line): shape_bits, shape_dangles. Of positions in `order` (tokens): least (fewer syllables
# left, and no word fits), node_at (2, S), the child of LINE_ROOT and of MID_ROOT, or -1; slot
# (2, S), a number of each of those that begins several units, else -1; place: of those children
# (node - 3), the position. root_child (2, vocabulary): the child by its token.
# Of season states: flush, to_done, odd_start (ranges of odd_column and odd_next: the columns in
# which a state differs from its flush, and where it goes then); usual_next (2, columns): where the
# states that a break leaves go, the season word missing, there. column_start: ranges of
# column_word.
# run_start (parts * shapes + 1): ranges of rhyming (.., 4), the words of each rhyme part and shape
# by position, then unit: `boundary.spot_of`, unit (inside a line), type, onset; word_of_rhyme:
# those words. telling_start, telling: the same less the words whose refusal changes no mask, since
# their token is not all of them and begins words of their type with more rhyme parts than the ends
# of lines can forbid. special: words with crucial sounds. n_widest: the most children of any node
# that is no root. n_slots: how many numbers `slot` has. The rest as in `mask.Tables`.
TABLES = (
    "node", "child", "heard", "kind", "word", "form", "unit_says", "top", "unit_of", "sound",
    "deep_start", "deep", "type_shape", "type_column",
    "shape_bits", "shape_dangles", "order", "least", "node_at", "slot", "place", "root_child",
    "other_nodes", "flush", "to_done", "usual_next", "odd_start", "odd_column", "odd_next",
    "column_start", "column_word", "run_start", "rhyming", "word_of_rhyme", "telling_start",
    "telling", "special", "left_after", "lines", "mark_mid", "mark_close", "mark_sentence",
    "cut_after", "style_next",
)  # fmt: skip
(
    N_ORDER, N_OTHERS, N_SPECIAL, N_SHAPES, N_COLUMNS, N_STATES, N_CUTS, N_MARKS, N_LINES,
    N_CRUCIAL, RHYME, HAS_END, N_VOCAB, N_TYPES, N_WORDS, SEASON_DONE, N_WIDEST, N_SLOTS,
    NODE, CHILD, HEARD, KIND, WHICH, FORM, UNIT_SAYS, TOP, UNIT_OF, SOUND,
    DEEP_START, DEEP, TYPE_SHAPE, TYPE_COLUMN,
    SHAPE_BITS, SHAPE_DANGLES, ORDER, LEAST, NODE_AT, SLOT, PLACE, ROOT_CHILD,
    OTHER_NODES, FLUSH, TO_DONE, USUAL_NEXT, ODD_START, ODD_COLUMN, ODD_NEXT,
    COLUMN_START, COLUMN_WORD, RUN_START, RHYMING, WORD_OF_RHYME, TELLING_START,
    TELLING, SPECIAL, LEFT_AFTER, LINES, MARK_MID, MARK_CLOSE, MARK_SENTENCE,
    CUT_AFTER, STYLE_NEXT,
) = range(len(SCALARS) + len(TABLES))  # fmt: skip
# Columns of node. FIRST, COUNT: its children; LO, HI: units below it; UNIT that ends at it, or -1.
# FLAGS: that unit's kind, its form << 2, and 16 if a mark, break or end is below the node.
# OWN_WORD, OWN_TYPE: that unit's `word` and `unit_type`.
FIRST, COUNT, LO, HI, UNIT, FLAGS, OWN_WORD, OWN_TYPE = range(8)
NODE_WIDTH = 8
HAS_OTHER = 16  # of FLAGS
# Columns of child: the TOKEN that leads to a node; if a single word is below it, and has one sound:
# SAYS its type << 2 | form, the rhyme PART, the WORD. Else SAYS is -1 - its number in Entries.deep,
# and PART and WORD two sieves: bits p % 32 and p // 32 % 31 are set for rhyme parts p below it.
TOKEN, SAYS, PART, WORD = range(4)
CHILD_WIDTH = 4
# Columns of heard. TYPE; CRUCIAL: the set of its sounds that can decide whether a later line can be
# filled, 0 for none; FROM, TO: its range of sound.
TYPE, CRUCIAL, FROM, TO = range(4)
HEARD_WIDTH = 4
_LINE = 16  # numbers in a cache line
_HEAD = -(-(len(SCALARS) + len(TABLES) + 1) // _LINE) * _LINE  # and where the book ends
LOWEST_CHILD = 3  # the first node below LINE_ROOT; those below MID_ROOT follow


def written(scalars: Mapping[str, int], tables: Mapping[str, np.ndarray]) -> np.ndarray:
    """The book of these numbers and tables: int32, at the beginning of a cache line."""
    flat = [np.asarray(tables[name]).reshape(-1) for name in TABLES]
    starts = _HEAD + np.concatenate([[0], np.cumsum([len(table) for table in flat])])
    if starts[-1] >= 1 << 31:
        raise ValueError("the tables of this lattice pass 8 GB; use fewer words or season words")
    out = aligned(int(starts[-1]), np.int32)
    head = [*(scalars[name] for name in SCALARS), *starts.tolist()]
    out[: len(head)], out[len(head) : _HEAD] = head, 0
    for at, values in zip(starts.tolist(), flat, strict=False):
        out[at : at + len(values)] = values
    return out


def aligned(size: int, dtype: type) -> np.ndarray:
    """An array of so many numbers, not filled, at the beginning of a cache line."""
    width = np.dtype(dtype).itemsize
    whole: np.ndarray = np.empty(size + 64 // width, dtype)
    skip = -whole.ctypes.data % 64 // width
    return whole[skip : skip + size]


def table(book: np.ndarray, number: int) -> np.ndarray:
    """One table of a book, flat: a view."""
    return book[book[number] : book[number + 1]]


def of_nodes(book: np.ndarray, column: int) -> np.ndarray:
    """A column of the table of nodes (FIRST ..): a view."""
    return table(book, NODE)[column::NODE_WIDTH]


def heard(book: np.ndarray) -> np.ndarray:
    """The records of words: a view (words and ends from outside, 4)."""
    return table(book, HEARD).reshape(-1, HEARD_WIDTH)


def opened(book: np.ndarray) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """What `written` was given, tables flat: numbers by name, views by name. And by the names that
    `mask.Tables` gives them, columns of nodes; type_of of words, unit_type of units (-1: none)."""
    n = len(SCALARS)
    tables = {name: table(book, n + i) for i, name in enumerate(TABLES)}
    for column, name in enumerate(("first", "count", "lo", "hi", "unit")):
        tables[name] = of_nodes(book, column)
    tables["token"] = tables["child"][TOKEN::CHILD_WIDTH]
    tables["type_of"] = tables["heard"][TYPE::HEARD_WIDTH]
    tables["unit_type"] = np.maximum(tables["unit_says"] >> 2, -1)
    return {name: int(book[i]) for i, name in enumerate(SCALARS)}, tables
