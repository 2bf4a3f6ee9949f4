"""A form and a lexicon as arrays: what one word, mark or line break does to a poem.

Words that behave alike (same syllable counts, same effect on the season automaton, may or may not
end a line) share a *type*; the tables of `alive` are over types. Knows no tokens. Called by
`lattice.compile`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from constrained_gpt.lattice.season_automaton import SeasonAutomaton

Sound = tuple[str, str]  # (rhyme part, onset before it)
Sounds = frozenset[Sound]
NO_SOUNDS: Sounds = frozenset()


@dataclass(frozen=True)
class Rules:
    """lines: syllables a line. bits: int64 (words,), bit s set if the word may have s syllables.
    column: int32 (words,), the word's column in the season automaton. dangling: bool (words,).
    sounds: the words' rhyme parts and onsets. rhyme: "off" | "perfect" | "identical".
    mark_*: bool (marks,). kireji: "off" | "required" | "forbidden".
    """

    lines: tuple[int, ...]
    bits: np.ndarray
    column: np.ndarray
    dangling: np.ndarray
    sounds: Sequence[tuple[Sound, ...]]
    rhyme: str
    kireji: str
    season: SeasonAutomaton
    mark_mid: np.ndarray
    mark_end: np.ndarray
    mark_final: np.ndarray
    mark_cuts: np.ndarray
    type_of: np.ndarray = field(init=False)
    type_bits: np.ndarray = field(init=False)
    type_column: np.ndarray = field(init=False)
    type_dangling: np.ndarray = field(init=False)
    by_part: dict[str, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        stacked = np.stack([self.bits, self.column, self.dangling.astype(np.int64)], axis=1)
        types, type_of = np.unique(stacked, axis=0, return_inverse=True)
        set_ = object.__setattr__
        set_(self, "type_of", np.ascontiguousarray(type_of.reshape(-1), np.int32))
        set_(self, "type_bits", np.ascontiguousarray(types[:, 0]))
        set_(self, "type_column", np.ascontiguousarray(types[:, 1], np.int32))
        set_(self, "type_dangling", types[:, 2].astype(bool))
        by_part: dict[str, list[int]] = {}
        for word, sounds in enumerate(self.sounds):
            for part in {part for part, _ in sounds}:
                by_part.setdefault(part, []).append(word)
        set_(self, "by_part", {p: np.array(w, np.int32) for p, w in by_part.items()})

    @cached_property
    def most_parts(self) -> int:
        """The most rhyme parts that one word has."""
        return max((len({part for part, _ in heard}) for heard in self.sounds), default=1)

    def single_parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Words with one rhyme part, and its number: int64 (n,) both."""
        number = {part: i for i, part in enumerate(self.by_part)}
        pairs = []
        for word, heard in enumerate(self.sounds):
            own = {part for part, _ in heard}
            if len(own) == 1:
                pairs.append((word, number[own.pop()]))
        words, parts = np.array(pairs, np.int64).reshape(-1, 2).T
        return words, parts

    def after(self, budget: int) -> np.ndarray:
        """The budget (a bit set) after a word of each type: int64 (types,)."""
        left = np.zeros(len(self.type_bits), np.int64)
        for syllables in range(int(self.type_bits.max(initial=1)).bit_length()):
            left |= ((self.type_bits >> syllables) & 1) * (budget >> syllables)
        return left

    # -- cuts -------------------------------------------------------------------------------
    @property
    def n_cuts(self) -> int:
        """States of the cut counter: 2 if a cut is required (none yet, one), else 1."""
        return 2 if self.kireji == "required" else 1

    def cut_after(self, cut: int, mark: int) -> int:
        """The cut counter after `mark` inside the poem, or -1 where the form refuses it."""
        if not self.mark_cuts[mark] or self.kireji == "off":
            return cut
        return 1 if self.kireji == "required" and cut == 0 else -1

    def cut_complete(self, cut: int) -> bool:
        """May a poem end with this cut counter?"""
        return cut == 1 if self.kireji == "required" else True

    # -- rhyme ------------------------------------------------------------------------------
    def conflicts(self, ends: Sounds) -> np.ndarray:
        """Words (int32 ids, sorted) that may not end a line once lines end on `ends`."""
        if self.rhyme == "off" or not ends:
            return np.zeros(0, np.int32)
        hit: set[int] = set()
        for part, onset in ends:
            words = self.by_part.get(part)
            if words is None:
                continue
            if self.rhyme == "identical":
                hit.update(words.tolist())
            else:
                hit.update(
                    int(w)
                    for w in words
                    if any(p == part and o != onset for p, o in self.sounds[w])
                )
        return np.array(sorted(hit), np.int32)
