"""A name or a path -> Checkpoint, whichever format it is in; nothing that is read can run code.

Knows how to tell the formats apart; each has a reader of its own (`checkpoint_gguf`, `checkpoint_hf`,
`checkpoint_nanogpt`). Called by `Engine.from_pretrained` and by the trainer.
"""

from __future__ import annotations

import os
from pathlib import Path

from .checkpoint_common import Checkpoint, CheckpointError
from .registry import locate

__all__ = ["Checkpoint", "CheckpointError", "load"]


def load(name_or_path: str | os.PathLike[str]) -> Checkpoint:
    """Read a registered name ("smollm2", "gpt2"), a Hugging Face folder, a GGUF file or a ckpt.pt."""
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(f"model must be a name or a path, got {type(name_or_path).__name__}")
    path = locate(os.fspath(name_or_path))
    if path.suffix == ".gguf":
        from .checkpoint_gguf import load_gguf

        return load_gguf(path)
    raise CheckpointError(f"{path}: unknown kind of checkpoint; give a .gguf file")
