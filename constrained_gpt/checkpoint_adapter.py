"""adapter.safetensors, what a LoRA run learned: low-rank changes of a base model -> Checkpoint.

Knows the file's metadata (whose weights it changes, how it wants to be asked) and how to add the
changes in. Called by `checkpoint.load` and by `export`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint_common import (
    KEY,
    STATES,
    Checkpoint,
    CheckpointError,
    FloatArray,
    checked,
    read_safetensors,
)

if TYPE_CHECKING:
    import torch

KIND = "adapter"
SUFFIXES = (".lora_a", ".lora_b")


def is_adapter(path: Path) -> bool:
    """Is this a safetensors file that `haiku export` wrote for an adapter?"""
    try:
        return _metadata(path).get("kind") == KIND
    except CheckpointError:
        return False


def load_adapter(path: Path, load: Callable[[str], Checkpoint]) -> Checkpoint:
    """The base model with the adapter's changes added. load: reads the base by name or path."""
    said = _metadata(path)
    base = load(base_of(path))
    learned = read_safetensors(path)
    state: dict[str, FloatArray] = dict(base.arrays)
    for name in [n for n in learned if n.endswith(SUFFIXES[0])]:
        stem = name.removesuffix(SUFFIXES[0])
        a, b = learned[name], learned.get(stem + SUFFIXES[1])
        weight = state.get(f"{stem}.weight")
        if b is None or weight is None or (b.shape[0], a.shape[1]) != tuple(weight.shape):
            raise CheckpointError(
                f"{path}: {stem} does not fit {base.name}; give the adapter of this model"
            )
        state[f"{stem}.weight"] = weight + (said["alpha"] / a.shape[0]) * (b @ a)
    config = base.config
    if STATES in learned:
        config = replace(
            config, state_lines=said["state_lines"], state_left=said["state_left"]
        )  # fmt: skip
        state[STATES] = learned[STATES]
    if config.tied:
        state.pop("lm_head.weight", None)
    return checked(config, state, base.tokenizer, path.stem, str(path), said.get("prompt_style"))


def base_of(path: Path) -> str:
    """The name or path of the model that an adapter changes."""
    base = _metadata(path).get("base")
    if not isinstance(base, str):
        raise CheckpointError(f"{path}: it does not say whose weights it changes; export it again")
    return base


def save_adapter(
    path: Path, learned: Mapping[str, torch.Tensor], said: Mapping[str, Any], dtype: torch.dtype
) -> None:
    """Write what a LoRA run learned. said: base, alpha, prompt_style, state_lines, state_left."""
    from safetensors.torch import save_file

    metadata = {KEY: json.dumps({"kind": KIND, **said}), "format": "pt"}
    tensors = {name: tensor.to(dtype).contiguous() for name, tensor in learned.items()}
    save_file(tensors, path, metadata)


def _metadata(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            found = json.loads((file.metadata() or {}).get(KEY, "{}"))
    except (SafetensorError, OSError, ValueError):
        raise CheckpointError(f"{path}: cannot be read as safetensors; fetch it again") from None
    return found if isinstance(found, dict) else {}
