"""nanoGPT's ckpt.pt, also as `haiku finetune` writes it -> Checkpoint. Runs no code from the file.

Knows the dictionary {model, model_args, config, ...} that nanoGPT's train.py saves. Called by
`checkpoint.load`.
"""

from __future__ import annotations

import pickletools
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint_common import Checkpoint, CheckpointError, FloatArray, checked, make_config
from .model_config import GPTConfig
from .tokenizer import Tokenizer

__all__ = ["load_nanogpt", "load_nanogpt_tokenizer", "read_file"]

_COMPILED = "_orig_mod."  # what torch.compile puts before every name
# "the tokenizer of the model with that name or path"
TokenizerOf = Callable[[str], Tokenizer]


def load_nanogpt(path: Path, tokenizer_of: TokenizerOf) -> Checkpoint:
    """Read a ckpt.pt. A fine-tuned model says in its config whose tokens it uses; a nanoGPT one
    uses GPT-2's."""
    content = read_file(path)
    args, tensors = content.get("model_args"), content.get("model")
    if not isinstance(args, dict) or not isinstance(tensors, dict):
        raise CheckpointError(
            f"{path}: not a nanoGPT checkpoint, it lacks 'model' or 'model_args'; "
            "give a ckpt.pt that nanoGPT's train.py or `haiku finetune` saved"
        )
    known = {f.name for f in fields(GPTConfig)}
    unknown = sorted(str(k) for k in args if k not in known)
    if unknown:
        raise CheckpointError(
            f"{path}: its model_args have {unknown[0]!r}, which no model here knows; "
            "use a checkpoint of nanoGPT or of `haiku finetune`"
        )
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{path}: {name!r} in 'model' is no tensor; save the checkpoint again"
            )
        name = name.removeprefix(_COMPILED)
        if not name.endswith((".attn.bias", ".attn.masked_bias")):  # causal masks of old versions
            state[name] = tensor
    table, head = state.get("transformer.wte.weight"), state.get("lm_head.weight")
    apart = table is not None and head is not None and not _same(table, head)
    config = make_config(str(path), **{**args, "tied": not apart})
    tokenizer = _tokenizer(path, content, config.vocab_size, tokenizer_of)
    said = content.get("config")
    style = said.get("prompt_style") if isinstance(said, dict) else None
    style = style if isinstance(style, str) else None
    made = checked(config, _arrays(path, state), tokenizer, path.stem, str(path), style)
    return replace(made, base=_base(content))


def _arrays(path: Path, state: dict[str, Tensor]) -> dict[str, FloatArray]:
    """float32 stays where it is, mapped from the file; the rest is converted."""
    try:
        return {name: tensor.detach().float().numpy() for name, tensor in state.items()}
    except (TypeError, RuntimeError):  # sparse, quantised or complex
        raise CheckpointError(
            f"{path}: its tensors are not plain numbers; save them as dense float32"
        ) from None


def load_nanogpt_tokenizer(path: Path, tokenizer_of: TokenizerOf) -> Tokenizer:
    """The tokenizer of a ckpt.pt alone."""
    content = read_file(path)
    args = content.get("model_args")
    size = args.get("vocab_size") if isinstance(args, dict) else None
    return _tokenizer(path, content, size if isinstance(size, int) else -1, tokenizer_of)


def read_file(path: Path) -> dict[Any, Any]:
    """What a ckpt.pt holds; CheckpointError, with the cure, for what is none or would run code."""
    zipped = zipfile.is_zipfile(path)
    try:
        with warnings.catch_warnings():  # what torch would only warn of is refused or harmless
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # torch raises half a dozen kinds for damaged or hostile files
        if (zipped and "nsupported" in str(error)) or (not zipped and _is_pickle(path)):
            raise CheckpointError(
                f"{path}: it holds objects that would run code on loading, so it is refused; "
                "save tensors, numbers and text alone, or use safetensors"
            ) from None
        raise CheckpointError(
            f"{path}: cannot be read as a torch checkpoint; it is damaged or truncated: save or "
            "copy it again"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path}: it holds a {type(content).__name__}, not nanoGPT's dictionary; "
            "give a ckpt.pt that nanoGPT's train.py or `haiku finetune` saved"
        )
    return content


def _is_pickle(path: Path) -> bool:
    """Is the file one whole pickle? Its opcodes are read, none is carried out."""
    try:
        with path.open("rb") as file:
            for _ in pickletools.genops(file):
                pass
    except Exception:
        return False
    return True


def _same(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() or (a.shape == b.shape and bool(torch.equal(a, b)))


def _base(content: dict[Any, Any]) -> str | None:
    """The model whose tokens a fine-tuned one uses; None: GPT-2's."""
    config = content.get("config")
    base = config.get("model") if isinstance(config, dict) else None
    return base if isinstance(base, str) else None


def _tokenizer(
    path: Path, content: dict[Any, Any], vocab_size: int, tokenizer_of: TokenizerOf
) -> Tokenizer:
    gpt2 = Tokenizer.gpt2()
    base = _base(content)
    if base is not None:
        return tokenizer_of(base)
    if gpt2.n_vocab <= vocab_size <= -(-gpt2.n_vocab // 128) * 128:  # nanoGPT pads it to 50304
        return gpt2
    raise CheckpointError(
        f"{path}: its vocabulary of {vocab_size} is not GPT-2's {gpt2.n_vocab}; use a model "
        "trained on "
        "GPT-2's tokens, or one that `haiku finetune` saved"
    )
