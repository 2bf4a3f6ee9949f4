"""Results as pictures: throughput by batch, masks by words.

    python bench/plots.py      draws bench/results/*.png from the results that are kept

Needs matplotlib (pip install 'constrained-gpt[plot]'). Knows results alone; called by run.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import figures

# Paul Tol's bright colours; ours in the first, always.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#777777")
OURS = "constrained-gpt"


def draw(name: str, picture: Callable[[dict[str, Any], Path], None]) -> Path | None:
    """The picture of what is kept under a name; None, with a word why, where there is none."""
    results = figures.read(name)
    if results is None:
        return None
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        print("no pictures: pip install 'constrained-gpt[plot]'", file=sys.stderr)
        return None
    target = figures.kept(name).with_suffix(".png")
    picture(results, target)
    return target


def _figure(panels: int) -> tuple[Any, list[Any]]:
    """A Figure of its own, not pyplot's: no window, and no state that others share."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * panels, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0].tolist()
    for axis in axes:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.grid(color="#e5e5e5")
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _numbers(axis: Any, ticks: list[int]) -> None:
    """Plain numbers on both axes, those of x where something was measured."""
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.xaxis.set_minor_locator(_none())
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")


def _none() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _colours(names: list[str]) -> dict[str, tuple[str, str]]:
    """Colour and dash of each engine: one colour a family, a full line for its first, dashed for
    its others."""
    families: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: not name.startswith(OURS)):
        families.setdefault(name.replace(",", " ").split()[0], []).append(name)
    return {
        name: (COLOURS[place % len(COLOURS)], ("-", "--", ":")[min(i, 2)])
        for place, family in enumerate(families.values())
        for i, name in enumerate(family)
    }


def throughput(results: dict[str, Any], target: Path) -> None:
    """Tokens a second drawn freely, and haiku a second, by batch; bars from lowest to highest."""
    rows = results["rows"]
    batches = sorted({row["batch"] for row in rows})
    styles = _colours(list(dict.fromkeys(row["engine"] for row in rows)))
    figure, axes = _figure(2)
    panels = (("free", "tokens/s", "free: tokens a second"),
              ("poems", "haiku/s", "under the lattice: valid haiku a second"))  # fmt: skip
    for axis, (mode, unit, title) in zip(axes, panels, strict=True):
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_xlabel("batch", fontsize=8)
        for name, (colour, dash) in styles.items():
            own = sorted(
                (r for r in rows if (r["engine"], r["mode"], r["unit"]) == (name, mode, unit)),
                key=lambda row: row["batch"],
            )
            if not own:
                continue
            x, y = [row["batch"] for row in own], [row["median"] for row in own]
            ends = [[row["median"] - row["low"] for row in own],
                    [row["high"] - row["median"] for row in own]]  # fmt: skip
            axis.errorbar(x, y, ends, color=colour, linestyle=dash, marker="o", markersize=4,
                          linewidth=2.4 if name.startswith(OURS) else 1.3, elinewidth=1,
                          label=name)  # fmt: skip
        _numbers(axis, batches)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.suptitle(f"{results['model']}, {results['threads']} threads", fontsize=9, x=0.01,
                    ha="left", color="#555555")  # fmt: skip
    figure.savefig(target, dpi=150)


def masks(results: dict[str, Any], target: Path) -> None:
    """Compile time, and a step with its mask, by words: dots the median, bars up to p99."""
    rows = [row for row in results["rows"] if "why" not in row]
    names = list(dict.fromkeys(row["engine"] for row in rows))
    figure, axes = _figure(2)
    titles = ("compile, seconds", "step and mask, µs a token (median, up to p99)")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_xlabel("words", fontsize=8)
    for place, (name, (colour, dash)) in enumerate(_colours(names).items()):
        own = [row for row in rows if row["engine"] == name]
        x = [row["words"] * 1.04**place for row in own]  # bars side by side
        line = {"color": colour, "linestyle": dash, "marker": "o", "markersize": 4, "label": name,
                "linewidth": 2.4 if name.startswith(OURS) else 1.3}  # fmt: skip
        axes[0].plot(x, [row["compile_s"] for row in own], **line)
        up = [row["p99"] - row["p50"] for row in own]
        axes[1].errorbar(x, [row["p50"] for row in own], [[0.0] * len(up), up], elinewidth=1,
                         capsize=2, **line)  # fmt: skip
    sizes = sorted({row["words"] for row in results["rows"]})
    for axis in axes:
        _numbers(axis, sizes)
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend([handle[0] for handle in handles], labels, loc="outside lower center", ncols=5,
                  fontsize=8, frameon=False)  # fmt: skip
    figure.savefig(target, dpi=150)


def draw_all() -> list[Path]:
    """Every picture there are results for."""
    models = sorted(path.stem for path in figures.RESULTS.glob("decoding_*.json"))
    drawn = [draw(name, throughput) for name in models] + [draw("grammar_masks", masks)]
    return [target for target in drawn if target is not None]


def main() -> None:
    for target in draw_all():
        print(target.relative_to(figures.RESULTS.parent.parent))


if __name__ == "__main__":
    main()
