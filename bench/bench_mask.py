"""What a mask costs: the step and the mask of our own engine, and the int32 bitmask of others.

All rules on, a lexicon of 50,000 words, GPT-2's tokens. Every row of every mask is first proved
equal to `Lattice.candidates`, the slow twin, then each call on its own is timed, on poems that the
lattice timed has never seen. Collected by run.py under pytest-benchmark; with --benchmark-disable
it proves over small work and times nothing.

    python bench/bench_mask.py            percentiles to results/mask.json, a picture to mask.png
    python bench/bench_mask.py --cpu      processor time alone, for a busy machine; not kept
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import lexicons
import machine
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from constrained_gpt.kernels.mask import allocate_token_bitmask
from constrained_gpt.lattice import Lattice

RESULTS = Path(__file__).resolve().parent / "results"
N_WORDS, SMALL = 50_000, 2_000
BATCHES = (1, 8, 64)
PERCENTILES = (1, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)
WANTED = {"step and mask": {50: 0.5, 99: 2.0}, "bitmask": {50: 1.0, 99: 5.0, 100: 70.0}}
# How much the lattice knows before the poems that are timed. All have their kernels compiled.
STATES = {
    "prepared": "as compiled or loaded: the entries that `Boundary.prepare` makes, nothing else",
    "in use": "the same after 64 rows of other poems, 120 steps",
    "bare": "every entry forgotten, so that each is made when a poem first meets it",
}

Call = Callable[[lexicons.Step], None]


@lru_cache(maxsize=2)
def steps(n_words: int, seed: int, n_steps: int, batch: int = 64) -> list[lexicons.Step]:
    """Poems, written with a lattice of their own."""
    return list(lexicons.walk(lexicons.lattice(n_words), batch, n_steps, seed))


def cut(of: list[lexicons.Step], batch: int) -> list[lexicons.Step]:
    """The same poems, `batch` rows at a time."""
    rows = of[0].tokens.shape[0]
    return [
        lexicons.Step(step.states[at : at + batch].copy(), step.tokens[at : at + batch].copy())
        for at in range(0, rows, batch)
        for step in of
    ]


def calls(lattice: Lattice, batch: int) -> dict[str, Call]:
    """What is timed, by name. A step's states are changed."""
    bitmask = allocate_token_bitmask(batch, lattice.n_vocab)

    def step_and_mask(step: lexicons.Step) -> None:
        lattice.advance(step.states, step.tokens)
        lattice.masks(step.states)

    def fill(step: lexicons.Step) -> None:
        lattice.fill_next_token_bitmask(step.states, bitmask)

    return {"step and mask": step_and_mask, "bitmask": fill}


def prove(lattice: Lattice, of: list[lexicons.Step]) -> int:
    """Masks and bitmasks of every row against the slow twin; how many rows."""
    rows = len(of[0].tokens)
    bitmask = allocate_token_bitmask(rows, lattice.n_vocab)
    for number, step in enumerate(of):
        masks = lattice.masks(step.states)
        lattice.fill_next_token_bitmask(step.states, bitmask)
        for row in range(rows):
            wanted, outlook = lattice.candidates(step.states[row])
            got = lexicons.candidates(masks, lattice.order, row)
            bits = np.flatnonzero(np.unpackbits(bitmask[row].view(np.uint8), bitorder="little"))
            same = np.array_equal(got[0], wanted) and np.array_equal(bits, wanted)
            if not same or not np.array_equal(got[1], outlook.astype(np.float32)):
                raise SystemExit(f"step {number}, row {row}: the mask is not the slow twin's")
            if step.tokens[row] not in wanted:
                raise SystemExit(f"step {number}, row {row}: the poem left the lattice")
    for step in of[:8]:  # in quick succession, as threads share them: those kernels are there too
        lattice.fill_next_token_bitmask(step.states, bitmask)
    return rows * len(of)


@lru_cache(maxsize=2)
def proved(n_words: int, n_steps: int) -> int:
    """`prove` on the first of the poems that are timed."""
    return prove(lexicons.lattice(n_words), steps(n_words, 1, n_steps)[:60])


def latencies(
    call: Call, of: list[lexicons.Step], clock: Callable[[], int] = time.perf_counter_ns
) -> np.ndarray:
    """Microseconds a sequence of every call in turn: float64 (calls,)."""
    taken = np.empty(len(of))
    gc.collect()
    for i, step in enumerate(of):
        began = clock()
        call(step)
        taken[i] = clock() - began
    return taken / 1000 / len(of[0].tokens)


def lattice_in(state: str, n_words: int, n_steps: int) -> Lattice:
    """A lattice of its own, from the cache, in one of STATES."""
    lattice = lexicons.lattice(n_words)
    if state == "in use":
        for step in steps(n_words, 2, n_steps):
            lattice.masks(step.states)
    elif state == "bare":
        lattice.forget()
    return lattice


# -- rows of the table -----------------------------------------------------------------------------
@pytest.mark.parametrize("what", WANTED)
@pytest.mark.parametrize("batch", BATCHES)
def test_mask(benchmark: BenchmarkFixture, batch: int, what: str) -> None:
    n_words, n_steps = (SMALL, 3) if benchmark.disabled else (N_WORDS, 120)
    new = steps(n_words, 1, n_steps)
    assert proved(n_words, n_steps) == 64 * len(new[:60])
    lattice = lattice_in("in use", n_words, n_steps)
    call = calls(lattice, batch)[what]
    waiting = iter(cut(new, batch)[:2000])
    call(cut(new, batch)[0])  # kernels are compiled

    def one() -> tuple[tuple[lexicons.Step], dict[str, Any]]:
        return (next(waiting),), {}

    benchmark.pedantic(call, setup=one, rounds=min(len(new) * 64 // batch, 2000))
    benchmark.extra_info.update(
        name=f"{what}, {batch} {'row' if batch == 1 else 'rows'}, 50,000 words, all rules",
        unit="µs/sequence", work=batch, rate=False, scale=1e6,
        **({"wanted": WANTED[what][50]} if batch == 64 else {}),
    )  # fmt: skip


# -- percentiles -----------------------------------------------------------------------------------
def measure(
    n_words: int, n_steps: int, clock: Callable[[], int] = time.perf_counter_ns
) -> dict[str, Any]:
    """Percentiles of every call, by what the lattice knew before and by batch."""
    new = steps(n_words, 1, n_steps)
    rows_proved = proved(n_words, n_steps)
    rows = []
    times: dict[str, np.ndarray] = {}
    for state in STATES:
        for batch in BATCHES:
            for what in WANTED:
                lattice = lattice_in(state, n_words, n_steps)
                taken = latencies(calls(lattice, batch)[what], cut(new, batch), clock)
                times[f"{what}, {batch}, {state}"] = taken
                rows.append(
                    {
                        "what": what, "batch": batch, "lattice": state, "calls": len(taken),
                        "unit": "µs/sequence", "mean": float(taken.mean()),
                        "percentiles": {
                            str(p): float(np.percentile(taken, p)) for p in PERCENTILES
                        },
                        **({"wanted": WANTED[what]} if batch == 64 else {}),
                    }
                )  # fmt: skip
    return {
        "machine": machine.card(), "n_words": n_words, "rows_proved": rows_proved, "states": STATES,
        "rows": rows, "times": times,
    }  # fmt: skip


def table(results: dict[str, Any]) -> str:
    """The percentiles, for people."""
    lines = [f"{'µs a sequence':<34}" + "".join(f"{'p' + str(p):>9}" for p in (50, 99, 99.9, 100))]
    for row in results["rows"]:
        found = row["percentiles"]
        name = f"{row['what']}, {row['batch']} rows, {row['lattice']}"
        lines.append(f"{name:<34}" + "".join(f"{found[str(p)]:9.2f}" for p in (50, 99, 99.9, 100)))
    return "\n".join(lines)


def plot(times: dict[str, np.ndarray], path: Path) -> None:
    """Share of calls that took longer, by time: one curve a batch and state, a panel a call."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    colours = dict(zip(BATCHES, ("#4477aa", "#228833", "#ee6677"), strict=True))
    styles = dict(zip(STATES, ("-", "--", ":"), strict=True))
    for panel, what in zip(panels, WANTED, strict=True):
        for batch in BATCHES:
            for state in STATES:
                taken = np.sort(times[f"{what}, {batch}, {state}"])
                longer = 1 - np.arange(len(taken)) / len(taken)
                panel.plot(
                    taken, longer, styles[state], color=colours[batch], linewidth=1.2,
                    drawstyle="steps-post", label=f"{batch} rows, {state}",
                )  # fmt: skip
        for p, wanted in WANTED[what].items():
            panel.plot(wanted, max(1 - p / 100, 1e-4), "kx")
        panel.set(xscale="log", yscale="log", title=what, xlabel="µs a sequence")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("share of calls that took longer")
    panels[1].legend(fontsize=7)
    figure.savefig(path, dpi=120)


def keep(results: dict[str, Any]) -> None:
    """Percentiles and picture beside the other results. Takes the single times away."""
    times = results.pop("times")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "mask.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    plot(times, RESULTS / "mask.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="small work, no figures kept")
    parser.add_argument("--cpu", action="store_true", help="processor time; figures are not kept")
    asked = parser.parse_args()
    smoke, clock = asked.smoke, time.thread_time_ns if asked.cpu else time.perf_counter_ns
    results = measure(SMALL, 3, clock) if smoke else measure(N_WORDS, 120, clock)
    print(table(results))
    if smoke or asked.cpu:
        del results["times"]
    else:
        keep(results)
    print(json.dumps({**results, "smoke": smoke, "processor_time": asked.cpu}))


if __name__ == "__main__":
    main()
