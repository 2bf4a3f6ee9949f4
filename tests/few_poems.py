"""Lines that fit together to haiku, and short runs of the trainer on them: for tests/finetune."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from constrained_gpt.finetune.config import TrainConfig
from constrained_gpt.finetune.train import train

FIVES = [
    "the snow on the hill",
    "a crow on the gate",
    "the moon in the well",
    "rain on the old roof",
]
SEVENS = [
    "a dog runs over the field",
    "the lamp burns late in the house",
    "my cat sleeps under the stove",
]


def settings(data: Path, out: Path, tiny: Path, **changes: Any) -> TrainConfig:
    config = TrainConfig(
        data=data, out=out, init=str(tiny), max_iters=6, batch_size=2, precision="float32",
        eval_interval=3, eval_poems=4, warmup_iters=2, learning_rate=1e-2, device="cpu",
    )  # fmt: skip
    return replace(config, **changes)


def quiet(config: TrainConfig) -> dict[str, Any]:
    return train(config, log=lambda _: None)


def weights(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)
