"""The lattice: which tokens can still lead to a finished poem.

Holds frozen arrays shared by all requests, and answers for a state row: which tokens, and what
follows. Knows no model. Built by `compile`; used by `decoding` and `adapters`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from constrained_gpt.kernels import book as bk
from constrained_gpt.kernels import mask as km
from constrained_gpt.kernels.walk import advance_states
from constrained_gpt.lattice.alive import DONE_TARGET, OWED_TARGET, Alive
from constrained_gpt.lattice.boundary import Boundary
from constrained_gpt.lattice.compiled import Compiled
from constrained_gpt.lattice.openings import Openings, openings
from constrained_gpt.lattice.outlook import STRAIN, Outlook
from constrained_gpt.lattice.rules import NO_SOUNDS, Rules, Sound, Sounds
from constrained_gpt.lexicon.typography import (
    CAPITAL_FORM,
    LOWER_FORM,
    NEUTRAL_FORM,
    REFUSED,
    next_style,
    start_style,
)

_CACHED_MASKS = 512  # boundary masks kept; some 60 KB each on a full lexicon
Mask = tuple[np.ndarray, np.ndarray]  # tokens int32 ascending; outlook float64, see `candidates`

_NOTHING: Mask = (np.zeros(0, np.int32), np.zeros(0, np.float64))


class LatticeError(ValueError):
    """A form that cannot be met, or a tokenizer the lattice cannot spell with."""


class Lattice:
    """Masks for one (form, lexicon, tokenizer). Make it with `compile`.

    A state is one int64 row (see `kernels.mask`); `start` makes rows, `allowed` lists the tokens
    of a row, `advance` steps rows in place. Thread-safe; nothing in it changes but caches.

    form, end (id of the token that ends a poem), n_vocab (ids are below it), words (spellings).
    """

    def __init__(self, compiled: Compiled, *, end: int, n_vocab: int, content_hash: str) -> None:
        self.form = compiled.form
        self.end = end
        self.n_vocab = n_vocab
        self.content_hash = content_hash
        self._compiled = compiled
        self._n_words = int(compiled.arrays["book"][bk.N_WORDS])
        self._start_style = start_style(compiled.typography.capitals)
        self._lock = threading.RLock()
        self._masks: OrderedDict[Any, Mask] = OrderedDict()
        self._types: dict[Any, np.ndarray] = {}
        self._hits: OrderedDict[Any, np.ndarray] = OrderedDict()
        self._foreign: list[tuple[Sound, ...]] = []  # sounds of line ends from outside the lexicon
        self._no_hits = np.zeros(self._n_words, np.uint8)
        self._any_form = np.ones(3, np.uint8)
        self._quick = Boundary(compiled, lambda: self._alive)

    # What only the slow ways need is made when they are gone.
    @property
    def words(self) -> Sequence[str]:
        """The spellings of the words that may be written."""
        return self._compiled.words

    @property
    def _rules(self) -> Rules:
        return self._compiled.rules

    @property
    def _tables(self) -> km.Tables:
        return self._compiled.tables

    @property
    def _alive(self) -> Alive:
        return self._compiled.alive

    @cached_property
    def _outlook(self) -> Outlook:
        return Outlook(self._rules)

    @cached_property
    def _no_types(self) -> np.ndarray:
        return np.zeros(len(self._rules.type_bits), np.uint8)

    @cached_property
    def _has_end(self) -> bool:
        return bool(self._quick.book[bk.HAS_END])

    def prepare(self) -> None:
        """Make the masks that poems commonly need, ahead of the first one."""
        self._quick.prepare(self.start()[0])

    def forget(self) -> None:
        """Let go of all masks found so far, which frees memory; the next ones are made anew."""
        with self._lock:
            for found in (self._masks, self._types, self._hits):
                found.clear()
        self._quick.forget()

    def kept(self) -> dict[str, np.ndarray]:
        """What has been made so far and is worth keeping on disk."""
        return {**self._quick.kept(), "max_tokens": np.array(self.max_tokens)}

    @property
    def book(self) -> np.ndarray:
        """All that never changes, as `kernels.walk` reads it: see `kernels.book`."""
        return self._quick.book

    # -- states -----------------------------------------------------------------------------
    @property
    def width(self) -> int:
        """Columns of a state row."""
        return km.ENDS + len(self.form.lines)

    @cached_property
    def max_tokens(self) -> int:
        """No poem has more tokens: the longest spelling of every line, a mark after every word."""
        kept = self._compiled.arrays.get("max_tokens")
        return _longest_poem(self._tables, self.form.lines) if kept is None else int(kept)

    def start(self, batch: int = 1) -> np.ndarray:
        """`batch` rows at the start of an empty poem: int64 (batch, width)."""
        if batch < 1:
            raise ValueError(f"batch={batch}; a batch has at least one row")
        row = np.full(self.width, -1, np.int64)
        row[km.NODE] = km.LINE_ROOT
        row[km.LINE] = 0
        row[km.BUDGET] = 1 << self.form.lines[0]
        row[km.SEASON] = 0
        row[km.CUT] = 0
        row[km.STYLE] = 2 * self._start_style
        return np.repeat(row[None], batch, axis=0)

    def start_after_line(
        self, *, done: bool, cut: int, sounds: tuple[Sound, ...], form: int, new_sentence: bool
    ) -> np.ndarray:
        """One row at the start of line 2, after a first line that came from outside.

        done: the line holds a season word the form accepts; cut: cuts in it; sounds: of its last
        word; form: LOWER_FORM, CAPITAL_FORM or NEUTRAL_FORM, how it begins; new_sentence: it ends
        on . ! or ?
        """
        row = self.start()
        state = row[0]
        if len(self._rules.lines) < 2:
            raise LatticeError("the form has one line, so a first line leaves nothing to write")
        most = {"off": cut, "required": 1, "forbidden": 0}[self._rules.kireji]
        if cut > most:
            raise LatticeError(
                f"the first line holds {cut} cut(s), too many for "
                f"kireji={self._rules.kireji!r}; take marks out of it or ask for kireji='off'"
            )
        style = next_style(self._start_style, False, form)
        if style == REFUSED:
            style = self._start_style
        with self._lock:
            if sounds not in self._foreign:
                self._foreign.append(sounds)
                self._quick.hear(sounds)
            identity = self._n_words + self._foreign.index(sounds)
        state[km.LINE] = 1
        state[km.BUDGET] = 1 << self.form.lines[1]
        state[km.SEASON] = self._rules.season.done if done else 0
        state[km.CUT] = cut if self._rules.kireji == "required" else 0
        state[km.STYLE] = 2 * style + int(new_sentence)
        state[km.ENDS] = identity
        target = DONE_TARGET if state[km.SEASON] == self._rules.season.done else OWED_TARGET
        if not self._alive.line_start(1, target, int(state[km.CUT]), self._ends(state)):
            raise LatticeError(
                "no poem can follow this first line under the form's rules; "
                "loosen kigo, kireji or rhyme, or change the line's last word"
            )
        return row

    def finished(self, states: np.ndarray) -> np.ndarray:
        """Which rows are at the end of a poem: bool (B,)."""
        return states[:, km.NODE] == km.FINISHED

    def line(self, states: np.ndarray) -> np.ndarray:
        """The line each row is in (lines written whole so far): int64 (B,)."""
        return states[:, km.LINE]

    def left(self, states: np.ndarray) -> np.ndarray:
        """The most syllables that each row's line may still hold, a word just written counted
        whether or not it could go on; int64 (B,), 0 at the end."""
        book = self._quick.book
        node, budget = states[:, km.NODE], states[:, km.BUDGET].copy()
        unit = bk.of_nodes(book, bk.UNIT)[node]
        word = np.flatnonzero((node > km.MID_ROOT) & (unit >= 0))
        word = word[bk.table(book, bk.KIND)[unit[word]] == km.WORD]
        of = bk.table(book, bk.UNIT_SAYS)[unit[word]] >> 2
        bits = bk.table(book, bk.SHAPE_BITS).view(np.uint32)[bk.table(book, bk.TYPE_SHAPE)[of]]
        after = np.zeros(len(word), np.int64)
        for syllables in range(int(bits.max(initial=0)).bit_length()):
            after |= np.where(bits >> np.uint32(syllables) & 1, budget[word] >> syllables, 0)
        budget[word] = after
        return np.maximum(np.frexp(budget.astype(np.float64))[1].astype(np.int64) - 1, 0)

    @cached_property
    def openings(self) -> Openings:
        """What each token of `order` says of the words that begin with it."""
        return openings(self._quick.book)

    def advance(self, states: np.ndarray, tokens: np.ndarray) -> None:
        """Step every row by one token, in place."""
        bad = advance_states(self._quick.book, states, np.ascontiguousarray(tokens, np.int64))
        if bad >= 0:
            raise ValueError(
                f"token {int(tokens[bad])} cannot follow in row {bad}; take tokens from allowed()"
            )

    def accepts(self, tokens: Sequence[int]) -> bool:
        """Is this token path a whole poem of the lattice?"""
        row = self.start()
        for token in tokens:
            if token not in self.allowed(row[0]):
                return False
            self.advance(row, np.array([token]))
        return bool(self.finished(row)[0])

    # -- masks ------------------------------------------------------------------------------
    def allowed(self, row: np.ndarray) -> np.ndarray:
        """The tokens that may follow a state row: int32, ascending, never empty before the end."""
        return self.candidates(row)[0]

    def candidates(self, row: np.ndarray) -> Mask:
        """`allowed`, and for each token its outlook: float64, log of how well it may go on.

        The mask alone lets a model run into corners. Two of them can be seen from afar: a season
        word or cut still owed when few syllables are left, and a token that is a whole word but
        may only stand here as the beginning of another.
        """
        tables = self._tables
        node = int(row[km.NODE])
        if node == km.FINISHED:
            return _NOTHING
        if node <= km.MID_ROOT:
            return self._boundary(row, node, after_word=False)
        unit = int(tables.unit[node])
        if unit < 0:
            return self._children(row, node, after_word=True)
        after = row.copy()
        km.commit_unit(tables, after, unit)
        if after[km.STYLE] < 0 or after[km.CUT] < 0:
            # "A" where small letters are asked for: it can only become "Alaska".
            return self._children(row, node, after_word=True)
        beyond, outlook = self._boundary(
            after, km.MID_ROOT, after_word=tables.kind[unit] == km.WORD
        )
        if not tables.count[node]:
            return beyond, outlook
        # Disjoint, as `compile` has checked: a token goes on with the word or begins the next unit.
        inside, inside_outlook = self._children(row, node, after_word=True)
        places = np.searchsorted(beyond, inside)
        return np.insert(beyond, places, inside), np.insert(outlook, places, inside_outlook)

    @property
    def order(self) -> np.ndarray:
        """The tokens that may begin a unit, in the order in which `masks` counts positions: int32
        (S,). Sorted so that few syllables left means a short prefix."""
        return self._quick.order

    @cached_property
    def rank(self) -> np.ndarray:
        """The place of every token in `order`: int32 (n_vocab,), -1 of those that only go on with
        a unit."""
        rank = np.full(self.n_vocab, -1, np.int32)
        rank[self.order] = np.arange(len(self.order))
        return rank

    def masks(self, states: np.ndarray) -> km.Masks:
        """`candidates` of a whole batch of rows, int64 (B, width), in one call: see `Masks`."""
        return self._quick.masks(states)

    def fill_next_token_bitmask(self, states: np.ndarray, bitmask: np.ndarray) -> None:
        """Write the allowed tokens of rows (B, width) into int32 bitmasks (B, >= V/32), as other
        engines read them; or of one row (width,) into one bitmask (>= V/32,)."""
        if states.ndim == 1:
            states, bitmask = states[None], bitmask[None]
        if len(states) != len(bitmask) or 32 * bitmask.shape[1] < self.n_vocab:
            raise ValueError(
                f"a bitmask of shape {bitmask.shape} cannot hold {len(states)} rows of "
                f"{self.n_vocab} tokens; take one from allocate_token_bitmask"
            )
        self._quick.fill(states, bitmask)

    def _boundary(self, row: np.ndarray, node: int, after_word: bool) -> Mask:
        """Tokens that may begin the next unit. Cached by all they depend on."""
        style = int(row[km.STYLE]) if node == km.LINE_ROOT else -1
        last = int(row[km.LAST]) if int(row[km.BUDGET]) & 1 else -1
        key = (
            node,
            after_word,
            style,
            last,
            *(int(row[i]) for i in (km.LINE, km.BUDGET, km.SEASON, km.CUT)),
            *(int(e) for e in row[km.ENDS : km.ENDS + int(row[km.LINE])]),
        )
        with self._lock:
            found = self._masks.get(key)
            if found is not None:
                self._masks.move_to_end(key)
                return found
        found = self._children(row, node, after_word)
        with self._lock:
            self._masks[key] = found
            if len(self._masks) > _CACHED_MASKS:
                self._masks.popitem(last=False)
        return found

    def _children(self, row: np.ndarray, node: int, after_word: bool) -> Mask:
        """Tokens of the children of `node` below which a unit is allowed in the state `row`.

        `row` is the state at the last boundary; inside a unit it has not moved yet.
        """
        tables, rules = self._tables, self._rules
        ends = self._ends(row)
        line = int(row[km.LINE])
        cut = int(km.settled_cut(tables, row[km.CUT]))
        if cut >= 0:
            type_ok = self._type_ok(line, int(row[km.BUDGET]), int(row[km.SEASON]), cut, ends)
        else:
            type_ok = self._no_types
        form_ok = self._any_form
        if tables.hi[node] <= tables.hi[km.LINE_ROOT]:
            style, new_sentence = divmod(int(row[km.STYLE]), 2)
            form_ok = (tables.style_next[style, new_sentence] != REFUSED).astype(np.uint8)
        other_ok = self._other_ok(row, ends, after_word)
        other_outlook = self._outlook.others(
            line, int(row[km.BUDGET]), int(row[km.SEASON]), int(row[km.CUT]) % rules.n_cuts
        )
        hits = self._word_hits(line, cut, row, ends) if (type_ok & 6).any() else self._no_hits
        out = np.empty(int(tables.count[node]), np.int32)
        outlook = np.empty(len(out), np.float64)
        type_outlook = self._outlook.types(
            line, int(row[km.BUDGET]), int(row[km.SEASON]), max(cut, 0)
        )
        count = km.allowed_children(
            tables, node, rules.type_of, type_ok, hits, form_ok, other_ok,
            type_outlook, other_outlook, STRAIN, out, outlook,
        )  # fmt: skip
        # Rounded as in `masks`, so that both ways draw alike.
        return out[:count].copy(), outlook[:count].astype(np.float32).astype(np.float64)

    def _type_ok(self, line: int, budget: int, state: int, cut: int, ends: Sounds) -> np.ndarray:
        """uint8 (types,): may the line go on after such a word (1), may it end on it (2, 4)?"""
        rules, season = self._rules, self._rules.season
        canonical = self._alive.canonical(ends)
        key = (line, budget, state, cut, canonical)
        found = self._types.get(key)
        if found is not None:
            return found
        table = self._alive.table(line, canonical)
        after = rules.after(budget)
        reached = season.next[state, rules.type_column]
        goes_on = (after & ~1 & table.mid[cut, reached]) != 0
        may_end = ((after & 1) != 0) & ~rules.type_dangling
        done = season.flush[reached] == season.done
        ok = goes_on.astype(np.uint8)
        ok |= np.where(may_end & ~done & table.end[cut, OWED_TARGET], 2, 0).astype(np.uint8)
        ok |= np.where(may_end & done & table.end[cut, DONE_TARGET], 4, 0).astype(np.uint8)
        self._types[key] = ok
        return ok

    def _word_hits(self, line: int, cut: int, row: np.ndarray, ends: Sounds) -> np.ndarray:
        """uint8 (words,): which words may not end this line for their sound (2 owed, 4 done)."""
        if not ends and not len(self._alive.special_words()):
            return self._no_hits
        key = (line, cut, *(int(e) for e in row[km.ENDS : km.ENDS + line]))
        found = self._hits.get(key)
        if found is not None:
            return found
        hits = np.zeros(self._n_words, np.uint8)
        hits[self._rules.conflicts(ends)] = 6
        known: dict[Sounds, int] = {}
        for word in self._alive.special_words():
            after = self._alive.canonical(ends | frozenset(self._rules.sounds[word]))
            if after not in known:
                owed = self._alive.can_end(line, OWED_TARGET, cut, after)
                done = self._alive.can_end(line, DONE_TARGET, cut, after)
                known[after] = (0 if owed else 2) | (0 if done else 4)
            hits[word] |= known[after]
        with self._lock:
            self._hits[key] = hits
            if len(self._hits) > _CACHED_MASKS:
                self._hits.popitem(last=False)
        return hits

    def _other_ok(self, row: np.ndarray, ends: Sounds, after_word: bool) -> np.ndarray:
        """uint8 (marks + 2,): which marks, and whether a line break or the end, may come now."""
        rules, alive = self._rules, self._alive
        n_marks = len(rules.mark_mid)
        ok = np.zeros(n_marks + 2, np.uint8)
        line, last, budget = int(row[km.LINE]), int(row[km.LAST]), int(row[km.BUDGET])
        if last < 0 or budget == 0:
            return ok
        flushed = int(rules.season.flush[row[km.SEASON]])
        target = DONE_TARGET if flushed == rules.season.done else OWED_TARGET
        cut = int(row[km.CUT]) % rules.n_cuts  # an open final mark does not cut if the poem ends
        is_last = line == len(rules.lines) - 1
        own = frozenset(rules.sounds[last])
        may_close = bool(
            budget & 1 and not rules.dangling[last] and not np.isin(last, rules.conflicts(ends))
        )
        table = alive.table(line, ends)
        if may_close:
            ok[n_marks + int(is_last and self._has_end)] = alive.line_start(
                line + 1, target, cut, ends | own
            )
        if after_word:
            for mark in range(n_marks):
                after = rules.cut_after(cut, mark)
                fine = False
                if rules.mark_mid[mark] and budget & ~1 and after >= 0:
                    fine = bool(int(table.next_word[after, flushed]) & budget & ~1)
                if may_close and not fine:
                    if is_last:
                        fine = bool(rules.mark_final[mark] and ok[n_marks:].any())
                    elif rules.mark_end[mark] and after >= 0:
                        fine = alive.line_start(line + 1, target, after, ends | own)
                ok[mark] = fine
        return ok

    def _ends(self, row: np.ndarray) -> Sounds:
        line = int(row[km.LINE])
        if self._rules.rhyme == "off" or line == 0:
            return NO_SOUNDS
        sounds: set[Sound] = set()
        for end in row[km.ENDS : km.ENDS + line]:
            known = self._n_words
            sounds.update(
                self._rules.sounds[end] if end < known else self._foreign[int(end) - known]
            )
        return frozenset(sounds)


def _longest_poem(tables: km.Tables, lines: Sequence[int]) -> int:
    """Tokens of the longest poem, breaks and end included."""
    parent = np.repeat(np.arange(len(tables.count)), tables.count)  # of nodes 1, 2, ...
    depth = np.zeros(len(tables.count), np.int64)
    while (depth[1:] != depth[parent] + 1).any():
        depth[1:] = depth[parent] + 1
    ends = np.flatnonzero(tables.unit >= 0)
    units, length = tables.unit[ends], depth[ends] - 1  # the first level only splits the units
    kind = tables.kind[units]
    mark = int(length[kind == km.MARK].max(initial=0))
    is_word = kind == km.WORD
    bits, spelled = tables.bits[tables.word[units[is_word]]], length[is_word]
    longest = np.zeros(max(lines) + 1, np.int64)
    for left in range(1, max(lines) + 1):
        for syllables in range(1, left + 1):
            has = (bits >> np.int64(syllables)) & 1 == 1
            if has.any():
                word = int(spelled[has].max()) + mark
                longest[left] = max(longest[left], word + longest[left - syllables])
    return int(sum(longest[n] for n in lines)) + len(lines)


def style_table() -> np.ndarray:
    """`next_style` as an array for the kernels: int32 (styles, new sentence, form)."""
    return np.array(
        [
            [[next_style(s, bool(n), f) for f in (NEUTRAL_FORM, LOWER_FORM, CAPITAL_FORM)]
             for n in (0, 1)]
            for s in range(5)
        ],
        np.int32,
    )  # fmt: skip
