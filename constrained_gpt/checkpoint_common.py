"""What every checkpoint format comes to: a configuration, named tensors, a tokenizer, a name.

Knows nanoGPT's tensor names and shapes; knows no file format. Called by the readers of the formats
(`checkpoint_gguf`, `checkpoint_hf`, `checkpoint_nanogpt`), which `checkpoint.load` chooses from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .model import GPT, GPTConfig
from .tokenizer import Tokenizer


class CheckpointError(ValueError):
    """A checkpoint cannot be used; one line that ends with what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """A model as loaded: tensors under nanoGPT's names, in the layout of torch's Linear. A tied
    head is there under both of its names. prompt_style: how it was trained to be asked
    (`prompts.STYLES`); None: as its tokenizer suggests."""

    config: GPTConfig
    state_dict: Mapping[str, Tensor]
    tokenizer: Tokenizer
    name: str
    prompt_style: str | None = None


def checked(
    config: GPTConfig,
    state: dict[str, Tensor],
    tokenizer: Tokenizer,
    name: str,
    source: str,
    prompt_style: str | None = None,
) -> Checkpoint:
    """A Checkpoint whose tensors are exactly those the configuration asks for, or a
    CheckpointError."""
    if config.n_layer > len(state):
        raise CheckpointError(
            f"{source}: {len(state)} tensors cannot make {config.n_layer} layers; the "
            "configuration is "
            "damaged or another model's: save or fetch both again"
        )
    try:
        wanted = expected_shapes(config)
    except RuntimeError:  # a size that torch cannot count
        raise CheckpointError(
            f"{source}: its configuration asks for tensors of impossible sizes; fetch it again"
        ) from None
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
    if tokenizer.n_vocab > config.vocab_size:
        raise CheckpointError(
            f"{source}: the tokenizer {tokenizer.name!r} has {tokenizer.n_vocab} tokens, the "
            "model only "
            f"{config.vocab_size}; give the tokenizer that the model was trained with"
        )
    tensors = {n: state[n] for n in wanted}
    if config.tied:
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    return Checkpoint(config, tensors, tokenizer, name, prompt_style)


def expected_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of such a model; a tied head is not among them."""
    with torch.device("meta"):
        shapes = {n: tuple(p.shape) for n, p in GPT(config).state_dict().items()}
    if config.tied:
        del shapes["lm_head.weight"]
    return shapes


def make_config(source: str, **fields: object) -> GPTConfig:
    """A GPTConfig, its complaints turned into a CheckpointError that names the source."""
    try:
        config = GPTConfig(**fields)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{source}: {error}") from None
    return config
