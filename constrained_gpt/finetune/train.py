"""The trainer: nanoGPT's recipe (AdamW, warm-up then cosine, clipped gradients) on token files.

Knows the model and its checkpoints; knows no form and no lattice. Called by `haiku finetune`.
Writes ckpt.pt in nanoGPT's format (the newest, to go on from), best.pt (the lowest held-out loss)
and step_metrics.csv. The same configuration gives the same weights, interrupted or not.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ..cache import written_whole
from ..checkpoint import Checkpoint, load
from ..model import GPT
from .evaluate import evaluate
from .prepare import read_tokens

CKPT, BEST, METRICS = "ckpt.pt", "best.pt", "step_metrics.csv"
COLUMNS = ("step", "loss", "val_loss", "lr", "grad_norm", "tokens_per_second")


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run. Names and meanings are nanoGPT's where it has them."""

    data: str | Path
    out: str | Path
    model: str = "smollm2"  # name or path of where to start from
    resume: bool = False  # go on from out/ckpt.pt
    max_iters: int = 400
    batch_size: int = 8
    block_size: int = 128
    gradient_accumulation_steps: int = 1
    learning_rate: float = 3e-5
    min_lr: float | None = None  # None: a tenth of learning_rate
    warmup_iters: int = 20
    lr_decay_iters: int | None = None  # None: max_iters
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0  # 0 is off
    eval_interval: int = 50
    eval_batches: int = 50  # windows of the held-out split
    seed: int = 1337
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in (
            "max_iters", "batch_size", "block_size", "gradient_accumulation_steps", "eval_interval",
            "eval_batches",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not positive; use 1 or more")
        for name in ("warmup_iters", "weight_decay", "grad_clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative; use 0 or more")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate} is not positive; use e.g. 3e-5")
        if self.min_lr is not None and not 0 <= self.min_lr <= self.learning_rate:
            raise ValueError(f"min_lr={self.min_lr} is not between 0 and learning_rate; lower it")


def lr_at(step: int, config: TrainConfig) -> float:
    """The learning rate of a step, counted from 0: warm-up, cosine decay, then the minimum."""
    top = config.learning_rate
    low = top / 10 if config.min_lr is None else config.min_lr
    end = config.max_iters if config.lr_decay_iters is None else config.lr_decay_iters
    if step < config.warmup_iters:
        return top * (step + 1) / (config.warmup_iters + 1)
    if step >= end:
        return low
    done = (step - config.warmup_iters) / max(1, end - config.warmup_iters)
    return low + 0.5 * (1.0 + math.cos(math.pi * done)) * (top - low)


def device_of(name: str) -> torch.device:
    """The device of that name; "auto" is the GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError:
        raise ValueError(f"device {name!r} is unknown; use auto, cpu, cuda or mps") from None


def build(model: str | Path) -> tuple[GPT, Checkpoint]:
    """A model with its weights, and the checkpoint they came from."""
    checkpoint = load(str(model))
    gpt = GPT(checkpoint.config)
    state = dict(checkpoint.state_dict)
    if checkpoint.config.tied:
        state["lm_head.weight"] = state["transformer.wte.weight"]
    gpt.load_state_dict(state)
    return gpt, checkpoint


def optimizer_of(model: GPT, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves biases and norms alone."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2))


def batch(
    tokens: np.ndarray, config: TrainConfig, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random windows and the same windows one token later: two (B, T) of int64."""
    starts = torch.randint(
        len(tokens) - config.block_size, (config.batch_size,), generator=generator
    ).tolist()
    rows = np.stack([tokens[s : s + config.block_size + 1].astype(np.int64) for s in starts])
    both = torch.from_numpy(rows)  # (B, T + 1)
    return both[:, :-1], both[:, 1:]


def train(config: TrainConfig, *, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Train as the configuration says; returns the losses. Ctrl-C keeps the last checkpoint."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    device = device_of(config.device)
    generator = torch.Generator().manual_seed(config.seed)
    if config.resume and not (out / CKPT).is_file():
        raise ValueError(f"{out} has no {CKPT} to go on from; leave out --resume to begin")

    model, checkpoint = build(out / CKPT if config.resume else config.model)
    if config.block_size > checkpoint.config.block_size:
        raise ValueError(
            f"block_size={config.block_size} is longer than the model's, "
            f"{checkpoint.config.block_size}; lower it"
        )
    tokens = read_tokens(config.data, "train", checkpoint.tokenizer)
    held = read_tokens(config.data, "val", checkpoint.tokenizer)
    if len(tokens) <= config.block_size:
        raise ValueError(
            f"train.bin has {len(tokens)} tokens, too few for block_size={config.block_size}; "
            "add poems or lower block_size"
        )
    model.to(device).train()
    optimizer = optimizer_of(model, config)
    start, best, base = 0, math.inf, _absolute(config.model)
    if config.resume:
        state = torch.load(out / CKPT, map_location="cpu", weights_only=True)
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        start, best = state["iter_num"], state["best_val_loss"]
        base = state["config"]["model"]  # says whose tokens these are

    def held_out() -> float:
        if len(held) < 2:
            return math.nan
        return evaluate(model, held, config.block_size, max_windows=config.eval_batches).loss

    metrics = out / METRICS
    _begin_metrics(metrics, start)
    loss, val_loss = math.nan, held_out()
    log(f"step {start}: held-out loss {val_loss:.4f}")
    for step in range(start, config.max_iters):
        began = time.perf_counter()
        lr = lr_at(step, config)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = 0.0
        for _ in range(config.gradient_accumulation_steps):
            x, y = batch(tokens, config, generator)
            part = _loss(model, x.to(device), y.to(device)) / config.gradient_accumulation_steps
            part.backward()
            loss += part.item()
        norm = float(
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip or math.inf)
        )
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise ValueError(
                f"the loss is no longer finite at step {step + 1}; lower learning_rate and go on "
                "with --resume"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - began
        rate = x.numel() * config.gradient_accumulation_steps / seconds

        done = step + 1
        due = done % config.eval_interval == 0 or done == config.max_iters
        val_loss = held_out() if due else math.nan
        _append_metrics(metrics, (done, loss, val_loss if due else "", lr, norm, round(rate, 1)))
        if due:
            improved = val_loss < best
            best = min(best, val_loss) if not math.isnan(val_loss) else best
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "model_args": asdict(checkpoint.config),
                "iter_num": done,
                "best_val_loss": best,
                "config": {
                    **asdict(config),
                    "model": base,
                    "data": str(config.data),
                    "out": str(config.out),
                },
                "generator": generator.get_state(),
            }
            _save(out / CKPT, state)
            if improved:
                _save(
                    out / BEST, {k: state[k] for k in ("model", "model_args", "iter_num", "config")}
                )
            log(f"step {done}: loss {loss:.4f}, held-out loss {val_loss:.4f}, lr {lr:.2e}")
    return {"step": max(start, config.max_iters), "loss": loss, "val_loss": val_loss, "best": best}


def _absolute(model: str) -> str:
    """A path that holds wherever the checkpoint is read from; names stay names."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def _loss(model: GPT, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.device.type == "cuda"):
        logits = model(x)  # (B, T, n_vocab)
    return F.cross_entropy(logits.float().flatten(0, 1), y.flatten())


def _save(path: Path, state: dict[str, Any]) -> None:
    with written_whole(path) as temporary:
        torch.save(state, temporary)


def _begin_metrics(path: Path, start: int) -> None:
    """A file with its header and, when going on, the rows up to the step of the checkpoint."""
    rows: list[list[str]] = []
    if start and path.is_file():
        with path.open(newline="") as file:
            rows = [row for row in list(csv.reader(file))[1:] if row and int(row[0]) <= start]
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def _append_metrics(path: Path, row: tuple[object, ...]) -> None:
    with path.open("a", newline="") as file:
        csv.writer(file).writerow(row)
