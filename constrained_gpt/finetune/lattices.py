"""The lattices of a model's forms, each of its lines alone, and what they allow along a poem.

Knows a tokenizer and the lexicon; no weights. Called by `prepare`, `batches`, the trainer and
`evaluate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..kernels.mask import allocate_token_bitmask
from ..lattice import Lattice, LatticeError, compile
from ..lexicon import Form, Lexicon
from ..tokenizer import Tokenizer

_BITS = 32  # tokens to an int32 of a bitmask


def bare(form: Form) -> Form:
    """The form's lines alone: no season word, cut or rhyme is asked."""
    return replace(form, kigo="off", kireji="off", rhyme="off", dangling="off")


class Lattices:
    """The lattice that generation walks through of each form, its syllables alone, made when first
    asked for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.n_vocab = tokenizer.n_vocab
        self._tokenizer = tokenizer
        self._known: dict[tuple[Form, int], Lattice | None] = {}

    def __call__(self, form: Form, end: int) -> Lattice | None:
        """end: id of the token that ends a poem. None if the form has no lattice: free verse."""
        key = (bare(form), end)
        if key not in self._known:
            try:
                self._known[key] = compile(
                    key[0], Lexicon.default(), self._tokenizer, policy="all", end=end
                )
            except LatticeError:
                self._known[key] = None
        return self._known[key]

    def allowed_along(self, form: Form, tokens: Sequence[int]) -> np.ndarray:
        """`allowed_along` of a poem of that form; all bits are set if it has no lattice."""
        lattice = self(form, tokens[-1])
        if lattice is None:
            return np.full((len(tokens), -(-self.n_vocab // _BITS)), -1, np.int32)
        return allowed_along(lattice, tokens)


def allowed_along(lattice: Lattice, tokens: Sequence[int]) -> np.ndarray:
    """The tokens that may stand in each place of a poem, as bitmasks: int32 (T, ceil(V / 32)).

    tokens: the poem's, its end the last. From the first that the lattice does not have there on
    (a word it cannot spell, a mark where it puts none) all bits are set: nothing is known.
    """
    states = np.empty((len(tokens), lattice.width), np.int64)
    row, known = lattice.start(), 0
    while known < len(tokens) and not lattice.finished(row)[0]:
        states[known : known + 1] = row
        known += 1
        try:
            lattice.advance(row, np.array(tokens[known - 1 : known], np.int64))
        except ValueError:
            break
    out = allocate_token_bitmask(max(len(tokens), 1), lattice.n_vocab)[: len(tokens)]
    lattice.fill_next_token_bitmask(states[:known], out[:known])
    ids = np.asarray(tokens, np.int64)
    held = out[np.arange(len(ids)), ids // _BITS].view(np.uint32) >> (ids % _BITS).astype(np.uint32)
    strange = np.flatnonzero(held & 1 == 0)
    if len(strange):
        out[strange[0] :] = -1
    return out


__all__ = ["Lattices", "allowed_along", "bare"]
