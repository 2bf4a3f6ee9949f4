"""Held-out loss and perplexity: every token of a split predicted once, by windows in order.

Knows a model's logits and token arrays; knows no form and no lattice. Called by the trainer and by
`haiku evaluate`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from .prepare import read_tokens


@dataclass(frozen=True)
class Evaluation:
    """Mean negative log-likelihood in nats a token, its exponential, and over how many tokens."""

    loss: float
    perplexity: float
    tokens: int


def windows(tokens: np.ndarray, block_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Consecutive (input, target) pairs, each (T,), that predict every token but the first once."""
    for start in range(0, len(tokens) - 1, block_size):
        chunk = tokens[start : start + block_size + 1].astype(np.int64)
        yield chunk[:-1], chunk[1:]


@torch.no_grad()
def evaluate(
    model: torch.nn.Module, tokens: np.ndarray, block_size: int, *, max_windows: int | None = None
) -> Evaluation:
    """The model's loss on a split, or on the first `max_windows` windows of it."""
    if len(tokens) < 2:
        raise ValueError(
            "the split has fewer than two tokens; prepare more poems or a larger share"
        )
    if block_size < 1:
        raise ValueError(f"block_size={block_size} is not positive; use e.g. 128")
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for index, (x, y) in enumerate(windows(tokens, block_size)):
        if max_windows is not None and index >= max_windows:
            break
        logits = model(torch.from_numpy(x)[None].to(device))  # (1, T, n_vocab)
        target = torch.from_numpy(y).to(device)  # (T,)
        total += F.cross_entropy(logits[0].float(), target, reduction="sum").item()
        count += len(y)
    model.train(was_training)
    loss = total / count
    return Evaluation(loss, math.exp(loss) if loss < 700 else math.inf, count)


def evaluate_files(
    data: str | Path, *, model: str = "smollm2", block_size: int = 128, device: str = "auto"
) -> dict[str, Any]:
    """Loss of a model, given by name or path, on the held-out split of a prepared folder."""
    from .train import build, device_of

    gpt, checkpoint = build(model)
    gpt.to(device_of(device))
    tokens = read_tokens(data, "val", checkpoint.tokenizer)
    result = evaluate(gpt, tokens, min(block_size, checkpoint.config.block_size))
    return {
        "model": model,
        "loss": round(result.loss, 6),
        "perplexity": round(result.perplexity, 4),
        "tokens": result.tokens,
    }
