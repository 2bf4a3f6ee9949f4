"""Held-out loss of a model on prepared poems: nats a token, nats a poem, perplexity.

Knows a model's logits and batches of poems; knows no form. Called by the trainer and by `haiku
evaluate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from ..model import GPT
from .batches import Batch, Poems

_ROWS = 32  # poems read at a time


@dataclass(frozen=True)
class Evaluation:
    """Mean negative log-likelihood in nats a token and a poem, over how many of each."""

    loss: float
    poem_loss: float
    tokens: int
    poems: int

    @property
    def perplexity(self) -> float:
        """The exponential of the loss of a token."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


def losses(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood of every token that counts, row by row: (tokens,) float32.

    Logits are computed of those places alone.
    """
    hidden = model.hidden(batch.x, batch.states)  # type: ignore[operator]  # (B, T, C)
    logits = model.lm_head(hidden[batch.counts])  # type: ignore[operator]  # (tokens, V)
    return F.cross_entropy(logits.float(), batch.y[batch.counts], reduction="none")


@torch.no_grad()
def evaluate(model: GPT, poems: Poems, seed: int, *, most: int | None = None) -> Evaluation:
    """The model's loss on the poems of a split, or on `most` of them, tags always the same."""
    if not len(poems):
        raise ValueError("the split has no poem; prepare more poems or a larger share")
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    chosen = range(len(poems) if most is None else min(most, len(poems)))
    total, tokens = 0.0, 0
    for first in range(0, len(chosen), _ROWS):
        batch = poems.held_out(list(chosen[first : first + _ROWS]), seed).to(device)
        found = losses(model, batch)
        total += float(found.double().sum())
        tokens += len(found)
    model.train(was_training)
    return Evaluation(total / tokens, total / len(chosen), tokens, len(chosen))


def evaluate_files(
    data: str | Path,
    *,
    model: str = "smollm2",
    split: str = "val",
    device: str = "auto",
    most: int | None = None,
) -> dict[str, Any]:
    """Loss of a model, given by name or path, on the held-out split of a prepared folder."""
    from .train import build, device_of

    gpt, checkpoint = build(model)
    gpt.to(device_of(device))
    result = evaluate(gpt, Poems(data, split, checkpoint.tokenizer), 0, most=most)
    return {
        "model": model,
        "split": split,
        "loss": round(result.loss, 6),
        "perplexity": round(result.perplexity, 4),
        "poem_loss": round(result.poem_loss, 4),
        "tokens": result.tokens,
        "poems": result.poems,
    }
