"""A smaller model cut out of a larger one: some of its layers, some of its tokens.

The residual stream of a transformer changes little from layer to layer, so that a model without
most of its layers still writes some language, and learns the rest back far faster than one from
scratch (Gromov et al., The Unreasonable Ineffectiveness of the Deeper Layers, ICLR 2025; Sanh et
al., DistilBERT, 2019, section 3, keeps every other layer). Knows checkpoints and tokenizers; no
data. Called by `haiku shrink`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import prompts
from ..checkpoint import load
from ..checkpoint_boxed import save_boxed
from ..lexicon import SEASONS, Lexicon
from ..lexicon.form import FORMS
from ..lexicon.typography import DEFAULT
from ..smaller_vocabulary import smaller
from . import readers

_LAYER = re.compile(r"transformer\.h\.(\d+)\.")


def shrink(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    layers: int | Sequence[int] = 9,
    tokens: int = 16384,
    poems: Sequence[str] = (),
    block_size: int = 256,
    dtype: str = "float16",
) -> dict[str, Any]:
    """Write a part of `model` to the folder `out`, as `--init` of `haiku finetune` takes it.

    layers: which ones, counted from 0, or how many: evenly spread, the first and the last among
    them. tokens: how many at most: those that `poems`, files of `haiku prepare`'s kinds, and its
    prompts need, then the commonest that the lexicon's words need (`smaller_vocabulary`).
    block_size: positions it is to hold. Returns what it became.
    """
    checkpoint = load(model)
    config = checkpoint.config
    chosen = _spread(config.n_layer, layers) if isinstance(layers, int) else list(layers)
    if not chosen or sorted(set(chosen)) != chosen or not 0 <= chosen[0] <= chosen[-1] < (
        config.n_layer
    ):  # fmt: skip
        raise ValueError(
            f"layers {chosen} are not some of 0..{config.n_layer - 1} in ascending order; mend them"
        )
    cut = smaller(checkpoint.tokenizer, _spellings(), tokens, _texts(poems))
    place = {old: new for new, old in enumerate(chosen)}
    state = {}
    for name, tensor in checkpoint.state_dict.items():
        found = _LAYER.match(name)
        if found is not None:
            old = int(found[1])
            if old in place:
                state[f"transformer.h.{place[old]}.{name[found.end() :]}"] = tensor
        elif name in ("transformer.wte.weight", "lm_head.weight"):
            state[name] = tensor[cut.tokens]
        elif name == "transformer.wpe.weight":
            state[name] = tensor[:block_size]
        else:
            state[name] = tensor
    shape = replace(
        config, n_layer=len(chosen), vocab_size=len(cut.tokens),
        block_size=min(block_size, config.block_size),
    )  # fmt: skip
    about = {"cut_from": checkpoint.name, "layers": chosen}
    save_boxed(Path(out), shape, state, cut.content, dtype=dtype, about=about)
    size = sum(t.numel() for n, t in state.items() if n != "lm_head.weight" or not shape.tied)
    return {"layers": chosen, "tokens": len(cut.tokens), "parameters": size}


def _spread(n: int, count: int) -> list[int]:
    if not 1 <= count <= n:
        raise ValueError(f"layers={count} is not from 1 to {n}, as many as there are; mend it")
    if count == 1:
        return [0]
    return [round(i * (n - 1) / (count - 1)) for i in range(count)]


def _texts(files: Sequence[str]) -> list[str]:
    """Poems and topics of files, and what stands between words."""
    found = [*"\n.,;:!?'\"()-0123456789", *(mark.text for mark in DEFAULT.marks)]
    for form in FORMS.values():
        found += [prompts.tags(form.name, season, "", "x") for season in SEASONS]
    for file in files:
        for record in readers.read(file):
            found += [record.text, f" {record.topic}"]
    return found


def _spellings() -> list[str]:
    """Every word of the lexicon as poems have it."""
    found = []
    for word in Lexicon.default().words:
        found += [f" {word}", word, word[:1].upper() + word[1:]]
    return found
