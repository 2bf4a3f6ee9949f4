"""The lattice's masks for whole batches: arrays for `kernels.boundary`, and what those still miss.

`words_of` lays out what never changes; `Boundary` keeps what grows and fills it when the kernel
asks for a line after new sounds or for a new entry. Knows no model and no text. Called by
`lattice`, whose `candidates` is the slow twin of `Boundary.masks`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from constrained_gpt.kernels import boundary as kb
from constrained_gpt.kernels import mask as km
from constrained_gpt.lattice.alive import DONE_TARGET, OWED_TARGET, Alive
from constrained_gpt.lattice.outlook import STRAIN, Outlook
from constrained_gpt.lattice.rules import NO_SOUNDS, Rules, Sound, Sounds

_ARENA = 1 << 24  # candidates of all entries; then all are forgotten (8 bytes each)
_BASES = 1 << 13  # states with an entry, and
_LINES = 1 << 12  # lines after sounds that matter: so many are kept, then all are forgotten
_PATCHES = 1 << 14
_PATCH_ROOM = 1 << 19  # tokens in all patches
_EARLY = 512  # entries made when a lattice is compiled


def order_of(tables: km.Tables, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """(order, least): tokens that may begin a unit, int32 (S,), and the fewest syllables left at
    which one may, int8 (S,).

    Tokens inside a line come by that number, so that what r syllables allow is a prefix. The
    tokens at a line's start are needed three times a haiku, and all of them: they stand where
    they lengthen the prefixes of the others least.
    """
    shortest = np.zeros(len(tables.kind), np.int64)  # of marks, breaks, end: 0
    is_word = tables.kind == km.WORD
    bits = rules.bits[tables.word[is_word]]
    shortest[is_word] = np.log2(bits & -bits) + rules.dangling[tables.word[is_word]]
    groups = []
    for root in (km.MID_ROOT, km.LINE_ROOT):
        first = int(tables.first[root])
        nodes = np.arange(first, first + int(tables.count[root]))
        if len(nodes):
            least = np.minimum.reduceat(shortest, tables.lo[nodes])
        else:
            least = np.zeros(0, np.int64)
        by = np.lexsort((tables.token[nodes], least))
        groups.append((tables.token[nodes][by], least[by]))
    (middle, needs), (opening, opens) = groups
    fresh = ~np.isin(opening, middle)
    opening, opens = opening[fresh], opens[fresh]
    rows = [int((needs <= r).sum()) for r in range(max(rules.lines) + 1)]
    best, cut = None, 0
    for after in range(max(rules.lines) + 1):
        cost = 0
        for syllables in rules.lines:
            cost += rows[after] + len(opening)
            cost += sum(
                rows[r] + (len(opening) if r > after else 0) for r in range(1, syllables)
            )
        if best is None or cost < best:
            best, cut = cost, rows[after]
    order = np.concatenate([middle[:cut], opening, middle[cut:]])
    least = np.concatenate([needs[:cut], opens, needs[cut:]])
    return order.astype(np.int32), np.minimum(least, 127).astype(np.int8)


def _ranges(keys: np.ndarray, n: int) -> np.ndarray:
    """Where each of the numbers 0 .. n begins among sorted keys: int32 (n + 1,)."""
    return np.searchsorted(keys, np.arange(n + 1)).astype(np.int32)


class Names:
    """Numbers for parts and onsets, and the sounds of words by number."""

    def __init__(self, rules: Rules) -> None:
        self.parts: dict[str, int] = {}
        self.onsets: dict[str, int] = {}
        start, parts, onsets = [0], [], []
        for sounds in rules.sounds:
            for part, onset in sounds:
                parts.append(self.parts.setdefault(part, len(self.parts)))
                onsets.append(self.onsets.setdefault(onset, len(self.onsets)))
            start.append(len(parts))
        self.start = np.array(start, np.int32)
        self.part = np.array(parts, np.int32)
        self.onset = np.array(onsets, np.int32)


def words_of(
    tables: km.Tables, rules: Rules, alive: Alive, outlook: Outlook, has_end: bool
) -> tuple[kb.Words, list[Sounds], Names]:
    """The arrays of the kernel; the sets of crucial sounds by number (0: none); names of sounds."""
    order, least = order_of(tables, rules)
    n_units = len(tables.kind)
    is_word = tables.kind == km.WORD
    unit_type = np.full(n_units, -1, np.int32)
    unit_type[is_word] = rules.type_of[tables.word[is_word]]
    first = int(tables.first[km.LINE_ROOT])
    n_line, n_mid = int(tables.count[km.LINE_ROOT]), int(tables.count[km.MID_ROOT])
    nodes = np.arange(first, first + n_line + n_mid)
    top = np.repeat(nodes, tables.hi[nodes] - tables.lo[nodes]).astype(np.int32)
    by_token = np.argsort(order, kind="stable")
    place = by_token[np.searchsorted(order[by_token], tables.token[nodes])].astype(np.int32)
    node_at = np.full((2, len(order)), -1, np.int32)
    node_at[0, place[:n_line]] = nodes[:n_line]
    node_at[1, place[n_line:]] = nodes[n_line:]
    units = np.flatnonzero(is_word)
    unit_of = np.full((len(rules.bits), 3), -1, np.int32)
    opens = units < tables.hi[km.LINE_ROOT]
    slot = np.where(opens, np.where(tables.form[units] == 2, 2, 1), 0)
    unit_of[tables.word[units], slot] = units
    others = np.concatenate([[0], np.cumsum(~is_word)])
    has_other = (others[tables.hi] > others[tables.lo]).astype(np.uint8)
    mid_nodes = nodes[n_line:]
    # Shapes.
    pairs = np.stack([rules.type_bits, rules.type_dangling.astype(np.int64)], axis=1)
    shapes, type_shape = np.unique(pairs, axis=0, return_inverse=True)
    type_shape = type_shape.reshape(-1).astype(np.int32)
    # Season.
    season = rules.season
    odd_state, odd_column = np.nonzero(season.next != season.next[season.flush])
    by_column = np.argsort(rules.column, kind="stable").astype(np.int32)
    # Sounds: runs of words of one part and one shape, each in the order of their positions.
    names = Names(rules)
    n_words = len(rules.bits)
    word = np.repeat(np.arange(n_words), np.diff(names.start))
    shape = type_shape[rules.type_of[word]]
    position = place[top[unit_of[word, 0]] - first]
    by = np.lexsort((position, shape, names.part))
    part, shape, word = names.part[by], shape[by], word[by]
    new = np.ones(len(part), bool)
    new[1:] = (part[1:] != part[:-1]) | (shape[1:] != shape[:-1])
    run = np.flatnonzero(new)
    # Crucial sounds.
    special = alive.special_words()
    by_place = np.argsort(place[top[unit_of[special, 0]] - first], kind="stable")
    special = special[by_place].astype(np.int32)
    crucial_sets: list[Sounds] = [NO_SOUNDS]
    number = {NO_SOUNDS: 0}
    crucial = np.zeros(n_words, np.int32)
    for which in special:
        sounds = alive.canonical(frozenset(rules.sounds[which]))
        if sounds not in number:
            number[sounds] = len(crucial_sets)
            crucial_sets.append(sounds)
        crucial[which] = number[sounds]
    rest = [sum(rules.lines[line + 1 :]) for line in range(len(rules.lines))]
    return (
        kb.Words(
            unit_type=unit_type,
            top=top,
            unit_of=unit_of,
            place=place,
            node_at=node_at,
            least=least,
            other_nodes=mid_nodes[has_other[mid_nodes] > 0].astype(np.int32),
            has_other=has_other,
            type_of=rules.type_of,
            type_shape=type_shape,
            type_column=rules.type_column,
            shape_bits=np.ascontiguousarray(shapes[:, 0]),
            shape_dangles=shapes[:, 1].astype(np.uint8),
            to_done=(season.flush == season.done).astype(np.uint8),
            odd_start=_ranges(odd_state, len(season.next)),
            odd_column=odd_column.astype(np.int32),
            column_start=_ranges(rules.column[by_column], season.next.shape[1]),
            column_word=by_column,
            rhyme=np.array([("off", "perfect", "identical").index(rules.rhyme)], np.int64),
            sound_start=names.start,
            sound_part=names.part,
            sound_onset=names.onset,
            run_start=_ranges(part[run], len(names.parts)),
            run_shape=shape[run].astype(np.int32),
            run_word=np.append(run, len(part)).astype(np.int32),
            part_word=word.astype(np.int32),
            part_onset=names.onset[by],
            crucial=crucial,
            special=special,
            left_after=np.array(rest, np.int32),
            chance=outlook.chance,
            strain=np.array([STRAIN]),
            has_end=np.array([has_end], np.uint8),
            order=order,
        ),
        crucial_sets,
        names,
    )


class Boundary:
    """Masks for batches of state rows. Thread-safe: one call at a time.

    The arrays in `entries` only grow, or are replaced by new ones: what a caller was given stays
    as it was.
    """

    def __init__(
        self,
        tables: km.Tables,
        rules: Rules,
        alive: Alive,
        words: kb.Words,
        crucial_sets: list[Sounds],
        names: Names,
        n_vocab: int,
    ) -> None:
        self._tables, self._rules, self._alive = tables, rules, alive
        self._words, self._crucial_sets, self._names = words, crucial_sets, names
        self._n_vocab = n_vocab
        self._lock = threading.RLock()
        self._width = km.ENDS + len(rules.lines)
        self._need = np.zeros(4, np.int64)
        self._drop = np.zeros(0, np.int32)
        self._extra = np.zeros(0, np.int32)
        self._extra_outlook = np.zeros(0, np.float32)
        self._entries = self._nothing_yet()

    @property
    def order(self) -> np.ndarray:
        """Tokens that may begin a unit: int32 (S,)."""
        return self._words.order

    # -- questions --------------------------------------------------------------------------
    def masks(self, states: np.ndarray) -> km.Masks:
        """The masks of state rows, int64 (B, width)."""
        with self._lock:
            found = self._filled(states)
            drops, extras = int(found.drop_start[-1]), int(found.extra_start[-1])
            return found._replace(
                drop=found.drop[:drops].copy(),
                extra_token=found.extra_token[:extras].copy(),
                extra_outlook=found.extra_outlook[:extras].copy(),
            )

    def fill(self, states: np.ndarray, bitmask: np.ndarray) -> None:
        """The masks of state rows (B, width) as int32 bitmasks (B, >= V/32), in place."""
        with self._lock:
            found = self._filled(states)
            kb.fill_bitmasks(
                self._words, self._entries, found.entry, found.drop_start, found.drop,
                found.extra_start, found.extra_token, bitmask,
            )  # fmt: skip

    def hear(self, sounds: tuple[Sound, ...]) -> None:
        """Add the sounds of a line end from outside the lexicon, numbered after all before."""
        with self._lock:
            words, names = self._words, self._names
            parts = [names.parts.get(part, -1) for part, _ in sounds]
            onsets = [names.onsets.setdefault(onset, len(names.onsets)) for _, onset in sounds]
            crucial = self._alive.canonical(frozenset(sounds))
            if crucial not in self._crucial_sets:
                self._crucial_sets.append(crucial)
                self._entries = self._nothing_yet()  # whose tables have a column for each set
            number = self._crucial_sets.index(crucial)

            def longer(array: np.ndarray, more: list[int]) -> np.ndarray:
                return np.concatenate([array, np.array(more, np.int32)])

            self._words = words._replace(
                sound_start=longer(words.sound_start, [int(words.sound_start[-1]) + len(sounds)]),
                sound_part=longer(words.sound_part, parts),
                sound_onset=longer(words.sound_onset, onsets),
                crucial=longer(words.crucial, [number]),
            )

    # -- filling ----------------------------------------------------------------------------
    def _filled(self, states: np.ndarray) -> km.Masks:
        if states.ndim != 2 or states.shape[1] != self._width or states.dtype != np.int64:
            raise ValueError(
                f"states are {states.dtype} {states.shape}; they must be int64 "
                f"(B, {self._width}), as `start` makes them"
            )
        n = len(states)
        rows = np.empty((n + 1, self._width), np.int64)
        rows[:n] = states
        rows[n] = 0
        entry, prefix = np.empty(n, np.int32), np.empty(n, np.int32)
        start, stop = np.empty(n, np.int64), np.empty(n, np.int64)
        drop_start, extra_start = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
        done = 0
        while True:
            done = kb.fill_masks(
                self._tables, self._words, self._entries, rows, done, entry, start, stop, prefix,
                drop_start, self._drop, extra_start, self._extra, self._extra_outlook, self._need,
            )  # fmt: skip
            if done == n:
                break
            if self._make(rows[n]):
                done = 0  # the entries of before are forgotten
        entries = self._entries
        return km.Masks(
            entry, start, stop, entries.position, entries.outlook, prefix, drop_start,
            self._drop, extra_start, self._extra, self._extra_outlook,
        )  # fmt: skip

    def _make(self, row: np.ndarray) -> bool:
        """Make what the kernel needs next. True: everything was forgotten to make room for it."""
        kind, *of = self._need.tolist()
        if kind == kb.NEED_ROOM:
            size = 2 * len(self._drop) + 8 * len(self._words.order)
            self._drop = _grown(self._drop, size)
            self._extra = _grown(self._extra, size)
            self._extra_outlook = _grown(self._extra_outlook, size)
            return False
        if kind == kb.NEED_SOUND:
            self._add_sound(of[0], of[1])
            return False
        used = self._entries.used
        if kind == kb.NEED_LINE:
            if used[kb.N_LINES] >= _LINES:
                self.forget()
                return True
            self._add_line(of[0], of[1])
            return False
        if used[kb.N_BASES] >= _BASES or used[kb.N_ARENA] + len(self.order) > _ARENA:
            self.forget()
            return True
        self._add_base(row, bool(of[0]), of[1])
        return False

    def forget(self) -> None:
        """Start anew with no entries; masks given out stay good."""
        with self._lock:
            self._entries = self._nothing_yet()
            self._alive.forget()

    def _nothing_yet(self) -> kb.Entries:
        rules, words = self._rules, self._words
        n_shapes, n_states = len(words.shape_bits), len(rules.season.next)
        n_order = len(words.order)
        self._sound_sets: list[Sounds] = [NO_SOUNDS]
        self._sound_numbers = {NO_SOUNDS: 0}
        self._contents: dict[bytes, int] = {}
        per_place = max(1, int(np.diff(words.sound_start).max(initial=1)))
        runs = words.run_word[words.run_start]
        longest = int(np.diff(runs).max(initial=0)) if len(runs) > 1 else 0
        scratch = 4 * (2 * len(rules.lines) * per_place * longest + 2 * len(words.special))
        scratch += 8 * (n_order + len(words.type_of))
        return kb.Entries(
            position=np.zeros(4 * n_order, np.int32),
            outlook=np.zeros(4 * n_order, np.float32),
            base=np.zeros((16, 5), np.int64),
            after=np.zeros((16, n_shapes), np.int64),
            hope=np.zeros((16, n_shapes, 2), np.float64),
            bits=np.zeros((16, -(-self._n_vocab // 32)), np.int32),
            base_key=np.zeros((16, 2), np.int64),
            base_slot=np.full(64, -1, np.int32),
            patch_key=np.zeros((_PATCHES, 2), np.int64),
            patch_slot=np.full(2 * _PATCHES, -1, np.int32),
            patch=np.zeros((_PATCHES, 5), np.int64),
            drop=np.zeros(_PATCH_ROOM + n_order, np.int32),
            extra=np.zeros(_PATCH_ROOM + n_order, np.int32),
            extra_outlook=np.zeros(_PATCH_ROOM + n_order, np.float32),
            sound_key=np.full(64, -1, np.int64),
            sound_value=np.zeros(64, np.int32),
            ready=np.full((len(rules.lines), 16), -1, np.int32),
            mid=np.zeros((len(rules.lines), rules.n_cuts, n_states), np.int64),
            next_word=np.zeros((len(rules.lines), rules.n_cuts, n_states), np.int64),
            end=np.zeros((len(rules.lines), len(self._crucial_sets)), np.uint8),
            start=np.zeros((len(rules.lines), len(self._crucial_sets)), np.uint8),
            used=np.zeros(8, np.int64),
            scratch=np.zeros(scratch, np.int64),
        )

    def _add_sound(self, so_far: int, crucial: int) -> None:
        entries = self._entries
        following = self._sound_sets[so_far] | self._crucial_sets[crucial]
        if following not in self._sound_numbers:
            self._sound_numbers[following] = len(self._sound_sets)
            self._sound_sets.append(following)
        if len(self._sound_sets) > entries.ready.shape[1]:
            ready = np.full((len(entries.ready), 2 * entries.ready.shape[1]), -1, np.int32)
            ready[:, : entries.ready.shape[1]] = entries.ready
            entries = entries._replace(ready=ready)
        key = so_far << 32 | crucial
        known = {int(k): int(v) for k, v in zip(entries.sound_key, entries.sound_value) if k >= 0}
        known[key] = self._sound_numbers[following]
        size = len(entries.sound_key)
        if 2 * len(known) > size:
            size *= 4
            entries = entries._replace(
                sound_key=np.full(size, -1, np.int64), sound_value=np.zeros(size, np.int32)
            )
        else:
            known = {key: known[key]}
        for k, v in known.items():
            at = kb.hashed(k, 0, size)
            while entries.sound_key[at] >= 0:
                at = (at + 1) & (size - 1)
            entries.sound_key[at], entries.sound_value[at] = k, v
        self._entries = entries

    def _add_line(self, line: int, sounds: int) -> None:
        """Look a line up in `alive`: what can be finished from inside it after these sounds."""
        rules, alive, entries = self._rules, self._alive, self._entries
        ends = self._sound_sets[sounds]
        number = int(entries.used[kb.N_LINES])
        if number == len(entries.mid):
            entries = entries._replace(
                **{
                    name: _grown(getattr(entries, name), 2 * number)
                    for name in ("mid", "next_word", "end", "start")
                }
            )
        table = alive.table(line, ends)
        entries.mid[number], entries.next_word[number] = table.mid, table.next_word
        known: dict[Sounds, tuple[int, int]] = {}
        for which, own in enumerate(self._crucial_sets):
            after = alive.canonical(ends | own)
            if after not in known:
                closes = starts = 0
                for cut in range(rules.n_cuts):
                    for target in (OWED_TARGET, DONE_TARGET):
                        bit = 1 << (2 * cut + target)
                        closes |= bit * alive.can_end(line, target, cut, after)
                        starts |= bit * alive.line_start(line + 1, target, cut, after)
                known[after] = closes, starts
            entries.end[number, which], entries.start[number, which] = known[after]
        entries.ready[line, sounds] = number
        entries.used[kb.N_LINES] = number + 1
        self._entries = entries

    def _add_base(self, row: np.ndarray, at_start: bool, ready: int) -> None:
        entries = self._entries
        used = entries.used
        more: dict[str, np.ndarray] = {}
        if used[kb.N_BASES] == len(entries.base):
            size = 2 * len(entries.base)
            for name in ("base", "after", "hope", "base_key"):
                more[name] = _grown(getattr(entries, name), size)
            slots = np.full(4 * size, -1, np.int32)
            for number, (a, b) in enumerate(entries.base_key.tolist()):
                slots[-1 - kb.find_key(more["base_key"], slots, a, b)] = number
            more["base_slot"] = slots
        if used[kb.N_ENTRIES] == len(entries.bits):
            more["bits"] = _grown(entries.bits, 2 * len(entries.bits))
        if used[kb.N_ARENA] + len(self.order) > len(entries.position):
            for name in ("position", "outlook"):
                old = getattr(entries, name)
                more[name] = _grown(old, 2 * len(old))
        entries = self._entries = entries._replace(**more)
        number = kb.add_base(self._tables, self._words, entries, row, at_start, ready)
        # One state's entry is often another's.
        begin, stop = entries.base[number, kb.B_START : kb.B_STOP + 1].tolist()
        content = entries.position[begin:stop].tobytes() + entries.outlook[begin:stop].tobytes()
        same = self._contents.setdefault(content, number)
        if same != number:
            closes = entries.base[number, kb.B_CLOSES]
            entries.base[number] = entries.base[same]
            entries.base[number, kb.B_CLOSES] = closes
            used[kb.N_ARENA] = begin
            used[kb.N_ENTRIES] -= 1


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    """A longer copy, zeros behind."""
    out = np.zeros((size, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out
