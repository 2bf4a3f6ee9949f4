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


class WordSounds(Sequence[tuple[Sound, ...]]):
    """The sounds of every word, by name, out of numbers.

    parts, onsets: their names. start: int32 (words + 1,), the range of each word in part and onset,
    int32 both.
    """

    def __init__(
        self,
        parts: Sequence[str],
        onsets: Sequence[str],
        start: np.ndarray,
        part: np.ndarray,
        onset: np.ndarray,
    ) -> None:
        self.parts, self.onsets = parts, onsets
        self.start, self.part, self.onset = start, part, onset

    def __len__(self) -> int:
        return len(self.start) - 1

    def __getitem__(self, word):  # type: ignore[no-untyped-def]
        if not 0 <= word < len(self):
            raise IndexError(word)
        return tuple(
            (self.parts[self.part[i]], self.onsets[self.onset[i]])
            for i in range(self.start[word], self.start[word + 1])
        )


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
        by = np.lexsort((self.dangling, self.column, self.bits))
        first = np.zeros(len(by), bool)  # of its type
        first[:1] = True
        for of in (self.bits, self.column, self.dangling):
            first[1:] |= of[by[1:]] != of[by[:-1]]
        type_of = np.empty(len(by), np.int32)
        type_of[by] = np.cumsum(first) - 1
        types = by[first]
        set_ = object.__setattr__
        set_(self, "type_of", type_of)
        set_(self, "type_bits", self.bits[types].astype(np.int64))
        set_(self, "type_column", self.column[types].astype(np.int32))
        set_(self, "type_dangling", self.dangling[types].astype(bool))
        words, parts, names = self._parts_of_words()
        by = np.argsort(parts, kind="stable")
        groups = np.split(words[by], np.cumsum(np.bincount(parts, minlength=len(names)))[:-1])
        set_(self, "by_part", {p: w for p, w in zip(names, groups, strict=True) if len(w)})

    def _parts_of_words(self) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Each word with each of its rhyme parts once: int32 (n,) word, int64 (n,) part, by word;
        the names of the parts."""
        if isinstance(self.sounds, WordSounds):
            words = np.repeat(np.arange(len(self.sounds)), np.diff(self.sounds.start))
            pairs = np.unique(words * max(len(self.sounds.parts), 1) + self.sounds.part)
            words, parts = np.divmod(pairs, max(len(self.sounds.parts), 1))
            return words.astype(np.int32), parts, list(self.sounds.parts)
        numbers: dict[str, int] = {}
        listed = [
            (word, numbers.setdefault(part, len(numbers)))
            for word, heard in enumerate(self.sounds)
            for part in sorted({part for part, _ in heard})
        ]
        words, parts = np.array(listed, np.int64).reshape(-1, 2).T
        return words.astype(np.int32), parts, list(numbers)

    @cached_property
    def most_parts(self) -> int:
        """The most rhyme parts that one word has."""
        words, _, _ = self._parts_of_words()
        return int(np.bincount(words).max(initial=0)) if len(self.sounds) else 1

    def single_parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Words with one rhyme part, and its number: int64 (n,) both."""
        words, parts, _ = self._parts_of_words()
        single = np.bincount(words, minlength=1)[words] == 1
        return words[single].astype(np.int64), parts[single]

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
