"""What a training run made, as a folder small enough to ship: weights in bytes, or an adapter.

Reads a checkpoint of `haiku finetune`, writes `checkpoint_boxed`'s format. Called by `haiku pack`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..checkpoint import load
from ..checkpoint_boxed import load_tokenizer_file, save_adapter, save_boxed
from ..registry import REGISTRY


def pack(
    ckpt: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dtype: str = "int8",
) -> dict[str, Any]:
    """Write `out` from a ckpt.pt or best.pt: an adapter if adapters were trained on a model known
    by name, else the whole model, matrices as `dtype`. Returns its size and what it is."""
    checkpoint = load(ckpt)
    content = torch.load(ckpt, map_location="cpu", weights_only=True, mmap=True)
    said = content.get("config") or {}
    folder, base = Path(out), said.get("init")
    about = {"steps": content.get("iter_num")}
    lora, alpha = content.get("lora") or {}, said.get("lora_alpha")
    if said.get("lora") and base in REGISTRY:
        if not lora:
            raise ValueError(f"{ckpt} holds merged weights alone; pack the run's ckpt.pt instead")
        alpha = 2.0 * int(said["lora"]) if alpha is None else float(alpha)
        save_adapter(
            folder, checkpoint.config, lora, base=base, alpha=alpha,
            prompt_style=checkpoint.prompt_style, about=about,
        )  # fmt: skip
    else:
        model = said.get("model")
        if not isinstance(model, str):
            raise ValueError(
                f"{ckpt} does not say whose tokens it uses; pack a checkpoint of `haiku finetune` "
                "that began with --init PATH"
            )
        save_boxed(
            folder, checkpoint.config, checkpoint.state_dict, load_tokenizer_file(Path(model)),
            dtype=dtype, prompt_style=checkpoint.prompt_style, about=about,
        )  # fmt: skip
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"out": str(folder), "adapter_of": base if lora else None, "bytes": size, **about}
