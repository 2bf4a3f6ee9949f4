"""step_metrics.csv as a picture: loss, and the share of free draws in form, over the steps.

Knows the columns, and matplotlib, which is loaded here alone. Called by `haiku finetune --plot`.
"""

from __future__ import annotations

import csv
from pathlib import Path

COLOURS = {"train_loss": "#bbbbbb", "val_loss": "#4477aa", "validity": "#228833"}  # Paul Tol


def read(metrics: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Column -> (step, value) wherever it has one."""
    found: dict[str, list[tuple[int, float]]] = {}
    with Path(metrics).open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if name != "step" and value:
                    found.setdefault(name, []).append((int(row["step"]), float(value)))
    if not found:
        raise ValueError(f"{metrics} holds no step yet; train first")
    return found


def plot(metrics: str | Path, target: str | Path) -> None:
    """Draw the curves of a run into a .png, .svg or .pdf file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = read(metrics)
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    loss = figure.subplots()
    for name, label in (("train_loss", "training"), ("val_loss", "held out")):
        if name in curves:
            marker = "" if name == "train_loss" else "o"
            steps, values = zip(*curves[name], strict=True)
            loss.plot(steps, values, marker=marker, color=COLOURS[name], label=label)
    loss.set_xlabel("step")
    loss.set_ylabel("loss, nats a token")
    if "validity" in curves:
        share = loss.twinx()
        steps, values = zip(*curves["validity"], strict=True)
        share.plot(steps, [100 * v for v in values], "s--", color=COLOURS["validity"])
        share.set_ylabel("free draws in form, %", color=COLOURS["validity"])
        share.set_ylim(0, 100)
    loss.legend(frameon=False)
    figure.savefig(target)
