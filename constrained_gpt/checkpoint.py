"""A name or a path -> Checkpoint, whichever format it is in; nothing that is read can run code.

Knows how to tell the formats apart; each has a reader of its own (`checkpoint_gguf`,
`checkpoint_hf`, `checkpoint_nanogpt`, `checkpoint_adapter`). Called by `Engine.from_pretrained` and
by the trainer.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from .checkpoint_adapter import base_of, is_adapter, load_adapter
from .checkpoint_boxed import is_boxed, load_boxed
from .checkpoint_common import Checkpoint, CheckpointError, check_tokenizer
from .checkpoint_gguf import load_gguf, load_gguf_tokenizer
from .checkpoint_hf import folder_files, load_folder, load_folder_tokenizer
from .file_hash import file_hash
from .registry import REGISTRY, locate
from .tokenizer import Tokenizer

__all__ = [
    "Checkpoint", "CheckpointError", "Source", "check_tokenizer", "content_hash", "find", "load",
    "load_tokenizer", "tokenizer_of",
]  # fmt: skip

_CHAIN = 4  # a fine-tuned model of a fine-tuned model of ...: how far back its tokenizer is sought


@dataclass(frozen=True)
class Source:
    """Where a checkpoint is. name: what it is called; kind: "folder", "boxed", "gguf", "adapter" or
    "nanogpt"; files: those that configuration and weights are read from."""

    name: str
    path: Path
    kind: str
    files: tuple[Path, ...]


def find(name_or_path: str | os.PathLike[str]) -> Source:
    """The files of a checkpoint, none of them read."""
    name = _as_name(name_or_path)
    path = locate(name)
    kind = _kind(path)
    folder = kind in ("folder", "boxed")
    known = name if name in REGISTRY else path.name if folder else path.stem
    files = tuple(folder_files(path)) if folder else (path,)
    if kind == "adapter":
        files += find(base_of(path)).files
    return Source(known, path, kind, files)


def content_hash(name_or_path: str | os.PathLike[str]) -> str:
    """SHA-256 in hex of the files that configuration and weights are read from, names included."""
    contents = [(file.name, file_hash(file)) for file in find(name_or_path).files]
    return hashlib.sha256(repr(contents).encode()).hexdigest()


def load(name_or_path: str | os.PathLike[str]) -> Checkpoint:
    """Read a registered name ("smollm2", "gpt2"), a Hugging Face folder, a GGUF file, a
    ckpt.pt or an adapter."""
    name = _as_name(name_or_path)
    path = locate(name)
    kind = _kind(path)
    if kind == "boxed":
        checkpoint = load_boxed(path)
    elif kind == "folder":
        checkpoint = load_folder(path)
    elif kind == "gguf":
        checkpoint = load_gguf(path)
    elif kind == "adapter":
        checkpoint = load_adapter(path, load)
    else:
        from .checkpoint_nanogpt import load_nanogpt  # torch's own format: needs torch

        checkpoint = load_nanogpt(path, lambda base: _tokenizer_of(base, path, 1))
    return replace(checkpoint, name=name) if name in REGISTRY else checkpoint


def load_tokenizer(name_or_path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer that goes with a model, without its weights."""
    return _tokenizer_at(locate(_as_name(name_or_path)), 0)


def tokenizer_of(source: Source, base: str | None) -> Tokenizer:
    """As `load_tokenizer`, for who remembers `Checkpoint.base`: no ckpt.pt is read again."""
    if source.kind != "nanogpt":
        return _tokenizer_at(source.path, 0)
    return Tokenizer.gpt2() if base is None else _tokenizer_of(base, source.path, 1)


def _tokenizer_of(base: str, beside: Path, depth: int) -> Tokenizer:
    if depth > _CHAIN:
        raise CheckpointError(
            f"{beside}: the models it was tuned from lead in a circle; name the first in its config"
        )
    try:
        return _tokenizer_at(locate(base), depth)
    except CheckpointError as error:
        raise CheckpointError(f"{beside}: it uses the tokens of {base!r}: {error}") from None


def _tokenizer_at(path: Path, depth: int) -> Tokenizer:
    kind = _kind(path)
    if kind in ("boxed", "folder"):
        return load_folder_tokenizer(path)
    if kind == "gguf":
        return load_gguf_tokenizer(path)
    if kind == "adapter":
        return _tokenizer_of(base_of(path), path, depth + 1)
    from .checkpoint_nanogpt import load_nanogpt_tokenizer

    return load_nanogpt_tokenizer(path, lambda base: _tokenizer_of(base, path, depth + 1))


def _as_name(name_or_path: str | os.PathLike[str]) -> str:
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(
            f"a model is given by name or path, got {type(name_or_path).__name__}; see `haiku "
            "models`"
        )
    name = os.fspath(name_or_path)
    if not name:
        raise CheckpointError("the model's name is empty; see `haiku models` for those there are")
    return name


def _kind(path: Path) -> str:
    if path.is_dir():
        return "boxed" if is_boxed(path) else "folder"
    if path.exists() and not path.is_file():  # a device or a pipe has no end, or waits for a writer
        raise CheckpointError(f"{path}: neither a file nor a folder; give one of them")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be opened: {error.strerror}; check the path"
        ) from None
    if start == b"GGUF" or path.suffix == ".gguf":
        return "gguf"
    if path.suffix == ".safetensors" and is_adapter(path):
        return "adapter"
    if path.suffix in (".safetensors", ".json", ".bin"):
        raise CheckpointError(
            f"{path}: a single file of a model's folder; give the folder {path.parent}"
        )
    return "nanogpt"
