"""Which states can still become a finished poem: decided backwards, before anything is sampled.

Dynamic programming over (line, syllables left, season state, cut counter). Rhyme would make the
state infinite in practice (every pair of line ends), so the tables are computed with the rhyme
rule folded in exactly where it can matter and nowhere else: see `_critical_parts`. Knows no
tokens. Called by `lattice` while it compiles and, for rare states, while it samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from constrained_gpt.lattice.rules import NO_SOUNDS, Rules, Sounds
from constrained_gpt.lattice.season_automaton import OWED

OWED_TARGET, DONE_TARGET = 0, 1  # a line break leaves the season word owed or done


@dataclass(frozen=True)
class LineTable:
    """What can be finished from inside one line.

    next_word: int64 (C, K), bit r set: with r syllables left in the line, cut counter c and season
    state k, a next word exists that leads to a finished poem. mid: the same after a word, where a
    mark may come first. end: bool (C, 2): the line may end here, given whether the season word is
    then owed (0) or done (1) and ignoring the sound of its own last word.
    """

    next_word: np.ndarray
    mid: np.ndarray
    end: np.ndarray


class Alive:
    """Backward reachability of a form. Tables are made on demand and shared."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        season = rules.season
        self._to_done = season.flush == season.done  # (K,)
        self._tables: dict[tuple[int, Sounds], LineTable] = {}
        self._max_syllables = max(int(rules.bits.max(initial=1)).bit_length() - 1, 1)
        # Types by syllable count: those that may go on, those that may end a line.
        one = np.int64(1)
        self._with = [
            np.flatnonzero(rules.type_bits & (one << np.int64(s)))
            for s in range(self._max_syllables + 1)
        ]
        self._columns = [np.unique(rules.type_column[t]) for t in self._with]
        self._closers = [t[~rules.type_dangling[t]] for t in self._with]
        self._words_of_type: dict[int, np.ndarray] = {}
        self.critical: frozenset[str] = frozenset()
        self._special = np.zeros(0, np.int32)
        if rules.rhyme != "off" and len(rules.lines) > 1:
            self.critical = self._critical_parts()
            special = [rules.by_part[p] for p in self.critical if p in rules.by_part]
            if special:
                self._special = np.unique(np.concatenate(special)).astype(np.int32)
        closers = ~rules.dangling
        self._closing_words = np.bincount(
            rules.type_of[closers], minlength=len(rules.type_bits)
        )  # (types,) words that may end a line
        self._closing_special = np.bincount(
            rules.type_of[self._special[closers[self._special]]], minlength=len(rules.type_bits)
        )

    # -- questions --------------------------------------------------------------------------
    def canonical(self, ends: Sounds) -> Sounds:
        """The part of `ends` on which anybody's being alive can depend."""
        if not self.critical:
            return NO_SOUNDS
        return frozenset(sound for sound in ends if sound[0] in self.critical)

    def line_start(self, line: int, target: int, cut: int, ends: Sounds) -> bool:
        """Can the poem be finished from the start of `line`? (line == len(lines): is it finished?)

        target: OWED_TARGET or DONE_TARGET; ends: sounds of the line ends so far.
        """
        rules = self.rules
        if line == len(rules.lines):
            return target == DONE_TARGET and rules.cut_complete(cut)
        state = rules.season.done if target == DONE_TARGET else OWED
        bits = int(self.table(line, ends).next_word[cut, state])
        return bool(bits >> rules.lines[line] & 1)

    def can_end(self, line: int, target: int, cut: int, ends: Sounds) -> bool:
        """May `line` end here, bare or after a mark, when `ends` include its own last word?"""
        rules = self.rules
        if self.line_start(line + 1, target, cut, ends):
            return True
        if line + 1 == len(rules.lines):
            return False
        for mark in np.flatnonzero(rules.mark_end):
            after = rules.cut_after(cut, int(mark))
            if after >= 0 and after != cut and self.line_start(line + 1, target, after, ends):
                return True
        return False

    def table(self, line: int, ends: Sounds) -> LineTable:
        """The table of a line, given the sounds of the lines before it."""
        key = (line, self.canonical(ends))
        found = self._tables.get(key)
        if found is None:
            found = self._tables[key] = self._exact(*key)
        return found

    def special_words(self) -> np.ndarray:
        """Words whose sound can decide whether a later line can be finished (usually none)."""
        return self._special

    # -- tables -----------------------------------------------------------------------------
    def _exact(self, line: int, ends: Sounds) -> LineTable:
        rules = self.rules
        n_types = len(rules.type_bits)
        end = np.array(
            [
                [self.can_end(line, target, cut, ends) for target in (0, 1)]
                for cut in range(rules.n_cuts)
            ]
        )
        hit = rules.conflicts(ends)
        hit_closers = hit[~rules.dangling[hit]]
        # Words free of critical sounds and of conflicts: one of them ends a line as well as any.
        plain = self._closing_words - self._closing_special
        is_special = np.isin(hit_closers, self._special)
        plain = plain - np.bincount(rules.type_of[hit_closers[~is_special]], minlength=n_types)
        closes = (plain > 0)[:, None, None] & end[None]  # (types, C, 2)
        if len(self._special):
            free = np.setdiff1d(self._special, hit)
            by_ends: dict[Sounds, np.ndarray] = {}
            for word in free[~rules.dangling[free]]:
                after = self.canonical(ends | frozenset(rules.sounds[word]))
                if after not in by_ends:
                    by_ends[after] = np.array(
                        [
                            [self.can_end(line, target, cut, after) for target in (0, 1)]
                            for cut in range(rules.n_cuts)
                        ]
                    )
                closes[rules.type_of[word]] |= by_ends[after]
        return self._fill(line, closes, end)

    def _fill(self, line: int, closes: np.ndarray, end: np.ndarray) -> LineTable:
        """The table of a line, given which types may close it: closes bool (types, C, 2)."""
        rules, season = self.rules, self.rules.season
        length = rules.lines[line]
        n_states, n_columns = season.next.shape
        n_cuts = rules.n_cuts
        can_next = np.zeros((length + 1, n_cuts, n_states), bool)
        can_mid = np.zeros_like(can_next)
        target = self._to_done[season.next].astype(np.int64)  # (K, columns)
        for left in range(1, length + 1):
            for syllables in range(1, min(left, self._max_syllables) + 1):
                if not len(self._with[syllables]):
                    continue
                if syllables == left:
                    types = self._closers[syllables]
                    by_column = np.zeros((n_columns, n_cuts, 2), bool)
                    np.logical_or.at(by_column, rules.type_column[types], closes[types])
                    columns = np.flatnonzero(by_column.any(axis=(1, 2)))
                    for cut in range(n_cuts):
                        hit = by_column[columns[None, :], cut, target[:, columns]]
                        can_next[left, cut] |= hit.any(axis=1)
                else:
                    reached = season.next[:, self._columns[syllables]]
                    for cut in range(n_cuts):
                        can_next[left, cut] |= can_mid[left - syllables, cut][reached].any(axis=1)
            for cut in range(n_cuts):
                can_mid[left, cut] = can_next[left, cut]
                for mark in np.flatnonzero(rules.mark_mid):
                    after = rules.cut_after(cut, int(mark))
                    if after >= 0:
                        can_mid[left, cut] |= can_next[left, after][season.flush]
        weights = np.int64(1) << np.arange(length + 1, dtype=np.int64)
        return LineTable(
            next_word=np.einsum("rck,r->ck", can_next, weights),
            mid=np.einsum("rck,r->ck", can_mid, weights),
            end=end,
        )

    # -- where rhyme can matter -------------------------------------------------------------
    def _critical_parts(self) -> frozenset[str]:
        """Rhyme parts that may decide whether a poem can be finished.

        A type is *rich* when its words show so many different rhyme parts that no set of earlier
        line ends can forbid them all. States that finish with rich types alone are alive whatever
        the ends; where that differs from what all types could do, the parts of the poor types
        used there are critical. The bar for rich grows with the number of critical parts (a rich
        type must keep a word free of those too), hence the loop. With the whole lexicon and any
        kigo nothing is critical; with kigo={"snow"} the part of "snow" is.
        """
        rules = self.rules
        most = max((len({p for p, _ in s}) for s in rules.sounds), default=1)
        forbidden = (len(rules.lines) - 1) * max(most, 1)
        parts_of: dict[int, set[str]] = {}
        silent: set[int] = set()  # types with a word without sound, which nothing forbids
        for word, sounds in enumerate(rules.sounds):
            if rules.dangling[word]:
                continue
            kind = int(rules.type_of[word])
            parts = {part for part, _ in sounds}
            if len(parts) == 1:
                parts_of.setdefault(kind, set()).update(parts)
            elif not parts:
                silent.add(kind)
        n_types = len(rules.type_bits)
        distinct = np.array([len(parts_of.get(t, ())) for t in range(n_types)])
        distinct[list(silent)] = np.iinfo(np.int64).max
        nonempty = np.bincount(rules.type_of[~rules.dangling], minlength=n_types) > 0
        critical: frozenset[str] = frozenset()
        while True:
            rich = distinct >= forbidden + len(critical) + 1
            found = critical | self._poor_parts(rich, nonempty)
            if found == critical:
                return critical
            critical = found

    def _poor_parts(self, rich: np.ndarray, nonempty: np.ndarray) -> frozenset[str]:
        rules, season = self.rules, self.rules.season
        parts: set[str] = set()
        sure_next = likely_next = np.zeros((rules.n_cuts, 2), bool)
        last = len(rules.lines) - 1
        for line in range(last, -1, -1):
            ends = []
            for following in (sure_next, likely_next):
                end = np.zeros((rules.n_cuts, 2), bool)
                for cut in range(rules.n_cuts):
                    if line == last:
                        end[cut, DONE_TARGET] = rules.cut_complete(cut)
                        continue
                    end[cut] = following[cut]
                    for mark in np.flatnonzero(rules.mark_end):
                        after = rules.cut_after(cut, int(mark))
                        if after >= 0:
                            end[cut] |= following[after]
                ends.append(end)
            sure = self._fill(line, rich[:, None, None] & ends[0][None], ends[0])
            likely = self._fill(line, nonempty[:, None, None] & ends[1][None], ends[1])
            fragile = likely.next_word & ~sure.next_word  # (C, K) bits
            for syllables in range(1, min(rules.lines[line], self._max_syllables) + 1):
                types = self._closers[syllables]
                if not len(types):
                    continue
                for cut, state in np.argwhere(fragile >> np.int64(syllables) & 1):
                    goes = self._to_done[season.next[state, rules.type_column[types]]]
                    for target in (OWED_TARGET, DONE_TARGET):
                        group = types[goes == bool(target)]
                        if not ends[1][cut, target] or rich[group].any():
                            continue
                        for kind in group:
                            for word in self._words(int(kind)):
                                parts.update(part for part, _ in rules.sounds[word])
            n = rules.lines[line]
            start = [OWED, season.done]
            sure_next = (sure.next_word[:, start] >> np.int64(n) & 1).astype(bool)
            likely_next = (likely.next_word[:, start] >> np.int64(n) & 1).astype(bool)
        return frozenset(parts)

    def _words(self, kind: int) -> np.ndarray:
        if kind not in self._words_of_type:
            chosen = (self.rules.type_of == kind) & ~self.rules.dangling
            self._words_of_type[kind] = np.flatnonzero(chosen)
        return self._words_of_type[kind]
