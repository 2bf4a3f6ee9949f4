"""The lattice's masks for whole batches: arrays for `kernels.fill`, and what those still miss.

`book_of` lays out what never changes; `Boundary` keeps what grows and fills it when the kernel
asks for a line after new sounds or for a new entry. Knows no model and no text. Called by
`lattice`, whose `candidates` is the slow twin of `Boundary.masks`.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from constrained_gpt.kernels import book as bk
from constrained_gpt.kernels import boundary as kb
from constrained_gpt.kernels import fill as kf
from constrained_gpt.kernels import mask as km
from constrained_gpt.kernels._team import shared_team
from constrained_gpt.lattice.alive import DONE_TARGET, OWED_TARGET, Alive
from constrained_gpt.lattice.compiled import Compiled
from constrained_gpt.lattice.outlook import Outlook
from constrained_gpt.lattice.rules import NO_SOUNDS, Rules, Sound, Sounds
from constrained_gpt.lattice.season_automaton import OWED

_ARENA = 1 << 24  # candidates of all entries; then all are forgotten (8 bytes each)
_BASES = 1 << 13  # states with an entry, and
_LINES = 1 << 12  # lines after sounds that matter: so many are kept, then all are forgotten
_PATCHES = 1 << 13
_DROPS, _EXTRAS = 1 << 18, 1 << 18  # tokens in all patches
_EARLY = 1024  # entries made when a lattice is compiled
_SHARES = 4  # most threads at one batch: each has its own scratch
_MANY = 16  # rows from which on threads share them
_SOON = 1_000_000  # ns after which nobody waits for the next masks
# entry, start, stop, prefix, drop_start, extra_start: see `kernels.mask.Masks`.
Filled = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_KEPT = (
    "base",
    "codes",
    "hope",
    "lines",
    "deep",
    "units",
    "without",
    "found",
    "used",
)  # of kernels.boundary.Entries


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
            cost += sum(rows[r] + (len(opening) if r > after else 0) for r in range(1, syllables))
        if best is None or cost < best:
            best, cut = cost, rows[after]
    order = np.concatenate([middle[:cut], opening, middle[cut:]])
    least = np.concatenate([needs[:cut], opens, needs[cut:]])
    return order.astype(np.int32), np.minimum(least, 127).astype(np.int8)


def _ranges(keys: np.ndarray, n: int) -> np.ndarray:
    """Where each of the numbers 0 .. n begins among sorted keys: int32 (n + 1,)."""
    return np.searchsorted(keys, np.arange(n + 1)).astype(np.int32)


def _tells(
    spot: np.ndarray, of: np.ndarray, part: np.ndarray, word: np.ndarray, most: int
) -> np.ndarray:
    """Which rhyming words can tell (see `kernels.book`), if ends forbid `most` rhyme parts at most.

    spot, of (types), part, word: int (pairs of a word and one of its rhyme parts,).
    """
    first = (spot.astype(np.int64) >> 2) * (int(of.max(initial=0)) + 1) + of  # token and type
    # A word of several parts may be refused for one of them; it is not counted on.
    alone = np.bincount(word)[word] == 1
    n_parts = int(part.max(initial=0)) + 1
    pairs = np.unique(first[alone] * n_parts + part[alone])
    groups, parts = np.unique(pairs // n_parts, return_counts=True)
    at = np.minimum(np.searchsorted(groups, first), max(len(groups) - 1, 0))
    known = (groups[at] == first) if len(groups) else np.zeros(len(first), bool)
    safe = known & (np.where(known, parts[at] if len(parts) else 0, 0) > most)
    return (spot & 3 != 1) | ~safe


def _nodes(
    tables: km.Tables, unit_type: np.ndarray, sound_start: np.ndarray, sound_part: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The book's node, child, deep_start and deep."""
    is_word = tables.kind == km.WORD
    others = np.concatenate([[0], np.cumsum(~is_word)])
    own = np.maximum(tables.unit, 0)  # the unit of a node, where it has one
    has_other = others[tables.hi] > others[tables.lo]
    flags = tables.kind[own] | tables.form[own] << 2 | has_other * bk.HAS_OTHER
    record = (tables.first, tables.count, tables.lo, tables.hi, tables.unit, flags)
    node = np.stack([*record, tables.word[own], unit_type[own]], axis=1)
    first = np.minimum(tables.lo, len(is_word) - 1)  # the first unit below a node
    word = np.where(is_word[first], tables.word[first], 0)
    n_sounds = np.diff(sound_start)
    alone = (tables.hi - tables.lo == 1) & is_word[first] & (n_sounds[word] == 1)
    says = np.where(alone, unit_type[first] << 2 | tables.form[first], -1)
    part = np.where(alone, np.append(sound_part, 0)[sound_start[word]], 0)
    below_roots = np.arange(len(alone)) >= tables.first[km.MID_ROOT] + tables.count[km.MID_ROOT]
    at_start = tables.hi <= tables.hi[km.LINE_ROOT]
    several = below_roots & ~alone & ~has_other
    deep = [np.flatnonzero(several & at_start), np.flatnonzero(several & ~at_start)]
    # Sieves of the parts of the words below: of each unit first, then of each node's range.
    sieves = np.zeros((2, len(n_sounds) + 1), np.int32)
    heard_by = np.repeat(np.arange(len(n_sounds)), n_sounds)
    one = np.int32(1)
    np.bitwise_or.at(sieves[0], heard_by, one << (sound_part & 31))
    np.bitwise_or.at(sieves[1], heard_by, one << (sound_part >> 5) % 31)
    of_unit = np.append(sieves[:, np.where(is_word, tables.word, -1)], [[0], [0]], axis=1)
    for nodes in deep:
        says[nodes] = -1 - np.arange(len(nodes))
        if len(nodes):
            bounds = np.stack([tables.lo[nodes], tables.hi[nodes]], axis=1).reshape(-1)
            ranges = np.bitwise_or.reduceat(of_unit, bounds, axis=1)
            part[nodes], word[nodes] = ranges[:, ::2]
    child = np.stack([tables.token, says, part, word], axis=1)
    deep_start = np.cumsum([0, *(len(nodes) for nodes in deep)])
    return node, child, deep_start, np.concatenate(deep)


def book_of(
    tables: km.Tables,
    rules: Rules,
    alive: Alive,
    sounds: tuple[np.ndarray, ...],
    n_parts: int,
    n_vocab: int,
) -> np.ndarray:
    """The book of a lattice: see `kernels.book`. sounds: its sound_start, sound_part,
    sound_onset."""
    sound_start, sound_part, sound_onset = sounds
    order, least = order_of(tables, rules)
    n_words = len(rules.bits)
    is_word = tables.kind == km.WORD
    unit_type = np.full(len(is_word), -1, np.int32)
    unit_type[is_word] = rules.type_of[tables.word[is_word]]
    node, child, deep_start, deep = _nodes(tables, unit_type, sound_start, sound_part)
    lowest = int(tables.first[km.LINE_ROOT])
    n_line, n_mid = int(tables.count[km.LINE_ROOT]), int(tables.count[km.MID_ROOT])
    nodes = np.arange(lowest, lowest + n_line + n_mid)
    top = np.repeat(nodes, tables.hi[nodes] - tables.lo[nodes]).astype(np.int32)
    by_token = np.argsort(order, kind="stable")
    place = by_token[np.searchsorted(order[by_token], tables.token[nodes])].astype(np.int32)
    node_at = np.full((2, len(order)), -1, np.int32)
    node_at[0, place[:n_line]] = nodes[:n_line]
    node_at[1, place[n_line:]] = nodes[n_line:]
    many = node_at >= 0
    many[many] = (tables.hi - tables.lo)[node_at[many]] > 1
    slot = np.where(many, np.cumsum(many, axis=1) - 1, -1)
    root_child = np.full((2, n_vocab), -1, np.int32)
    root_child[0, tables.token[nodes[:n_line]]] = nodes[:n_line]
    root_child[1, tables.token[nodes[n_line:]]] = nodes[n_line:]
    units = np.flatnonzero(is_word)
    unit_of = np.full((n_words, 3), -1, np.int32)
    way = np.where(units < tables.hi[km.LINE_ROOT], np.maximum(tables.form[units], 1), 0)
    unit_of[tables.word[units], way] = units
    other_nodes = nodes[n_line:][node[nodes[n_line:], bk.FLAGS] & bk.HAS_OTHER != 0]
    unit_says = np.where(is_word, unit_type << 2 | tables.form, -1 - tables.word)
    ranges = (sound_start[:-1], sound_start[1:])
    heard = np.stack([rules.type_of, alive.crucial_of, *ranges], axis=1)
    pairs = np.stack([rules.type_bits, rules.type_dangling.astype(np.int64)], axis=1)
    shapes, type_shape = np.unique(pairs, axis=0, return_inverse=True)
    type_shape = type_shape.reshape(-1)
    season = rules.season
    odd_state, odd_column = season.odd
    by_column = np.argsort(rules.column, kind="stable")
    # Runs of words of one part and one shape, each in the order of their positions.
    word = np.repeat(np.arange(n_words), np.diff(sound_start))
    shape = type_shape[rules.type_of[word]]
    position = place[top[unit_of[:, 0]] - lowest]
    by = np.lexsort((unit_of[word, 0], position[word], shape, sound_part))
    part, shape, word = sound_part[by], shape[by], word[by]
    own_top = top[unit_of[word, 0]]
    spot = 4 * position[word] + 2 * (tables.unit[own_top] == unit_of[word, 0])
    spot += tables.hi[own_top] - tables.lo[own_top] > 1
    run = part * len(shapes) + shape
    rhyming = np.stack([spot, unit_of[word, 0], rules.type_of[word], sound_onset[by]], axis=1)
    special = alive.special_words()
    tells = np.ones(len(word), bool)
    if not len(special):
        tells = _tells(spot, rhyming[:, 2], part, word, (len(rules.lines) - 1) * rules.most_parts)
    special = special[np.argsort(position[special], kind="stable")]
    scalars = {
        "n_order": len(order),
        "n_others": len(other_nodes),
        "n_special": len(special),
        "n_shapes": len(shapes),
        "n_columns": season.next.shape[1],
        "n_states": len(season.next),
        "n_cuts": rules.n_cuts,
        "n_marks": len(rules.mark_mid),
        "n_lines": len(rules.lines),
        "n_crucial": len(alive.crucial_sets),
        "rhyme": ("off", "perfect", "identical").index(rules.rhyme),
        # Base models end a poem with a line break: then no unit is an END.
        "has_end": int((tables.kind == km.END).any()),
        "n_vocab": n_vocab,
        "n_types": len(rules.type_bits),
        "n_words": n_words,
        "season_done": season.done,
        "n_widest": int(tables.count[lowest:].max(initial=0)),
        "n_slots": int(slot.max(initial=0)) + 1,
    }
    return bk.written(
        scalars,
        {
            **{f: getattr(tables, f) for f in ("kind", "word", "form", "cut_after", "style_next")},
            **{f: getattr(tables, f) for f in ("mark_mid", "mark_close", "mark_sentence")},
            "node": node,
            "child": child,
            "unit_says": unit_says,
            "top": top,
            "heard": heard,
            "deep_start": deep_start,
            "deep": deep,
            "unit_of": unit_of,
            "sound": np.stack([sound_part, sound_onset], axis=1),
            "type_shape": type_shape,
            "type_column": rules.type_column,
            "shape_bits": (shapes[:, 0] & 0xFFFFFFFF).astype(np.uint32).view(np.int32),
            "shape_dangles": shapes[:, 1],
            "order": order,
            "least": least,
            "node_at": node_at,
            "slot": slot,
            "place": place,
            "root_child": root_child,
            "other_nodes": other_nodes,
            "flush": season.flush,
            "to_done": season.flush == season.done,
            "odd_start": _ranges(odd_state, len(season.next)),
            "odd_column": odd_column,
            "odd_next": season.next[odd_state, odd_column],
            "usual_next": season.next[[OWED, season.done]],
            "column_start": _ranges(rules.column[by_column], season.next.shape[1]),
            "column_word": by_column,
            "run_start": _ranges(run, n_parts * len(shapes)),
            "rhyming": rhyming,
            "word_of_rhyme": word,
            "telling_start": _ranges(run[tells], n_parts * len(shapes)),
            "telling": rhyming[tells],
            "special": special,
            "left_after": np.array([sum(rules.lines[i + 1 :]) for i in range(len(rules.lines))]),
            "lines": np.array(rules.lines),
        },
    )


class Boundary:
    """Masks for batches of state rows. Thread-safe: one call at a time.

    Its arrays only grow, or are replaced by new ones: what a caller was given stays as it was.
    """

    def __init__(
        self,
        compiled: Compiled,
        alive: Callable[[], Alive],
    ) -> None:
        """alive: gives the tables of reachability; asked for only where the book does not do."""
        arrays = compiled.arrays
        self.book = arrays["book"]
        self._compiled, self._alive = compiled, alive
        self._entries: kb.Entries
        self._reals = Outlook.reals(compiled.form)
        self._lock = threading.RLock()
        self._n_lines = len(compiled.form.lines)
        self._width = km.ENDS + self._n_lines
        self._team = shared_team()
        shares = min(self._team.threads, _SHARES)
        # The kernels' scratch, and what they say of every share.
        wide = self._width + kf.APART
        self._row = bk.aligned(shares * (wide + -wide % kf.APART), np.int64).reshape(shares, -1)
        self._report = bk.aligned(shares * kf.REPORT, np.int64).reshape(shares, -1)
        self._asked = 0  # when, in ns: masks of many rows
        self._drop = np.zeros(0, np.int32)
        self._extra = np.zeros(0, np.int32)
        self._extra_outlook = np.zeros(0, np.float32)
        self.order = bk.table(self.book, bk.ORDER)
        self._nothing_yet()
        if "used" in arrays:
            self._entries = self._entries._replace(**{n: arrays[n] for n in _KEPT})
            self._position, self._outlook = arrays["position"], arrays["outlook"]
            self._bits = arrays["bits"]

    def prepare(self, row: np.ndarray) -> None:
        """Make the entries that a poem from the state row on can need, the commonest first."""
        line_words = int(self.book[bk.N_SPECIAL]) == 0
        rows = [row]
        for number in range(self._n_lines) if line_words else ():
            rows += self._likely(row, number)
        for state in rows[:_EARLY]:
            self.masks(state[None])

    def _likely(self, row: np.ndarray, line: int) -> Iterator[np.ndarray]:
        """States at boundaries of a line: every number of syllables left, every debt."""
        book, form = self.book, self._compiled.form
        dangles, heard = bk.table(book, bk.SHAPE_DANGLES), bk.heard(book)
        shape = bk.table(book, bk.TYPE_SHAPE)[heard[: int(book[bk.N_WORDS]), bk.TYPE]]
        word = int(np.argmin(dangles[shape]))  # one that may end a line
        length = form.lines[line]
        silent = int(np.argmin(heard[:, bk.TO] - heard[:, bk.FROM]))
        for cut in range(int(book[bk.N_CUTS])):
            for season in {0, int(book[bk.SEASON_DONE])}:
                state = row.copy()
                state[km.LINE], state[km.SEASON], state[km.CUT] = line, season, cut
                state[km.ENDS : km.ENDS + line] = silent
                if line:
                    for style in range(10):
                        state[km.BUDGET], state[km.STYLE] = 1 << length, style
                        yield state.copy()
                state[km.NODE], state[km.LAST], state[km.STYLE] = km.MID_ROOT, word, row[km.STYLE]
                for left in range(length):
                    state[km.BUDGET] = 1 << left
                    yield state.copy()

    def kept(self) -> dict[str, np.ndarray]:
        """The entries made so far, to lie beside the book."""
        with self._lock:
            return {
                **{name: getattr(self._entries, name) for name in _KEPT},
                "units": self._entries.units[: self._entries.used[kb.U_ENTRIES]],
                "without": self._entries.without[: self._entries.used[kb.U_ENTRIES]],
                "position": self._position[: self._entries.used[kb.U_ARENA]],
                "outlook": self._outlook[: self._entries.used[kb.U_ARENA]],
                "bits": self._bits[: self._entries.used[kb.U_ENTRIES]],
            }

    # -- questions --------------------------------------------------------------------------
    def masks(self, states: np.ndarray) -> km.Masks:
        """The masks of state rows, int64 (B, width)."""
        with self._lock:
            entry, start, stop, prefix, drop_start, extra_start = self._filled(states)
            drops, extras = drop_start[-1], extra_start[-1]
            return km.Masks(
                entry,
                start,
                stop,
                self._position,
                self._outlook,
                prefix,
                drop_start,
                self._drop[:drops].copy(),
                extra_start,
                self._extra[:extras].copy(),
                self._extra_outlook[:extras].copy(),
            )

    def fill(self, states: np.ndarray, bitmask: np.ndarray) -> None:
        """The masks of state rows (B, width) as int32 bitmasks (B, >= V/32), in place."""
        with self._lock:
            self._checked(states)
            if len(states) >= _MANY and self._others_are_there():
                self._report[:] = kb.DONE
                self._entries.used[kb.U_LOCK] = 0
                args = self._arguments(states, _unfilled(len(states)))
                self._team.run(kf.share_bitmasks, *args, self._bits, bitmask)
                needed = self._report[:, kf.N_KIND]
                if not needed.any():
                    return
                if (needed == kb.NEED_ROOM).any():
                    self._make_room()
            entry, _, _, _, drop_start, extra_start = self._filled(states)
            kf.write_bitmasks(
                self.book, self._bits, entry, drop_start, self._drop, extra_start, self._extra,
                bitmask,
            )  # fmt: skip

    def hear(self, sounds: tuple[Sound, ...]) -> None:
        """Add the sounds of a line end from outside the lexicon, numbered after all before."""
        with self._lock:
            scalars, tables = bk.opened(self.book)
            names, alive = self._compiled.names, self._alive()
            alive.hear(sounds)
            part = [names.parts.get(part, -1) for part, _ in sounds]
            onset = [names.onsets.setdefault(onset, len(names.onsets)) for _, onset in sounds]
            start = len(tables["sound"]) // 2
            record = [0, int(alive.crucial_of[-1]), start, start + len(sounds)]
            for name, values in (("sound", np.array([part, onset]).T), ("heard", record)):
                more = np.array(values, np.int32).reshape(-1)
                tables[name] = np.concatenate([tables[name], more])
            if len({part for part, _ in sounds}) > self._compiled.rules.most_parts:
                # More than was counted on: every word may tell now.
                tables["telling_start"], tables["telling"] = tables["run_start"], tables["rhyming"]
            wider = len(alive.crucial_sets) != scalars["n_crucial"]
            scalars["n_crucial"] = len(alive.crucial_sets)
            self.book = bk.written(scalars, tables)
            if wider:  # tables that have a column for each set
                self._nothing_yet()

    # -- filling ----------------------------------------------------------------------------
    def _checked(self, states: np.ndarray) -> None:
        if states.ndim != 2 or states.shape[1] != self._width or states.dtype != np.int64:
            raise ValueError(
                f"states are {states.dtype} {states.shape}; they must be int64 "
                f"(B, {self._width}), as `start` makes them"
            )

    def _filled(self, states: np.ndarray) -> Filled:
        """The masks of rows; drops and extras are in the buffers."""
        self._checked(states)
        out = _unfilled(len(states))
        done, forgotten = 0, False
        while (done := kf.fill_masks(done, *self._arguments(states, out))) < len(states):
            if self._full() and not forgotten:
                self.forget()
                done, forgotten = 0, True  # once: a large batch may need more than is kept
            else:
                self._make(self._row[0, : self._width])
        return out

    def _arguments(self, states: np.ndarray, out: Filled) -> tuple[np.ndarray, ...]:
        """What the kernels take, as it is now."""
        entry, start, stop, prefix, drop_start, extra_start = out
        return (
            self.book, self._reals, *self._entries, states, self._row, self._report, entry, start,
            stop, prefix, drop_start, self._drop, extra_start, self._extra, self._extra_outlook,
        )  # fmt: skip

    def _others_are_there(self) -> bool:
        """Are threads awake to share the work with? Sleeping ones take longer to wake than masks
        to make, so they are woken for the next masks where these follow soon."""
        if len(self._row) == 1:
            return False
        before, self._asked = self._asked, time.perf_counter_ns()
        if self._team.awake():
            return True
        if self._asked - before < _SOON:
            self._team.wake()
        return False

    def _full(self) -> bool:
        """Is there too much kept for what the kernel needs next?"""
        used = self._entries.used
        return self._report[0, kf.N_KIND] != kb.NEED_ROOM and bool(
            used[kb.U_LINES] >= _LINES
            or used[kb.U_BASES] >= _BASES
            or used[kb.U_ARENA] + len(self.order) > max(_ARENA, 4 * len(self.order))
        )

    def _make(self, row: np.ndarray) -> None:
        """Make what the kernel needs next."""
        kind, *of = self._report[0, : kf.N_DROPS].tolist()
        if kind == kb.NEED_ROOM:
            self._make_room()
        elif kind == kb.NEED_SOUND:
            self._add_sound(*of)
        elif kind == kb.NEED_LINE:
            self._add_line(*of)
        else:
            self._add_base(row, bool(of[0]), of[1])

    def _make_room(self) -> None:
        """For twice as many drops and extras, and for those of one row in every share."""
        row = 4 * (len(self.order) + int(self.book[bk.N_WIDEST]))
        size = 2 * len(self._drop) + len(self._row) * row
        self._drop = _grown(self._drop, size)
        self._extra = _grown(self._extra, size)
        self._extra_outlook = _grown(self._extra_outlook, size)

    def forget(self) -> None:
        """Start anew with no entries; masks given out stay good."""
        with self._lock:
            self._nothing_yet()
            self._alive().forget()

    def _nothing_yet(self) -> None:
        book, n_order = self.book, len(self.order)
        n_slots = int(book[bk.N_SLOTS])
        n_shapes, n_states = int(book[bk.N_SHAPES]), int(book[bk.N_STATES])
        self._sound_sets: list[Sounds] = [NO_SOUNDS]
        self._sound_numbers = {NO_SOUNDS: 0}
        self._contents: dict[bytes, int] = {}
        self._position = np.zeros(4 * n_order, np.int32)
        self._outlook = np.zeros(4 * n_order, np.float32)
        self._bits = np.zeros((16, -(-int(book[bk.N_VOCAB]) // 32)), np.int32)
        # Positions noted at once: of all words with the sounds of all lines, in two forms.
        heard = bk.heard(book)
        sounds = int((heard[:, bk.TO] - heard[:, bk.FROM]).max(initial=1))
        parts = bk.table(book, bk.RUN_START)[::n_shapes]
        rhyming = self._n_lines * sounds * int(np.diff(parts).max(initial=0))
        noted = 2 * (rhyming + int(book[bk.N_SPECIAL]) + int(book[bk.N_WORDS])) + n_order
        width = 2 * (int(book[bk.N_CUTS]) * n_states + int(book[bk.N_CRUCIAL]))
        self._entries = kb.Entries(
            base=np.zeros((16, kb.B_AFTER + 2 * n_shapes), np.int64),
            codes=np.zeros((16, int(book[bk.N_TYPES])), np.int16),
            hope=np.zeros((16, 4 * n_shapes), np.float64),
            lines=np.zeros((self._n_lines, width), np.int64),
            deep=np.zeros((16, int(np.diff(bk.table(book, bk.DEEP_START)).max())), np.float32),
            units=np.zeros((16, n_slots), np.int16),
            without=np.zeros((16, n_slots), np.float32),
            found=_slots(256),
            patch=_slots(2 * _PATCHES, 8),
            drop=np.zeros(_DROPS + 2 * n_order, np.int32),
            extra=np.zeros(_EXTRAS + 2 * n_order, np.int32),
            extra_outlook=np.zeros(_EXTRAS + 2 * n_order, np.float32),
            used=np.zeros(kb.U_SIZE, np.int64),
            scratch=np.zeros((len(self._row), 2 * noted), np.int64),
        )

    def _room_to_find(self) -> None:
        """Room for one key more."""
        entries = self._entries
        if 2 * entries.used[kb.U_FOUND] >= len(entries.found):
            found = _slots(4 * len(entries.found))
            for a, b, value in entries.found[entries.found[:, 2] >= 0].tolist():
                kb.enter(found, a, b, value)
            self._entries = entries._replace(found=found)

    def _found(self, a: int, b: int, value: int) -> None:
        self._room_to_find()
        kb.enter(self._entries.found, a, b, value)
        self._entries.used[kb.U_FOUND] += 1

    def _add_sound(self, so_far: int, crucial: int) -> None:
        following = self._sound_sets[so_far] | self._alive().crucial_sets[crucial]
        if following not in self._sound_numbers:
            self._sound_sets.append(following)  # first: an interrupt may come between
            self._sound_numbers[following] = len(self._sound_sets) - 1
        self._found(so_far, kb.OF_SOUND | crucial, self._sound_numbers[following])

    def _add_line(self, line: int, sounds: int) -> None:
        """Look a line up in `alive`: what can be finished from inside it after these sounds."""
        alive, entries = self._alive(), self._entries
        ends = self._sound_sets[sounds]
        number = int(entries.used[kb.U_LINES])
        if number == len(entries.lines):
            entries = entries._replace(lines=_grown(entries.lines, 2 * number))
            self._entries = entries
        table = alive.table(line, ends)
        known: dict[Sounds, tuple[int, int]] = {}
        closing, starting = [], []
        for own in alive.crucial_sets:
            after = alive.canonical(ends | own)
            if after not in known:
                closes = starts = 0
                for cut in range(int(self.book[bk.N_CUTS])):
                    for target in (OWED_TARGET, DONE_TARGET):
                        bit = 1 << (2 * cut + target)
                        closes |= bit * alive.can_end(line, target, cut, after)
                        starts |= bit * alive.line_start(line + 1, target, cut, after)
                known[after] = closes, starts
            closing.append(known[after][0])
            starting.append(known[after][1])
        entries.lines[number] = np.concatenate(
            [table.mid.reshape(-1), table.next_word.reshape(-1), closing, starting]
        )
        entries.used[kb.U_LINES] = number + 1
        self._found(sounds, kb.OF_LINE | line, number)

    def _add_base(self, row: np.ndarray, at_start: bool, ready: int) -> None:
        self._room_to_find()
        entries = self._entries
        used = entries.used
        if used[kb.U_BASES] == len(entries.base):
            size = 2 * len(entries.base)
            entries = entries._replace(
                base=_grown(entries.base, size),
                codes=_grown(entries.codes, size),
                hope=_grown(entries.hope, size),
                deep=_grown(entries.deep, size),
            )
            self._entries = entries
        if used[kb.U_ENTRIES] == len(self._bits):
            self._bits = _grown(self._bits, 2 * len(self._bits) + 16)
            entries = self._entries = entries._replace(
                units=_grown(entries.units, len(self._bits)),
                without=_grown(entries.without, len(self._bits)),
            )
        if used[kb.U_ARENA] + len(self.order) > len(self._position):
            # doubled, and an entry more: what comes from the disk is as short as its entries
            size = 2 * len(self._position) + len(self.order)
            self._position = _grown(self._position, size)
            self._outlook = _grown(self._outlook, size)
        number = kb.add_base(
            self.book, self._reals, entries, row, at_start, ready,
            self._position, self._outlook, self._bits,
        )  # fmt: skip
        # One state's entry is often another's.
        begin, stop = entries.base[number, kb.B_START : kb.B_STOP + 1].tolist()
        content = hashlib.sha256()
        for array in (self._position, self._outlook):
            content.update(array[begin:stop].data)
        for array in (entries.units, entries.without):
            content.update(array[entries.base[number, kb.B_ENTRY]].data)
        same = self._contents.setdefault(content.digest(), number)
        if same != number:
            shared = slice(kb.B_ENTRY, kb.B_PREFIX + 1)
            entries.base[number, shared] = entries.base[same, shared]
            used[kb.U_ARENA] = begin
            used[kb.U_ENTRIES] -= 1


def _unfilled(n: int) -> Filled:
    """Room for the masks of n rows."""
    entry, prefix = np.empty(n, np.int32), np.empty(n, np.int32)
    start, stop = np.empty(n, np.int64), np.empty(n, np.int64)
    return entry, start, stop, prefix, np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)


def _slots(size: int, width: int = 3) -> np.ndarray:
    """A table for `kernels.boundary.find_key`, empty."""
    table = bk.aligned(size * width, np.int64).reshape(size, width)
    table[:] = -1
    return table


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    """A longer copy, zeros behind."""
    out = np.zeros((size, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out
