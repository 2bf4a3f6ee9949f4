"""Which states can still become a finished poem: decided backwards, before anything is sampled.

Dynamic programming over (line, syllables left, season state, cut counter). Rhyme would make the
state infinite in practice (every pair of line ends), so the tables are computed with the rhyme
rule folded in exactly where it can matter and nowhere else: see `_critical_parts`. Knows no
tokens. Called by `lattice` while it compiles and, for rare states, while it samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from constrained_gpt.lattice.rules import NO_SOUNDS, Rules, Sound, Sounds
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
    """Backward reachability of a form. Tables are made on demand and shared.

    learned: what an Alive of the same rules gave in `learned`; spares the search for where rhyme
    can matter.
    """

    def __init__(self, rules: Rules, learned: Mapping[str, np.ndarray] | None = None) -> None:
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
        # Rows of the automaton as what differs from those of OWED and `done`.
        self._usual = season.flush  # (K,)
        self._odd_state, self._odd_column = season.odd
        self._odd_next = season.next[self._odd_state, self._odd_column]
        self._odd_usual = season.next[self._usual[self._odd_state], self._odd_column]
        self._closers = [t[~rules.type_dangling[t]] for t in self._with]
        self._words_of_type: dict[int, np.ndarray] = {}
        self._starts: dict[int, list[np.ndarray]] = {}  # line -> sure, likely: bool (C, 2)
        self.critical: frozenset[str] = frozenset()
        self._special = np.zeros(0, np.int32)
        if rules.rhyme != "off" and len(rules.lines) > 1:
            if learned is None:
                self.critical = self._critical_parts()
            else:
                self.critical = frozenset(learned["critical"].tolist())
                self._starts = {line: list(pair) for line, pair in enumerate(learned["starts"])}
            special = [rules.by_part[p] for p in self.critical if p in rules.by_part]
            if special:
                self._special = np.unique(np.concatenate(special)).astype(np.int32)
        self._number_sounds()
        closers = ~rules.dangling
        self._closing_words = np.bincount(
            rules.type_of[closers], minlength=len(rules.type_bits)
        )  # (types,) words that may end a line
        self._closing_special = np.bincount(
            rules.type_of[self._special[closers[self._special]]], minlength=len(rules.type_bits)
        )

    def learned(self) -> dict[str, np.ndarray]:
        """The rhyme parts that can matter, and by line whether its start is alive, for sure and
        at all: bool (L, 2, C, 2). Arrays to keep beside the other tables."""
        starts = [np.stack(self._starts[line]) for line in sorted(self._starts)]
        shape = (0, 2, self.rules.n_cuts, 2)
        return {
            "critical": np.array(sorted(self.critical), dtype=np.str_),
            "starts": np.stack(starts) if starts else np.zeros(shape, bool),
        }

    def _number_sounds(self) -> None:
        """crucial_sets: the sets of sounds of special words by number, none first. crucial_of:
        int32 (words + outside,), each word's number."""
        self.crucial_sets: list[Sounds] = [NO_SOUNDS]
        self.crucial_of = np.zeros(len(self.rules.bits), np.int32)
        self._crucial_number = {NO_SOUNDS: 0}
        for word in self._special.tolist():
            self.crucial_of[word] = self._number(self.rules.sounds[word])

    def _number(self, sounds: tuple[Sound, ...]) -> int:
        crucial = self.canonical(frozenset(sounds))
        if crucial not in self._crucial_number:
            self._crucial_number[crucial] = len(self.crucial_sets)
            self.crucial_sets.append(crucial)
        return self._crucial_number[crucial]

    def hear(self, sounds: tuple[Sound, ...]) -> None:
        """Number the sounds of a line end from outside the lexicon, after all before."""
        self.crucial_of = np.append(self.crucial_of, np.int32(self._number(sounds)))

    def forget(self) -> None:
        """Drop the tables made on demand; they are made again when asked for."""
        self._tables.clear()

    # -- questions --------------------------------------------------------------------------
    def canonical(self, ends: Sounds) -> Sounds:
        """The part of `ends` on which anybody's being alive can depend."""
        if not self.critical:
            return NO_SOUNDS
        if self.rules.rhyme == "identical":  # then the onset plays no part
            return frozenset((part, "") for part, _ in ends if part in self.critical)
        return frozenset(sound for sound in ends if sound[0] in self.critical)

    def line_start(self, line: int, target: int, cut: int, ends: Sounds) -> bool:
        """Can the poem be finished from the start of `line`? (line == len(lines): is it finished?)

        target: OWED_TARGET or DONE_TARGET; ends: sounds of the line ends so far.
        """
        rules = self.rules
        if line == len(rules.lines):
            return target == DONE_TARGET and rules.cut_complete(cut)
        if self._starts:  # most line starts do not depend on sounds at all
            sure, likely = self._starts[line]
            if sure[cut, target] or not likely[cut, target]:
                return bool(sure[cut, target])
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
        end = self._end_table(line, ends)
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
                    by_ends[after] = self._end_table(line, after)
                closes[rules.type_of[word]] |= by_ends[after]
        return self._fill(line, self._closing_states(closes), end)

    def _end_table(self, line: int, ends: Sounds) -> np.ndarray:
        """`can_end` for every cut counter and target: bool (C, 2)."""
        return np.array(
            [
                [self.can_end(line, target, cut, ends) for target in (OWED_TARGET, DONE_TARGET)]
                for cut in range(self.rules.n_cuts)
            ]
        )

    def _closing_states(self, closes: np.ndarray) -> list[np.ndarray]:
        """From types that may close a line, bool (types, C, 2), to the states they close it from.

        One bool (C, K) for every syllable count of the closing word.
        """
        rules, season = self.rules, self.rules.season
        n_states, n_columns = season.next.shape
        out = []
        for types in self._closers:
            closing = np.zeros((rules.n_cuts, n_states), bool)
            by_column = np.zeros((n_columns, rules.n_cuts, 2), bool)
            np.logical_or.at(by_column, rules.type_column[types], closes[types])
            if by_column.any():
                columns = np.arange(n_columns)
                for cut in range(rules.n_cuts):
                    good = by_column[:, cut]  # (columns, 2)

                    def fits(
                        to: np.ndarray, column: np.ndarray, good: np.ndarray = good
                    ) -> np.ndarray:
                        return np.asarray(good[column, self._to_done[to].astype(np.int64)])

                    closing[cut] = self._any_column(columns, fits)
            out.append(closing)
        return out

    def _any_column(
        self, columns: np.ndarray, fits: Callable[[np.ndarray, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """bool (K,): does fits(state reached, column) hold for some of the columns? Counted for
        the two usual rows, and corrected where a row differs."""
        season = self.rules.season
        count = np.zeros(len(season.next), np.int64)
        for usual in (OWED, season.done):
            count[self._usual == usual] = fits(season.next[usual, columns], columns).sum()
        mine = np.zeros(season.next.shape[1], bool)
        mine[columns] = True
        odd = mine[self._odd_column]
        state, column = self._odd_state[odd], self._odd_column[odd]
        change = fits(self._odd_next[odd], column).astype(np.int64)
        change -= fits(self._odd_usual[odd], column)
        count += np.bincount(state, change, len(count)).astype(np.int64)
        return np.asarray(count > 0)

    def _fill(self, line: int, closing: list[np.ndarray], end: np.ndarray) -> LineTable:
        """The table of a line; closing[s]: bool (C, K), a word of s syllables may close it."""
        rules, season = self.rules, self.rules.season
        length = rules.lines[line]
        n_states = len(season.next)
        n_cuts = rules.n_cuts
        can_next = np.zeros((length + 1, n_cuts, n_states), bool)
        can_mid = np.zeros_like(can_next)
        for left in range(1, length + 1):
            for syllables in range(1, min(left, self._max_syllables) + 1):
                if syllables == left:
                    can_next[left] |= closing[syllables]
                elif len(self._with[syllables]):
                    for cut in range(n_cuts):
                        then = can_mid[left - syllables, cut]
                        if then.any():

                            def fits(
                                to: np.ndarray, _: np.ndarray, then: np.ndarray = then
                            ) -> np.ndarray:
                                return np.asarray(then[to])

                            can_next[left, cut] |= self._any_column(self._columns[syllables], fits)
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

        The words that close a line from a season state, with some number of syllables and leaving
        the kigo owed or done, form a *group*. A group is rich when it shows so many different
        rhyme parts that no set of earlier line ends can forbid them all. What can be finished
        through rich groups alone is alive whatever the ends; where that differs from what all
        groups could do, the parts of the poor groups used there are critical. The bar for rich
        grows with the number of critical parts (a rich group must keep a word free of those too),
        hence the loop. With the whole lexicon and any kigo nothing is critical; with
        kigo={"snow"} the part of "snow" is.
        """
        rules = self.rules
        forbidden = (len(rules.lines) - 1) * max(rules.most_parts, 1)
        parts, some = self._group_parts()
        critical: frozenset[str] = frozenset()
        while True:
            rich = [count > forbidden + len(critical) for count in parts]
            poor = [(count > 0) | has for count, has in zip(parts, some, strict=True)]
            found = critical | self._poor_parts(rich, poor)
            if found == critical:
                return critical
            critical = found

    def _group_parts(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """For every syllable count: int (K, 2), different rhyme parts among the closing words, by
        target; bool (K, 2): is there such a word at all?

        Words with several rhyme parts do not count, so that the counted ones are disjoint. States
        are counted from the two usual ones, by the words that go elsewhere from them.
        """
        rules, season = self.rules, self.rules.season
        n_states = len(season.next)
        # What differs in where a break then leaves us, by state.
        turned = self._to_done[self._odd_next] != self._to_done[self._odd_usual]
        state, column = self._odd_state[turned], self._odd_column[turned]
        bounds = np.searchsorted(state, np.arange(n_states + 1))
        by_column = np.argsort(rules.type_column, kind="stable")
        of_column = np.searchsorted(
            rules.type_column[by_column], np.arange(season.next.shape[1] + 1)
        )
        single, part = rules.single_parts()
        counted = single[~rules.dangling[single]]
        heard = part[~rules.dangling[single]]
        of = rules.type_of[counted]
        by_type = np.argsort(of, kind="stable")
        heard = heard[by_type]
        word_bounds = np.searchsorted(of[by_type], np.arange(len(rules.type_bits) + 1))
        n_parts = int(part.max(initial=0)) + 1
        parts, some = [], []
        for types in self._closers:
            number = np.zeros((n_states, 2), np.int64)
            exists = np.zeros((n_states, 2), bool)
            closes = np.zeros(len(rules.type_bits), bool)
            closes[types] = True
            words = np.repeat(closes, np.diff(word_bounds))
            word_type = np.repeat(np.arange(len(rules.type_bits)), np.diff(word_bounds))
            known: dict[tuple[int, bytes], tuple[np.ndarray, np.ndarray]] = {}
            for usual in {OWED, season.done}:
                goes = self._to_done[season.next[usual, rules.type_column]]  # (types,)
                places = goes[word_type[words]].astype(np.int64) * n_parts + heard[words]
                n_words = np.bincount(places, minlength=2 * n_parts)  # by target and part
                n_words = n_words.reshape(2, n_parts)
                n_types = np.bincount(goes[types].astype(np.int64), minlength=2)
                distinct = (n_words > 0).sum(axis=1)
                for k in np.flatnonzero(self._usual == usual).tolist():
                    columns = column[bounds[k] : bounds[k + 1]]
                    key = (usual, columns.tobytes())
                    if key not in known:
                        own, own_types = distinct.copy(), n_types.copy()
                        moved: dict[tuple[int, int], int] = {}  # (from target, part) -> words
                        for c in columns.tolist():
                            for t in by_column[of_column[c] : of_column[c + 1]].tolist():
                                if not closes[t]:
                                    continue
                                came = int(goes[t])
                                own_types[came] -= 1
                                own_types[1 - came] += 1
                                for p in heard[word_bounds[t] : word_bounds[t + 1]].tolist():
                                    moved[came, p] = moved.get((came, p), 0) + 1
                        for target in (0, 1):
                            for p in {p for _, p in moved}:
                                before = int(n_words[target, p])
                                after = before - moved.get((target, p), 0)
                                after += moved.get((1 - target, p), 0)
                                own[target] += int(after > 0) - int(before > 0)
                        known[key] = own, own_types > 0
                    number[k], exists[k] = known[key]
            parts.append(number)
            some.append(exists)
        return parts, some

    def _poor_parts(self, rich: list[np.ndarray], some: list[np.ndarray]) -> frozenset[str]:
        """Parts of the poor groups wherever rich groups alone would not do. Each: bool (K, 2)."""
        rules, season = self.rules, self.rules.season
        parts: set[str] = set()
        last = len(rules.lines) - 1
        following = [np.zeros((rules.n_cuts, 2), bool)] * 2  # line starts: sure, likely
        for line in range(last, -1, -1):
            ends, tables = [], []
            for starts, groups in zip(following, (rich, some), strict=True):
                end = np.zeros((rules.n_cuts, 2), bool)
                for cut in range(rules.n_cuts):
                    if line == last:
                        end[cut, DONE_TARGET] = rules.cut_complete(cut)
                        continue
                    end[cut] = starts[cut]
                    for mark in np.flatnonzero(rules.mark_end):
                        after = rules.cut_after(cut, int(mark))
                        if after >= 0:
                            end[cut] |= starts[after]
                closing = [np.asarray((group[None] & end[:, None]).any(axis=2)) for group in groups]
                ends.append(end)
                tables.append(self._fill(line, closing, end))
            sure, likely = tables
            fragile = likely.next_word & ~sure.next_word  # (C, K) bits
            for syllables in range(1, min(rules.lines[line], self._max_syllables) + 1):
                types = self._closers[syllables]
                used: set[int] = set()
                for cut, state in np.argwhere(fragile >> np.int64(syllables) & 1):
                    goes = self._to_done[season.next[state, rules.type_column[types]]]
                    for target in (OWED_TARGET, DONE_TARGET):
                        if ends[1][cut, target] and not rich[syllables][state, target]:
                            used.update(types[goes == bool(target)].tolist())
                for kind in used:
                    for word in self._words(kind):
                        parts.update(part for part, _ in rules.sounds[word])
            n = rules.lines[line]
            start = [OWED, season.done]
            following = [(t.next_word[:, start] >> np.int64(n) & 1).astype(bool) for t in tables]
            self._starts[line] = following
        return frozenset(parts)

    def _words(self, kind: int) -> np.ndarray:
        if kind not in self._words_of_type:
            chosen = (self.rules.type_of == kind) & ~self.rules.dangling
            self._words_of_type[kind] = np.flatnonzero(chosen)
        return self._words_of_type[kind]
