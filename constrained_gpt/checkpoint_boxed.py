"""A model in a box: a folder with its weights in bytes or half precision, small enough to ship.

    config.json          {"model_type": "constrained_gpt", "gpt": GPTConfig's fields, ...}
    model.safetensors    matrices as int8 codes with a float32 scale a row ("<name>.scale"), or as
                         float16; vectors as float32
    tokenizer.json       in Hugging Face's format

Codes of a row are rounded to 127 levels either side, which is what the engine on bytes makes of a
row anyway: quantising again changes nothing. Nothing in the folder can run. Called by `checkpoint`
and by `haiku pack`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from .cache import written_whole
from .checkpoint_common import Checkpoint, CheckpointError, checked, make_config
from .hf_tokenizer import load_folder_tokenizer, read_json
from .model_config import GPTConfig

__all__ = ["DTYPES", "MODEL_TYPE", "is_boxed", "load_boxed", "load_tokenizer_file", "save_boxed"]

MODEL_TYPE = "constrained_gpt"
DTYPES = ("int8", "float16")
WEIGHTS = "model.safetensors"
_SCALE = ".scale"
Array = np.ndarray[Any, Any]


def is_boxed(folder: Path) -> bool:
    """Is it a folder of this kind?"""
    card = folder / "config.json"
    return card.is_file() and read_json(card).get("model_type") == MODEL_TYPE


def load_tokenizer_file(folder: Path) -> dict[str, Any]:
    """The content of a folder's tokenizer.json."""
    return read_json(folder / "tokenizer.json")


def load_boxed(folder: Path) -> Checkpoint:
    """Read a folder that `save_boxed` wrote."""
    card = read_json(folder / "config.json")
    style, given = card.get("prompt_style"), card.get("gpt")
    if not isinstance(given, dict) or not (style is None or isinstance(style, str)):
        raise CheckpointError(f"{folder}: config.json is damaged; save or fetch the folder again")
    unknown = sorted(set(given) - {f.name for f in fields(GPTConfig)})
    if unknown:
        raise CheckpointError(
            f"{folder}: its config.json has {unknown[0]!r}, which no model here knows; use a "
            "newer version of this package"
        )
    config = make_config(str(folder), **given)
    arrays, tokenizer = _arrays(folder / WEIGHTS), load_folder_tokenizer(folder)
    return checked(config, arrays, tokenizer, folder.name, str(folder), style)


def save_boxed(
    folder: Path,
    config: GPTConfig,
    state: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    *,
    dtype: str = "int8",
    prompt_style: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a model. state: nanoGPT's names; tokenizer: the content of tokenizer.json; about: what
    else config.json is to say."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown; use one of {', '.join(DTYPES)}")
    arrays: dict[str, Array] = {}
    for name, tensor in state.items():
        if name == "lm_head.weight" and config.tied:
            continue
        array = _float32(tensor)
        if array.ndim < 2 or "wse" in name:
            arrays[name] = array
        elif dtype == "float16":
            arrays[name] = array.astype(np.float16)
        else:
            arrays[name], arrays[name + _SCALE] = _codes(array)
    card = {
        "model_type": MODEL_TYPE, "gpt": asdict(config), "prompt_style": prompt_style,
        **(about or {}),
    }  # fmt: skip
    _write(folder, card, arrays)
    with written_whole(folder / "tokenizer.json") as temporary:
        temporary.write_text(json.dumps(tokenizer, ensure_ascii=False) + "\n", "utf-8")


def _codes(array: Array) -> tuple[Array, Array]:
    """int8 (N, K) and float32 (N,): the nearest multiples of a row's largest number over 127."""
    scale = (np.abs(array).max(axis=1, initial=0.0) / np.float32(127)).astype(np.float32)
    if not np.isfinite(scale).all():
        raise ValueError("a weight is not finite; train again from the last good checkpoint")
    safe = np.where(scale > 0, scale, np.float32(1))
    return np.rint(array / safe[:, None]).clip(-127, 127).astype(np.int8), scale


def _write(folder: Path, card: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / WEIGHTS) as temporary:
        save_file({n: np.ascontiguousarray(a) for n, a in arrays.items()}, temporary)
    with written_whole(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(card, ensure_ascii=False, indent=1) + "\n", "utf-8")


def _float32(tensor: Any) -> Array:
    """A torch tensor or an array as float32."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().float().cpu().numpy()
    return np.asarray(tensor, np.float32)


def _arrays(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, ValueError):
        raise CheckpointError(
            f"{path}: cannot be read as safetensors; it is absent, damaged or truncated: install "
            "or fetch it again"
        ) from None
    found: dict[str, Array] = {}
    for name, array in arrays.items():
        if name.endswith(_SCALE):
            continue
        if array.dtype == np.int8:
            scale = arrays.get(name + _SCALE)
            if scale is None or scale.shape != array.shape[:1]:
                raise CheckpointError(f"{path}: {name} lacks its scales; fetch it again")
            array = array.astype(np.float32) * scale[:, None]
        found[name] = np.ascontiguousarray(array, np.float32)
    return found
