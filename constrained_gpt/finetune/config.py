"""What decides a training run, and the learning rate that follows from it.

Names and meanings are nanoGPT's where it has them. Knows numbers and names; no model.
Called by `train`, `search` and the command line.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SCRATCH = "scratch"
STATE_LR = 100.0  # times the body's learning rate, for the state table
STATE_LR_MOST = 5e-3
PRECISIONS = ("auto", "float32", "bfloat16")
_FASTEST = 1e30  # learning rate; far past any use, and what Adam makes of it is still a float32


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run. Names and meanings are nanoGPT's where it has them."""

    data: str | Path
    out: str | Path
    init: str = "smollm2"  # name or path of where to start from, or "scratch"
    resume: bool = False  # go on from out/ckpt.pt
    budget: bool = False  # tell the model where in the form it stands
    lora: int = 0  # rank of the adapters; 0: all weights learn
    lora_alpha: float | None = None  # None: twice the rank
    max_iters: int = 400
    batch_size: int = 16  # poems
    gradient_accumulation_steps: int = 1  # in all processes together
    learning_rate: float | None = None  # None: 1e-3 from scratch, 2e-4 for LoRA, else 3e-5
    state_lr: float | None = None  # None: STATE_LR times learning_rate, STATE_LR_MOST at most
    min_lr: float | None = None  # None: a tenth of learning_rate
    warmup_iters: int = 20
    lr_decay_iters: int | None = None  # None: max_iters
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0  # 0 is off
    eval_interval: int = 50
    eval_poems: int = 256  # of the held-out split
    validity_poems: int = 0  # drawn without a mask at each evaluation
    patience: int = 0  # evaluations without a better loss before it stops; 0: never
    tokenizer: str | None = None  # from scratch: whose tokens; None: as the data was prepared
    n_layer: int = 6  # from scratch
    n_head: int = 6
    n_embd: int = 384
    block_size: int = 256
    dropout: float = 0.0
    bias: bool = False
    distil: float = 0.0  # share of the loss that is towards what a teacher thought, if it is known
    form_loss: float = 0.0  # weight of what the form forbids, see `evaluate.losses`
    fold: int | None = None  # held out of the training split instead of the validation split
    precision: str = "auto"  # bfloat16 where the device multiplies it fast
    compile: bool = False
    tensorboard: bool = False  # in out/tensorboard
    seed: int = 1337
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in (
            "max_iters", "batch_size", "gradient_accumulation_steps", "eval_interval",
            "eval_poems",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not positive; use 1 or more")
        for name in (
            "warmup_iters", "weight_decay", "grad_clip", "lora", "validity_poems", "patience",
            "form_loss",
        ):  # fmt: skip
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} cannot be; use a number from 0 up")
        if self.learning_rate is None:
            usual = 1e-3 if self.init == SCRATCH else 2e-4 if self.lora else 3e-5
            object.__setattr__(self, "learning_rate", usual)
        if not 0 < self.lr <= _FASTEST:
            raise ValueError(
                f"learning_rate={self.learning_rate} is not above 0 and at most {_FASTEST:g}; use "
                "e.g. 3e-5"
            )
        if self.state_lr is not None and not 0 <= self.state_lr <= _FASTEST:
            raise ValueError(
                f"state_lr={self.state_lr} is not from 0 to {_FASTEST:g}; use e.g. 3e-3"
            )
        if self.lora_alpha is not None and not abs(self.lora_alpha) <= _FASTEST:
            raise ValueError(f"lora_alpha={self.lora_alpha} is no scale; use twice the rank, say")
        if self.lr_decay_iters is not None and self.lr_decay_iters < 1:
            raise ValueError(f"lr_decay_iters={self.lr_decay_iters} is not positive; use 1 or more")
        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"seed={self.seed} is no seed; give a whole number from 0 to 2**63-1")
        if self.min_lr is not None and not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"min_lr={self.min_lr} is not between 0 and learning_rate; lower it")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision={self.precision!r} is unknown; use one of {', '.join(PRECISIONS)}"
            )
        if not 0 <= self.distil <= 1:
            raise ValueError(f"distil={self.distil} is not a share; use 0 to 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} is not in [0, 1); use e.g. 0.1")

    @property
    def lr(self) -> float:
        """The learning rate, chosen or usual."""
        return float(self.learning_rate or 0.0)

    @property
    def alpha(self) -> float:
        """What scales the adapters."""
        return 2.0 * self.lora if self.lora_alpha is None else self.lora_alpha

    @property
    def state_scale(self) -> float:
        """How much faster than the body the state table learns."""
        chosen = min(STATE_LR * self.lr, STATE_LR_MOST) if self.state_lr is None else self.state_lr
        return chosen / self.lr


def lr_at(step: int, config: TrainConfig) -> float:
    """The learning rate of a step, counted from 0: warm-up, cosine decay, then the minimum."""
    top = config.lr
    low = top / 10 if config.min_lr is None else config.min_lr
    end = config.max_iters if config.lr_decay_iters is None else config.lr_decay_iters
    if step < config.warmup_iters:
        return top * (step + 1) / (config.warmup_iters + 1)
    if step >= end:
        return low
    done = (step - config.warmup_iters) / max(1, end - config.warmup_iters)
    return low + 0.5 * (1.0 + math.cos(math.pi * done)) * (top - low)


def said(config: TrainConfig) -> dict[str, Any]:
    """A configuration as a checkpoint keeps it."""
    paths = {"data": str(config.data), "out": str(config.out), "init": absolute(config.init)}
    return {**asdict(config), **paths}


def absolute(model: str) -> str:
    """A path that holds wherever the checkpoint is read from; names stay names."""
    return str(Path(model).resolve()) if Path(model).exists() else model
