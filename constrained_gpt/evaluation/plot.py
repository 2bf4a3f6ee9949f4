"""An evaluation as a picture: one panel a measure, one dot and interval a set.

Knows results, and matplotlib, which is loaded here and nowhere else. Called by the command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from constrained_gpt.evaluation.intervals import CONFIDENCE
from constrained_gpt.evaluation.measures import MEASURES

if TYPE_CHECKING:
    from constrained_gpt.evaluation.report import Evaluation, SetResult

FORMATS = (".png", ".svg", ".pdf")
_COLUMNS = 3
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777")  # Paul Tol


def check_target(path: str | Path) -> Path:
    """The file to draw into; raises ValueError or ImportError if that cannot be done."""
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} names no picture; end it on {', '.join(FORMATS)}")
    if not target.parent.is_dir():
        raise ValueError(f"the folder {target.parent} does not exist; make it first")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError(
            "a plot needs matplotlib; pip install 'constrained-gpt[plot]', or leave --plot out"
        ) from None
    return target


def plot(evaluation: Evaluation, path: str | Path) -> None:
    """Draw all measures that were taken into a .png, .svg or .pdf file."""
    target = check_target(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets = evaluation.sets
    taken = [m for m in MEASURES if any(one.totals[m.name] for one in sets)]
    spread = any(poem.log_p is not None for one in sets for poem in one.poems)
    rows = -(-(len(taken) + spread) // _COLUMNS)
    # A Figure of its own, not pyplot's: no window, and no state that others share.
    height = rows * (0.95 + 0.24 * len(sets))
    figure = Figure(figsize=(3.9 * _COLUMNS, height + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel().tolist()
    if spread:
        _spread(axes.pop(0), sets)
    for measure in taken:
        _dots(axes.pop(0), sets, measure.name, measure.label, measure.percent)
    for left_over in axes:
        left_over.set_axis_off()
    note = f"bars: {CONFIDENCE:.0%} intervals over poems"
    if spread:
        note += "; poem by poem: nine tenths, the middle half, the median"
    if evaluation.settings.judge is not None:
        note += f"; judge: {evaluation.settings.judge}"
    figure.supxlabel(note, fontsize=8, color="#555555")
    metadata = {"Date": None} if target.suffix.lower() == ".svg" else None
    figure.savefig(target, dpi=150, metadata=metadata)


def _bare(axis: Any, title: str, sets: tuple[SetResult, ...]) -> None:
    axis.set_title(title, fontsize=9, loc="left")
    axis.set_yticks(range(len(sets)), [_short(one.name) for one in sets], fontsize=8)
    axis.set_ylim(len(sets) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", color="#e5e5e5")
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:11]}…{name[-12:]}"


def _dots(axis: Any, sets: tuple[SetResult, ...], name: str, label: str, percent: bool) -> None:
    _bare(axis, label, sets)
    axis.margins(x=0.08)
    scale = 100 if percent else 1
    for place, one in enumerate(sets):
        found = one.totals[name]
        if found is None:
            continue
        colour = _COLOURS[place % len(_COLOURS)]
        if found.low is not None and found.high is not None:
            axis.plot([scale * found.low, scale * found.high], [place, place],
                      color=colour, linewidth=2.5, solid_capstyle="round", alpha=0.6)  # fmt: skip
        axis.plot([scale * found.value], [place], "o", color=colour, markersize=5)
    if percent:
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        high = max(axis.get_xlim()[1], 1)
        axis.set_xlim(-0.04 * high, high)  # shares begin at nought, in all panels


def _spread(axis: Any, sets: tuple[SetResult, ...]) -> None:
    """Log p per token of the poems: nine tenths of them, the middle half, the median."""
    _bare(axis, "log p per token, poem by poem (nats)", sets)
    for place, one in enumerate(sets):
        values = [p.log_p / p.tokens for p in one.poems if p.log_p is not None]
        if not values:
            continue
        colour = _COLOURS[place % len(_COLOURS)]
        p5, p25, p50, p75, p95 = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()
        axis.plot([p5, p95], [place, place], color=colour, linewidth=1)
        axis.plot([p25, p75], [place, place], color=colour, linewidth=7, alpha=0.6,
                  solid_capstyle="butt")  # fmt: skip
        axis.plot([p50], [place], "|", color="black", markersize=10)
