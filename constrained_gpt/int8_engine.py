"""The engine on bytes: a model quantised to int8 on the processor, with the calls of `Engine`.

Weights are quantised by output channel, activations by row as they come (`kernels.int8`); the
forward pass is one compiled function (`kernels.decoder`). Uses torch only to read a checkpoint.
Made by `Engine.from_pretrained(..., dtype="int8")`; the decoders see no difference.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .engine_calls import checked_prompt, checked_slice, checked_tokens
from .kernels import decoder as kd
from .kernels._simd import tile_layout
from .kernels._team import Team, shared_team
from .kernels.int8 import LARGEST, PANEL, ROWS, pack, padded, quantize_weight
from .model_config import GPTConfig
from .slot_cache import SlotCache
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .checkpoint import Checkpoint

_MLPS = {"gelu": kd.GELU, "gelu_tanh": kd.GELU_TANH, "swiglu": kd.SWIGLU}
_NORMS = {"layernorm": kd.LAYERNORM, "rmsnorm": kd.RMSNORM}
Array = npt.NDArray[Any]


class Int8Model:
    """Quantised weights and the shape they belong to; frozen after `quantize`."""

    def __init__(
        self, shape: kd.Shape, weights: kd.Weights, head: Array, head_scales: Array
    ) -> None:
        """head: uint8 (V', K') codes of the output layer, row by row; its scales (V',)."""
        self.shape, self.weights = shape, weights
        self.head, self.head_scales = head, head_scales

    @classmethod
    def quantize(cls, config: GPTConfig, state: Mapping[str, Any]) -> Int8Model:
        """From named tensors (nanoGPT's names, torch's layout), one matrix at a time."""
        c, heads, kv, d = config.n_embd, config.n_head, config.kv_heads, config.width
        inner = padded(config.inner)
        if max(inner, padded(c), padded(heads * d)) > LARGEST:
            raise ValueError(
                f"a layer has more than {LARGEST} inputs, too many for int8; use dtype='bfloat16'"
            )
        shape = kd.Shape(
            config.n_layer, padded(c), c, heads, kv, d, inner, _NORMS[config.norm],
            _MLPS[config.mlp], int(config.rope_theta is not None), float(config.norm_eps),
        )  # fmt: skip

        def array(name: str) -> Array:
            values = np.asarray(state[name].float().numpy())
            if not np.isfinite(values.min()) or not np.isfinite(values.max()):
                raise ValueError(
                    f"tensor {name} holds numbers that are not finite; the checkpoint is damaged: "
                    "fetch it again"
                )
            return values

        def bias(name: str, size: int) -> Array:
            return array(name) if name in state else np.zeros(size, np.float32)

        codes, scales, biases = [], [], []
        sizes = (config.n_layer, 4)
        code_at, scale_at = np.zeros(sizes, np.int64), np.zeros(sizes, np.int64)
        rows_of, columns_of = np.zeros(sizes, np.int64), np.zeros(sizes, np.int64)
        at_code = at_scale = 0
        norms = np.zeros((2 * config.n_layer + 1, 2, shape.width), np.float32)
        for layer in range(config.n_layer):
            start = f"transformer.h.{layer}."
            for which, name in enumerate(("ln_1", "ln_2")):
                norms[2 * layer + which, 0, :c] = array(f"{start}{name}.weight")
                norms[2 * layer + which, 1, :c] = bias(f"{start}{name}.bias", c)
            for matrix, name in enumerate(("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")):
                weight = array(f"{start}{name}.weight")
                shift = bias(f"{start}{name}.bias", len(weight))
                if matrix == kd.MLP_IN and config.mlp == "swiglu":
                    weight, shift = _paired(weight, inner), _paired(shift, inner)
                matrix_codes, matrix_scales = quantize_weight(weight)
                code_at[layer, matrix], scale_at[layer, matrix] = at_code, at_scale
                rows_of[layer, matrix], columns_of[layer, matrix] = matrix_codes.shape
                codes.append(pack(matrix_codes))
                scales.append(matrix_scales)
                biases.append(np.pad(shift, (0, len(matrix_scales) - len(shift))))
                at_code += codes[-1].size
                at_scale += len(matrix_scales)
        norms[-1, 0, :c] = array("transformer.ln_f.weight")
        norms[-1, 1, :c] = bias("transformer.ln_f.bias", c)
        embedding, embedding_scales = quantize_weight(array("transformer.wte.weight"))
        head, head_scales = embedding, embedding_scales
        if not config.tied:
            head, head_scales = quantize_weight(array("lm_head.weight"))
        positions = np.zeros((1, shape.width), np.float32)
        cos = sin = np.zeros((1, 1), np.float32)
        if config.rope_theta is None:
            table = array("transformer.wpe.weight")
            positions = np.pad(table, ((0, 0), (0, shape.width - c)))
        else:
            half = np.arange(0, d, 2, dtype=np.float32)
            frequency = (1.0 / np.float64(config.rope_theta) ** (half / d)).astype(np.float32)
            angle = np.outer(np.arange(config.block_size, dtype=np.float32), frequency)
            cos, sin = np.cos(angle), np.sin(angle)
        weights = kd.Weights(
            np.concatenate(codes), code_at, np.concatenate(scales),
            np.concatenate(biases).astype(np.float32), scale_at, rows_of, columns_of, norms,
            embedding, embedding_scales, positions.astype(np.float32), cos, sin,
        )  # fmt: skip
        return cls(shape, weights, head, head_scales)

    def nbytes(self) -> int:
        """Bytes of all weights, a tied output layer once."""
        own = sum(array.nbytes for array in self.weights)
        return own if self.head is self.weights.embedding else own + self.head.nbytes


def _paired(rows: Array, inner: int) -> Array:
    """Rows of gate, then of up, to half a panel of the one beside half a panel of the other."""
    half = PANEL // 2
    size = len(rows) // 2
    spare = [(0, inner - size)] + [(0, 0)] * (rows.ndim - 1)
    gate, up = (np.pad(part, spare) for part in (rows[:size], rows[size:]))
    shape = (inner // half, half, *rows.shape[1:])
    both = np.stack([gate.reshape(shape), up.reshape(shape)], axis=1)
    return np.ascontiguousarray(both.reshape(2 * inner, *rows.shape[1:]))


def _pairs(rows: Array) -> Array:
    """Where the two rows of bytes of each row lie."""
    return np.stack([2 * rows, 2 * rows + 1], axis=1).reshape(-1)


class Int8Engine:
    """`Engine`'s calls on an `Int8Model`: ids in, logits out. Not bound to one batch; one call at
    a time (calls from several threads wait for each other)."""

    dtype = "int8"
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
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.n_vocab = n_vocab
        self.max_positions = max_positions
        self._team = shared_team() if threads is None else Team(threads)
        self._layout = tile_layout()
        self._room: kd.Room | None = None
        self._lock = threading.Lock()  # the room is one
        self._packed: dict[bytes | None, tuple[Array, Array]] = {}

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, *, threads: int | None = None) -> Int8Engine:
        """An engine around an already loaded checkpoint. threads: None for one a processor."""
        config = checkpoint.config
        return cls(
            Int8Model.quantize(config, checkpoint.state_dict), checkpoint.tokenizer,
            checkpoint.name, n_vocab=config.vocab_size, max_positions=config.block_size,
            threads=threads,
        )  # fmt: skip

    # -- the calls of decoding --------------------------------------------------------------
    def prefill(
        self, ids: Sequence[int], batch: int, max_new: int
    ) -> tuple[SlotCache, npt.NDArray[np.float32]]:
        """As `Engine.prefill`: the cache for `batch` rows, and the logits after the prompt."""
        prompt = checked_prompt(self, ids, batch, max_new)
        shape = self.model.shape
        cache = SlotCache(
            shape.layers, shape.kv_heads, shape.head, prompt.size, int(batch), int(max_new)
        )
        with self._lock:
            room = self._room_for(prompt.size, cache.positions)
            slots = np.zeros(prompt.size, np.int64)
            self._forward(cache, prompt, slots, np.zeros(2, np.int64), True, room)
            return cache, self._logits(room, np.array([prompt.size - 1]))[0]

    def decode_step(self, cache: SlotCache, tokens: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Give every row its next token, (B,); the logits after it, float32 (B, n_vocab)."""
        new = checked_tokens(self, cache, tokens)
        with self._lock:
            return self._logits(self._step(cache, new), np.arange(cache.batch))

    def decode_slice(
        self,
        cache: SlotCache,
        tokens: npt.NDArray[np.int64],
        order: npt.NDArray[np.int32],
        prefix: npt.NDArray[np.integer],
        extra_start: npt.NDArray[np.int64],
        extra_token: npt.NDArray[np.integer],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """As `Engine.decode_slice`: row b's logits of order[:prefix[b]], and of single tokens."""
        new = checked_tokens(self, cache, tokens)
        order, need, extra_start, extra_token = checked_slice(
            self, cache.batch, order, prefix, extra_start, extra_token
        )
        model = self.model
        by_need = np.argsort(-need, kind="stable")
        extra = np.empty(len(extra_token), np.float32)
        with self._lock:
            room = self._step(cache, new)
            codes, scales = self._output_layer(order)
            ranked = self._head(room, by_need, need[by_need], codes, scales)
            self._run(
                kd.token_logits, model.head, model.head_scales, room, extra_start, extra_token,
                extra,
            )  # fmt: skip
        out = np.empty_like(ranked)
        out[by_need] = ranked
        return out, extra

    # -- what they share --------------------------------------------------------------------
    def _step(self, cache: SlotCache, tokens: npt.NDArray[np.int64]) -> kd.Room:
        shape = self.model.shape
        sizes = shape.layers, shape.kv_heads, shape.head
        if not isinstance(cache, SlotCache) or cache.arrays.prefix_k.shape[:3] != sizes:
            raise ValueError("the cache is another model's; prefill with this engine")
        room = self._room_for(cache.batch, cache.positions)
        position = np.array([cache.prefix_length, cache.length], np.int64)
        self._forward(cache, tokens, cache.slots, position, False, room)
        cache.advance()
        return room

    def _forward(
        self, cache: SlotCache, tokens: Array, slots: Array, position: Array, prefill: bool,
        room: kd.Room,
    ) -> None:  # fmt: skip
        model = self.model
        self._run(
            kd.forward, model.shape, model.weights, cache.arrays, tokens, slots, position,
            prefill, room,
        )  # fmt: skip

    def _logits(self, room: kd.Room, rows: Array) -> npt.NDArray[np.float32]:
        codes, scales = self._output_layer(None)
        need = np.full(len(rows), len(scales), np.int64)
        return self._head(room, rows, need, codes, scales)[:, : self.n_vocab]

    def _head(
        self, room: kd.Room, rows: Array, need: Array, codes: Array, scales: Array
    ) -> npt.NDArray[np.float32]:
        out = np.empty((len(rows), padded(int(need.max(initial=0)))), np.float32)
        self._run(
            kd.head_logits, codes, scales, np.zeros_like(scales), room.bytes[_pairs(rows)],
            room.scales[rows], room.sums[rows], need, room.acc, room.panel, room.layout, out,
        )  # fmt: skip
        return out

    def _run(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._team.run(function, *args)
        except BaseException:
            self._room = None  # a thread that was left behind may still write there
            raise

    def _output_layer(self, order: npt.NDArray[np.int32] | None) -> tuple[Array, Array]:
        """The output layer packed, its rows in `order` (None: as they are), made once."""
        key = None if order is None else order.tobytes()
        found = self._packed.get(key)
        if found is None:
            head, scales = self.model.head, self.model.head_scales
            if order is not None:
                head = np.pad(head[order], ((0, -len(order) % PANEL), (0, 0)), constant_values=128)
                scales = np.pad(scales[order], (0, -len(order) % PANEL))
            found = pack(head), scales
            while len(self._packed) >= 4:
                self._packed.pop(next(iter(self._packed)))
            self._packed[key] = found
        return found

    def _room_for(self, rows: int, positions: int) -> kd.Room:
        room = self._room
        if room is not None and room.x.shape[0] >= rows and room.scores.shape[1] >= positions:
            return room
        model, threads = self.model, self._team.threads
        matrices = model.weights
        wide = int(max(matrices.rows_of.max(), matrices.columns_of.max()))
        columns = int(matrices.columns_of.max())
        rows = padded(rows) if rows > 8 else rows
        self._room = room = kd.Room(
            x=np.zeros((rows, model.shape.width), np.float32),
            y=np.zeros((rows, wide), np.float32),
            bytes=np.zeros((2 * rows, columns), np.int8),
            scales=np.zeros(rows, np.float32),
            sums=np.zeros(rows, np.int32),
            acc=np.zeros((threads, ROWS * PANEL), np.int32),
            panel=np.zeros((threads, rows * PANEL), np.float32),
            scores=np.zeros((threads, positions), np.float32),
            query=np.zeros((threads, 4 * padded(model.shape.head)), np.float32),
            layout=self._layout,
        )
        return room

    def __repr__(self) -> str:
        return f"Engine({self.name!r}, n_vocab={self.n_vocab}, device=cpu, dtype=int8)"
