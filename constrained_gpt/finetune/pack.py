"""What a training run made, as a folder small enough to ship: its weights in bytes.

Reads a checkpoint of `haiku finetune`, writes `checkpoint_boxed`'s format. Called by `haiku pack`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..checkpoint import load
from ..checkpoint_boxed import load_tokenizer_file, save_boxed


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
    content = torch.load(ckpt, map_location="cpu", weights_only=True, mmap=True)
    said = content.get("config") or {}
    folder = Path(out)
    about = {"steps": content.get("iter_num")}
    model = said.get("model")
    if not isinstance(model, str) or not (Path(model) / "tokenizer.json").is_file():
        raise ValueError(
            f"{ckpt} does not say in which folder its tokens are; pack a run of `haiku finetune` "
            "that began with --init FOLDER, or use `haiku export`"
        )
    save_boxed(
        folder, checkpoint.config, checkpoint.arrays, load_tokenizer_file(Path(model)),
        dtype=dtype, prompt_style=checkpoint.prompt_style, about=about,
    )  # fmt: skip
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"out": str(folder), "bytes": size, **about}
