"""What a token that may begin a word says of it: its syllables, and whether longer words begin so.

Knows the trie and the counts; no model and no state. Called by `lattice`, for `lookahead`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from constrained_gpt.kernels import book as bk
from constrained_gpt.kernels import mask as km

START, INSIDE = 0, 1  # rows of the arrays below: at the start of a line, inside one


class Openings(NamedTuple):
    """By place in `Lattice.order`, at the start of a line and inside one: (2, S).

    exists: bool, whether a unit begins so there. syllables: int8, the most that the word has which
    the token alone is; 0 if it is none. closes: bool, whether that word may end a line. longer:
    bool, whether longer words begin with the token. mark: bool, whether a mark, a line break or
    the end does.
    """

    exists: np.ndarray
    syllables: np.ndarray
    closes: np.ndarray
    longer: np.ndarray
    mark: np.ndarray


def openings(book: np.ndarray) -> Openings:
    """Read off a lattice's book."""
    scalars, tables = bk.opened(book)
    nodes = tables["node_at"].reshape(2, scalars["n_order"])  # -1: none
    exists = nodes >= 0
    unit = tables["unit"][nodes]
    whole = exists & (unit >= 0)
    is_word = whole & (tables["kind"][unit] == km.WORD)
    shape = tables["type_shape"][tables["unit_type"][unit]]
    bits = tables["shape_bits"].view(np.uint32)
    most = np.array([int(b).bit_length() - 1 for b in bits.tolist()], np.int8)
    return Openings(
        exists=exists,
        syllables=np.where(is_word, most[shape], 0).astype(np.int8),
        closes=is_word & (tables["shape_dangles"][shape] == 0),
        longer=exists & (tables["count"][nodes] > 0),
        mark=exists & (tables["kind"][tables["lo"][nodes]] != km.WORD),
    )
