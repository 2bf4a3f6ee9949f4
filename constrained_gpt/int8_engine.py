"""The engine on bytes: a model quantised to int8 on the processor, with the calls of `Engine`.

Weights are quantised by output channel (`int8_model`), activations by row as they come
(`kernels.int8`); the forward pass is one compiled function (`kernels.decoder`). Uses no torch. Made
by `Engine.from_pretrained(..., dtype="int8")`; the decoders see no difference.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .engine import INT8, WeighedEngine
from .engine_calls import checked_prompt, checked_slice, checked_states, checked_tokens
from .int8_model import Int8Model, load
from .kernels import decoder as kd
from .kernels._simd import tile_layout
from .kernels._team import Team, shared_team
from .kernels.attention import QUERIES, score_room
from .kernels.int8 import LANES, PANEL, ROWS, ZERO, pack, padded
from .kernels.log_norm import sequence
from .prefix_cache import PrefixCache, prompt_key
from .slot_cache import Prefix, SlotCache, room_for_prefix
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

Array = npt.NDArray[Any]


class Int8Engine(WeighedEngine):
    """`Engine`'s calls on an `Int8Model`: ids in, logits out. Not bound to one batch; one call at
    a time (calls from several threads wait for each other)."""

    dtype = INT8
    device = "cpu"

    def __init__(
        self,
        model: Int8Model,
        tokenizer: Tokenizer,
        name: str,
        *,
        n_vocab: int,
        max_positions: int,
        threads: int | None = None,
        state_sizes: tuple[int, int] = (0, 0),
        prompt_style: str | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.n_vocab = n_vocab
        self.max_positions = max_positions
        self.state_sizes = state_sizes
        self.n_states = len(model.weights.states) if state_sizes[0] else 0
        self.prompt_style = prompt_style
        self._team = shared_team() if threads is None else Team(threads)
        self._layout = tile_layout()
        self._room: kd.Room | None = None
        self._lock = threading.Lock()  # the room is one
        self._prefixes: PrefixCache[Prefix] = PrefixCache()
        self._packed: dict[tuple[bytes, bool], tuple[Array, Array]] = {}
        self._sums = np.empty(0, np.float32)

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> Int8Engine:
        """An engine around the quantised weights of a name or path, kept on disk."""
        found = load(name_or_path)
        return cls(
            found.model, found.tokenizer, found.name, n_vocab=found.config.vocab_size,
            max_positions=found.config.block_size,
            state_sizes=(found.config.state_lines, found.config.state_left),
            prompt_style=found.prompt_style,
        )  # fmt: skip

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, threads: int | None = None) -> Int8Engine:
        """An engine around an already loaded checkpoint. threads: None for one a processor."""
        config = checkpoint.config
        return cls(
            Int8Model.quantize(config, checkpoint.arrays), checkpoint.tokenizer,
            checkpoint.name, n_vocab=config.vocab_size, max_positions=config.block_size,
            threads=threads, state_sizes=(config.state_lines, config.state_left),
            prompt_style=checkpoint.prompt_style,
        )  # fmt: skip

    # -- the calls of decoding --------------------------------------------------------------
    def prefill(
        self, ids: Sequence[int], batch: int, max_new: int, states: Array | None = None
    ) -> tuple[SlotCache, npt.NDArray[np.float32]]:
        """As `Engine.prefill`: the cache for `batch` rows, and the logits after the prompt."""
        prompt = checked_prompt(self, ids, batch, max_new)
        known = self._states(states, prompt)
        key = prompt_key(prompt, states)
        read = self._prefixes.get(key)
        if read is not None:
            return SlotCache(read[0], int(batch), int(max_new)), read[1]
        shape = self.model.shape
        prefix = room_for_prefix(shape.layers, shape.kv_heads, shape.head, prompt.size)
        cache = SlotCache(prefix, int(batch), int(max_new))
        with self._lock:
            begun = self._prefixes.begun(key)
            before = 0
            if begun is not None:  # a prompt that begins alike: that part is as it would be here
                before = min(begun[1], prompt.size - 1)
                for own, other in zip(prefix, begun[0], strict=True):
                    own[:, :, :before] = other[:, :, :before]
            rest = prompt.size - before
            room = self._room_for(rest, cache.positions)
            slots = np.zeros(rest, np.int64)
            self._forward(cache, prompt[before:], known[before:], slots, slots, before, True, room)
            logits = self._logits(room, np.array([rest - 1]))[0]
        self._prefixes.put(key, prefix, logits, sum(part.nbytes for part in prefix))
        return cache, logits

    def decode_step(
        self, cache: SlotCache, tokens: npt.NDArray[np.int64], states: Array | None = None
    ) -> npt.NDArray[Any]:
        """Give every row its next token, (B,); the logits after it, float32 (B, n_vocab)."""
        self._check(cache)
        new = checked_tokens(self, cache, tokens)
        known = self._states(states, new)
        with self._lock:
            first, of = cache.part(new * max(self.n_states, 1) + known)
            room = self._room_for(len(first), cache.positions)
            self._forward(
                cache, new[first], known[first], cache.slots[first], cache.lengths[first],
                cache.prefix_length, False, room,
            )  # fmt: skip
            cache.advance()
            return self._logits(room, of)

    # -- what they share --------------------------------------------------------------------
    def _check(self, cache: SlotCache) -> None:
        """Is this a cache of such a model? Its arrays are read and written unchecked."""
        shape = self.model.shape
        sizes = shape.layers, shape.kv_heads, -(-shape.head // LANES) * LANES
        if isinstance(cache, SlotCache):
            layers, kv_heads, _, wide = cache.arrays.prefix_k.shape
            if (layers, kv_heads, wide) == sizes:
                return
        raise ValueError("the cache is another model's; prefill with this engine")

    def _states(self, states: Array | None, tokens: npt.NDArray[np.int64]) -> Array:
        known = checked_states(self, states, len(tokens))
        return np.zeros(len(tokens), np.int64) if known is None else known

    def _slice(
        self, cache: SlotCache, tokens: Array, asked: tuple[Array, ...], states: Array | None,
        weighed: bool,
    ) -> tuple[Array, Array, Array]:  # fmt: skip
        """The norms are as `kernels.log_norm` sums them in the `sequence` of the order (no token
        twice in it), as the logits are made; those that nobody asked for are not written out."""
        self._check(cache)
        new = checked_tokens(self, cache, tokens)
        known = self._states(states, new)
        order, need, extra_start, extra_token = checked_slice(self, cache.batch, *asked)
        model = self.model
        extra = np.empty(len(extra_token), np.float32)
        with self._lock:
            first, of = cache.part(new * max(self.n_states, 1) + known)
            many = len(first)
            codes, scales = self._output_layer(order, every=weighed)
            wide = padded(int(need.max(initial=0)))
            if cache.slices.size < cache.batch * wide:
                cache.slices = np.empty(cache.batch * wide, np.float32)
            out = cache.slices[: cache.batch * wide].reshape(cache.batch, wide)
            if many < cache.batch:  # as many as any that is like it
                most = np.zeros(many, np.int64)
                np.maximum.at(most, of, need)
                need = most
            by_need = np.argsort(-need, kind="stable")
            norms = np.empty(many if weighed else 0)
            room = self._room_for(many, cache.positions)
            self._run(
                kd.forward_slice, model.shape, model.weights, cache.arrays, new[first],
                known[first], cache.slots[first], cache.prefix_length, cache.lengths[first], room,
                by_need, need[by_need], *_copies(by_need, of), codes, scales, out, self.n_vocab,
                self._panels(many, len(scales)), norms, model.head, model.head_scales,
                extra_start, extra_token, of, extra,
            )  # fmt: skip
            cache.advance()
        if weighed:
            by_row = np.empty(many)
            by_row[by_need] = norms
            norms = by_row[of]
        return out, extra, norms

    def _forward(
        self, cache: SlotCache, tokens: Array, states: Array, slots: Array, filled: Array,
        before: int, prefill: bool, room: kd.Room,
    ) -> None:  # fmt: skip
        model = self.model
        self._run(
            kd.forward, model.shape, model.weights, cache.arrays, tokens, states, slots, before,
            filled, prefill, room,
        )  # fmt: skip

    def _logits(self, room: kd.Room, of: Array) -> npt.NDArray[np.float32]:
        """Those of all tokens: row b's from the bytes of row of[b], each of which is somebody's."""
        codes, scales = self._output_layer(None)
        rows = np.unique(of)
        need = np.full(len(rows), len(scales), np.int64)
        out = np.empty((len(of), len(scales)), np.float32)
        self._run(
            kd.head_logits, codes, scales, room, rows, need, *_copies(rows, of), out, len(scales),
            self._panels(0, 0), np.empty(0),
        )  # fmt: skip
        return out[:, : self.n_vocab]

    def _panels(self, rows: int, size: int) -> npt.NDArray[np.float32]:
        """Room for what `kernels.decoder.head_logits` sums, used again."""
        wanted = 2 * (size // PANEL) * padded(rows)
        if self._sums.size < wanted:
            self._sums = np.empty(wanted, np.float32)
        return self._sums[:wanted].reshape(2, size // PANEL, padded(rows))

    def _run(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._team.run(function, *args)
        except BaseException:
            self._room = None  # a thread that was left behind may still write there
            raise

    def _output_layer(
        self, order: npt.NDArray[np.int32] | None, *, every: bool = False
    ) -> tuple[Array, Array]:
        """The output layer packed, its rows in `order` (None: as they are), the others after them
        if `every`; made once."""
        if order is None:
            return self.model.packed, self.model.head_scales
        key = order.tobytes(), every
        found = self._packed.get(key)
        if found is None:
            rows = sequence(order, self.n_vocab) if every else order
            head, scales = self.model.head, self.model.head_scales
            head = np.pad(head[rows], ((0, -len(rows) % PANEL), (0, 0)), constant_values=ZERO)
            found = pack(head), np.pad(scales[rows], (0, -len(rows) % PANEL))
            while len(self._packed) >= 4:
                self._packed.pop(next(iter(self._packed)))
            self._packed[key] = found
        return found

    def _room_for(self, rows: int, positions: int) -> kd.Room:
        room = self._room
        model, threads = self.model, self._team.threads
        group = model.shape.heads // model.shape.kv_heads
        chunk = max(1, QUERIES // group)  # rows at a time
        scores = chunk * group * score_room(positions)
        if room is not None and room.x.shape[0] >= rows and room.scores.shape[1] >= scores:
            return room
        matrices = model.weights
        wide = int(max(matrices.rows_of.max(), matrices.columns_of.max()))
        columns = int(matrices.columns_of.max())
        rows = padded(rows) if rows > 8 else rows
        head = -(-model.shape.head // LANES) * LANES
        self._room = room = kd.Room(
            x=np.zeros((rows, model.shape.width), np.float32),
            y=np.zeros((rows, wide), np.float32),
            bytes=np.zeros((2 * rows, columns), np.int8),
            scales=np.zeros(rows, np.float32),
            sums=np.zeros(rows, np.int32),
            acc=np.zeros((threads, ROWS * PANEL), np.int32),
            panel=np.zeros((threads, rows * PANEL), np.float32),
            scores=np.zeros((threads, scores), np.float32),
            queries=np.zeros((threads, chunk * group * head), np.float32),
            found=np.zeros((threads, chunk * group * head), np.float32),
            places=np.zeros((threads, 2 * chunk), np.int64),
            picked=np.zeros((2 * rows, columns), np.int8),
            picked_scales=np.zeros(rows, np.float32),
            picked_sums=np.zeros(rows, np.int32),
            layout=self._layout,
        )
        return room


def _copies(rows: Array, of: Array) -> tuple[Array, Array]:
    """Where the logits of rows[i] belong: (start, into), into[start[i] : start[i + 1]] being all b
    with of[b] == rows[i]."""
    place = np.empty(int(of.max(initial=-1)) + 1, np.int64)
    place[rows] = np.arange(len(rows))
    into = np.argsort(place[of], kind="stable")
    return np.searchsorted(place[of][into], np.arange(len(rows) + 1)), into
