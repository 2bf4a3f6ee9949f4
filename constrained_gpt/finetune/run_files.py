"""What a run writes beside its model: step_metrics.csv, TensorBoard, and whole checkpoints.

Knows files; no model. Called by `train`.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from ..cache import written_whole
from .config import TrainConfig

CKPT, BEST, METRICS = "ckpt.pt", "best.pt", "step_metrics.csv"
COLUMNS = (
    "step", "tokens", "lr", "train_loss", "val_loss", "perplexity", "validity", "grad_norm",
    "tokens_per_second",
)  # fmt: skip


def board_of(config: TrainConfig) -> Any:
    """A writer for TensorBoard, if it is asked for."""
    if not config.tensorboard:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError(
            "TensorBoard is not installed: pip install tensorboard, or leave --tensorboard out; "
            f"{METRICS} has the same figures"
        ) from None
    return SummaryWriter(str(Path(config.out) / "tensorboard"))


def save(path: Path, state: dict[str, Any]) -> None:
    """A checkpoint, whole or not at all; ValueError, with the cure, if it cannot be written."""
    try:
        with written_whole(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:
        kept = "the one before it is whole" if path.exists() else "there is none yet"
        raise ValueError(
            f"{path} could not be written ({_first_line(error)}); {kept}: free some space and go "
            "on with --resume"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def begin_metrics(path: Path, start: int) -> None:
    """A file with its header and, when going on, the rows up to the step of the checkpoint."""
    rows: list[list[str]] = []
    if start and path.is_file():
        with path.open(newline="") as file:
            rows = [row for row in list(csv.reader(file))[1:] if row and int(row[0]) <= start]
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def append_metrics(path: Path, row: tuple[object, ...]) -> None:
    """One more row, of `COLUMNS`."""
    with path.open("a", newline="") as file:
        csv.writer(file).writerow(row)
