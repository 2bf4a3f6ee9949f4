"""What every checkpoint format comes to: a configuration, named arrays, a tokenizer, a name.

Knows nanoGPT's tensor names and shapes; knows no file format, and imports torch only for who asks
for tensors. Called by the readers of the formats (`checkpoint_gguf`, `checkpoint_hf`,
`checkpoint_nanogpt`), which `checkpoint.load` chooses from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .model_config import GPTConfig
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = npt.NDArray[np.float32]
KEY = "constrained_gpt"  # what other programs do not know of a model stands under it
STATES = "transformer.wse.weight"
_NUMPY = {"F64", "F32", "F16"}  # types of safetensors that numpy has


class CheckpointError(ValueError):
    """A checkpoint cannot be used; one line that ends with what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """A model as loaded: float32 arrays under nanoGPT's names, in the layout of torch's Linear. A
    tied head is there under both of its names. prompt_style: how it was trained to be asked
    (`prompts.STYLES`); None: as its tokenizer suggests. base: the model whose tokenizer it says it
    uses, where its format has none of its own."""

    config: GPTConfig
    arrays: Mapping[str, FloatArray]
    tokenizer: Tokenizer
    name: str
    prompt_style: str | None = None
    base: str | None = None

    @property
    def state_dict(self) -> dict[str, Tensor]:
        """The arrays as torch's tensors, on the same memory; a tied head is one tensor."""
        import torch

        made = {id(array): torch.as_tensor(array) for array in self.arrays.values()}
        return {name: made[id(array)] for name, array in self.arrays.items()}


def checked(
    config: GPTConfig,
    state: Mapping[str, FloatArray],
    tokenizer: Tokenizer,
    name: str,
    source: str,
    prompt_style: str | None = None,
) -> Checkpoint:
    """A Checkpoint whose arrays are exactly those the configuration asks for, or a
    CheckpointError."""
    if config.n_layer > len(state):
        raise CheckpointError(
            f"{source}: {len(state)} tensors cannot make {config.n_layer} layers; the "
            "configuration is "
            "damaged or another model's: save or fetch both again"
        )
    wanted = expected_shapes(config)
    missing = [n for n in wanted if n not in state]
    if missing:
        raise CheckpointError(
            f"{source}: {len(missing)} of {len(wanted)} tensors are missing, {missing[0]} among "
            "them; "
            "the file is incomplete or its configuration is another model's: save or fetch it again"
        )
    for n, shape in wanted.items():
        if tuple(state[n].shape) != shape:
            raise CheckpointError(
                f"{source}: tensor {n} has shape {tuple(state[n].shape)}, its configuration asks "
                "for "
                f"{shape}; the weights and the configuration do not belong together: fetch both "
                "again"
            )
    check_tokenizer(config, tokenizer, source)
    arrays = {n: state[n] for n in wanted}
    if config.tied:
        arrays["lm_head.weight"] = arrays["transformer.wte.weight"]
    return Checkpoint(config, arrays, tokenizer, name, prompt_style)


def check_finite(name: str, values: npt.NDArray[np.floating]) -> None:
    """ValueError for a tensor that holds nan or an infinity: one is enough to spoil all poems."""
    if values.size and not (np.isfinite(values.min()) and np.isfinite(values.max())):
        raise ValueError(
            f"tensor {name} holds numbers that are not finite; the checkpoint is damaged: "
            "fetch it again"
        )


def check_tokenizer(config: GPTConfig, tokenizer: Tokenizer, source: str) -> None:
    """CheckpointError where the tokenizer knows tokens that the model does not, or no line end."""
    if tokenizer.n_vocab > config.vocab_size:
        raise CheckpointError(
            f"{source}: the tokenizer {tokenizer.name!r} has {tokenizer.n_vocab} tokens, the "
            "model only "
            f"{config.vocab_size}; give the tokenizer that the model was trained with"
        )
    if not tokenizer.encode("\n"):
        raise CheckpointError(
            f"{source}: the tokenizer {tokenizer.name!r} has no token for a line break, which "
            "every poem needs; its files are damaged or another model's: fetch them again"
        )


def read_safetensors(path: Path) -> dict[str, FloatArray]:
    """All tensors of a file, as float32."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, FloatArray] = {}
    try:
        with safe_open(path, framework="np") as file:
            keys = list(file.keys())
            known = all(file.get_slice(key).get_dtype() in _NUMPY for key in keys)
        # What numpy has no type for goes by way of torch, an import of a second or so.
        with safe_open(path, framework="np" if known else "pt") as file:
            for key in keys:
                read = file.get_tensor(key)
                tensors[key] = np.asarray(read if known else read.float(), np.float32)
    except (SafetensorError, OSError, RuntimeError, ValueError):
        raise CheckpointError(
            f"{path}: cannot be read as safetensors; it is absent, damaged or truncated: fetch it "
            "again"
        ) from None
    return tensors


def expected_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of such a model (`model.GPT`); a tied head is not among
    them."""
    c = config.n_embd
    heads = config.n_head * config.width
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (config.vocab_size, c)}
    if config.rope_theta is None:
        shapes["transformer.wpe.weight"] = (config.block_size, c)
    if config.n_states:
        shapes[STATES] = (config.state_lines + config.state_left + 1, c)

    def norm(name: str) -> None:
        shapes[f"{name}.weight"] = (c,)
        if config.bias and config.norm == "layernorm":
            shapes[f"{name}.bias"] = (c,)

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs)
        if config.bias:
            shapes[f"{name}.bias"] = (outputs,)

    for i in range(config.n_layer):
        block = f"transformer.h.{i}"
        norm(f"{block}.ln_1")
        linear(f"{block}.attn.c_attn", c, heads + 2 * config.kv_heads * config.width)
        linear(f"{block}.attn.c_proj", heads, c)
        norm(f"{block}.ln_2")
        linear(f"{block}.mlp.c_fc", c, (2 if config.mlp == "swiglu" else 1) * config.inner)
        linear(f"{block}.mlp.c_proj", config.inner, c)
    norm("transformer.ln_f")
    if not config.tied:
        shapes["lm_head.weight"] = (config.vocab_size, c)
    return shapes


def make_config(source: str, **fields: object) -> GPTConfig:
    """A GPTConfig, its complaints turned into a CheckpointError that names the source."""
    try:
        config = GPTConfig(**fields)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: {error}") from None
    return config
