"""A model's weights quantised to int8, and kept on disk so that quantising is done once.

Weights are quantised by output channel (`kernels.int8`). The file is mapped, not read, and known by
what the checkpoint's files hold, not by their names. Imports torch only where a checkpoint's format
needs it. Called by `int8_engine`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import cache, checkpoint
from .checkpoint_common import check_finite
from .file_hash import file_hash
from .kernels import decoder as kd
from .kernels.int8 import LARGEST, PANEL, pack, padded, quantize_weight
from .model_config import GPTConfig
from .tokenizer import Tokenizer

VERSION = 3  # of the quantiser and of the arrays on disk; raise it when either changes
KIND = "int8"
KEPT = 4  # models kept on disk: those used last
_MLPS = {"gelu": kd.GELU, "gelu_tanh": kd.GELU_TANH, "swiglu": kd.SWIGLU}
_NORMS = {"layernorm": kd.LAYERNORM, "rmsnorm": kd.RMSNORM}
Array = npt.NDArray[Any]


class Int8Model:
    """Quantised weights and the shape they belong to; frozen once made."""

    def __init__(
        self, shape: kd.Shape, weights: kd.Weights, head: Array, head_scales: Array, packed: Array
    ) -> None:
        """head: uint8 (V', K') codes of the output layer, row by row; its scales (V',); packed:
        the same as `kernels.int8.pack` lays them."""
        self.shape, self.weights = shape, weights
        self.head, self.head_scales, self.packed = head, head_scales, packed

    @classmethod
    def quantize(cls, config: GPTConfig, state: Mapping[str, Any]) -> Int8Model:
        """From named arrays (nanoGPT's names, torch's layout), one matrix at a time."""
        shape = _shape(config)
        c, d, inner = config.n_embd, config.width, shape.inner
        if max(inner, shape.width, padded(shape.heads * d)) > LARGEST:
            raise ValueError(
                f"a layer has more than {LARGEST} inputs, too many for int8; use dtype='bfloat16'"
            )

        def array(name: str) -> Array:
            values = np.asarray(state[name], np.float32)
            check_finite(name, values)
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
        states = np.zeros((1, shape.width), np.float32)
        if config.n_states:
            table = state_table(config, array("transformer.wse.weight"))
            states = np.pad(table, ((0, 0), (0, shape.width - c)))
        weights = kd.Weights(
            np.concatenate(codes), code_at, np.concatenate(scales),
            np.concatenate(biases).astype(np.float32), scale_at, rows_of, columns_of, norms,
            embedding, embedding_scales, positions.astype(np.float32), cos, sin, states,
        )  # fmt: skip
        return cls(shape, weights, head, head_scales, pack(head))

    @classmethod
    def from_arrays(cls, config: GPTConfig, arrays: Mapping[str, Array]) -> Int8Model:
        """Undoes `arrays`."""
        weights = kd.Weights(*(arrays[name] for name in kd.Weights._fields))
        head, scales = weights.embedding, weights.embedding_scales
        if not config.tied:
            head, scales = arrays["head"], arrays["head_scales"]
        return cls(_shape(config), weights, head, scales, arrays["packed"])

    def arrays(self) -> dict[str, Array]:
        """All that `from_arrays` needs beside the configuration, by name."""
        found = {**self.weights._asdict(), "packed": self.packed}
        if self.head is not self.weights.embedding:
            found.update(head=self.head, head_scales=self.head_scales)
        return found

    def nbytes(self) -> int:
        """Bytes of all weights, a tied output layer once."""
        own = sum(array.nbytes for array in self.weights)
        return own if self.head is self.weights.embedding else own + self.head.nbytes


def state_table(config: GPTConfig, weight: Array) -> Array:
    """The vector of every lattice state, as `model.StateEmbedding` makes it: float32 (n_states,
    C)."""
    sizes = (config.state_lines, config.state_lines + config.state_left)
    line, left, inside = np.split(weight, sizes)
    inside = np.concatenate([np.zeros_like(inside), inside])  # (2, C)
    every = line[:, None, None] + left[None, :, None] + inside  # (lines, left, 2, C)
    return np.concatenate([np.zeros_like(inside[:1]), every.reshape(-1, inside.shape[1])])


def _paired(rows: Array, inner: int) -> Array:
    """Rows of gate, then of up, to half a panel of the one beside half a panel of the other."""
    half = PANEL // 2
    size = len(rows) // 2
    spare = [(0, inner - size)] + [(0, 0)] * (rows.ndim - 1)
    gate, up = (np.pad(part, spare) for part in (rows[:size], rows[size:]))
    shape = (inner // half, half, *rows.shape[1:])
    both = np.stack([gate.reshape(shape), up.reshape(shape)], axis=1)
    return np.ascontiguousarray(both.reshape(2 * inner, *rows.shape[1:]))


def _shape(config: GPTConfig) -> kd.Shape:
    return kd.Shape(
        config.n_layer, padded(config.n_embd), config.n_embd, config.n_head, config.kv_heads,
        config.width, padded(config.inner), _NORMS[config.norm], _MLPS[config.mlp],
        int(config.rope_theta is not None), float(config.norm_eps),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A quantised model, and what an engine must know beside it."""

    model: Int8Model
    config: GPTConfig
    tokenizer: Tokenizer
    name: str
    prompt_style: str | None


def load(name_or_path: str | os.PathLike[str]) -> Loaded:
    """The quantised model of a name or path: out of the cache, else quantised and put there."""
    source = checkpoint.find(name_or_path)
    key = _key(source)
    kept = cache.load_arrays(KIND, key)
    if kept is not None:
        said = json.loads(kept["config"].tobytes())
        style, base = said.pop("prompt_style"), said.pop("base")
        config = GPTConfig(**said)
        tokenizer = checkpoint.tokenizer_of(source, base)
        checkpoint.check_tokenizer(config, tokenizer, str(source.path))
        return Loaded(Int8Model.from_arrays(config, kept), config, tokenizer, source.name, style)
    whole = checkpoint.load(name_or_path)
    model = Int8Model.quantize(whole.config, whole.arrays)
    more = {"prompt_style": whole.prompt_style, "base": whole.base}
    said = {**dataclasses.asdict(whole.config), **more}
    settings = json.dumps(said).encode()
    arrays = {"config": np.frombuffer(settings, np.uint8), **model.arrays()}
    cache.save_arrays(KIND, key, arrays, keep=KEPT)
    return Loaded(model, whole.config, whole.tokenizer, whole.name, whole.prompt_style)


def _key(source: checkpoint.Source) -> str:
    """Of what the checkpoint's files hold, and of how it is read and quantised."""
    contents = [(file.name, file_hash(file)) for file in source.files]
    return hashlib.sha256(repr((VERSION, source.kind, contents)).encode()).hexdigest()
