"""What a training run made, as a folder small enough to ship: its weights in bytes.

Reads a checkpoint of `haiku finetune`, writes `checkpoint_boxed`'s format. Called by `haiku pack`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..checkpoint import load
from ..checkpoint_boxed import load_tokenizer_file, save_boxed
from ..checkpoint_nanogpt import read_file
from ..registry import REGISTRY, locate


def pack(
    ckpt: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dtype: str = "int8",
) -> dict[str, Any]:
    """Write `out` from a ckpt.pt or best.pt, matrices as `dtype`. Returns its size and steps.

    What a LoRA run learned is smaller as an adapter: `haiku export`.
    """
    checkpoint = load(ckpt)
    folder = Path(out)
    steps, tokens = _history(Path(ckpt))
    about = {"steps": steps}
    save_boxed(
        folder, checkpoint.config, checkpoint.arrays, load_tokenizer_file(tokens),
        dtype=dtype, prompt_style=checkpoint.prompt_style, about=about,
    )  # fmt: skip
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"out": str(folder), "bytes": size, **about}


def _history(ckpt: Path) -> tuple[int, Path]:
    """Steps of a run and of those that it went on from, and the folder where their tokens are."""
    steps, at = 0, ckpt
    while at.is_file():
        content = read_file(at)
        steps += int(content.get("iter_num") or 0)
        model = (content.get("config") or {}).get("model")
        if not isinstance(model, str) or Path(model) == at:
            break
        at = locate(model) if model in REGISTRY else Path(model)
    if (at / "config.json").is_file():  # a box, which counts the steps it came from
        steps += int(json.loads((at / "config.json").read_bytes()).get("steps") or 0)
    if not (at / "tokenizer.json").is_file():
        raise ValueError(
            f"{ckpt} does not say in which folder its tokens are; pack a run of `haiku finetune` "
            "that began with --init FOLDER or haiku-nano, or use `haiku export`"
        )
    return steps, at
