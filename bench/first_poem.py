"""Time from `haiku write` to the first poem: whole processes, as a person at a terminal meets them.

Warm: everything is in the caches. New cache folder: lattice compiled, weights read and
quantised. First run ever: the kernels are compiled too, into an empty NUMBA_CACHE_DIR.
Beside them what torch alone takes to be imported and to load the weights of SmolLM2, saved by
torch.save as float32. Proves first that every run prints the same poem, that it is a haiku, and
that no torch is loaded on the way to it.

    python bench/first_poem.py [--runs N] [--first-ever]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine

from constrained_gpt.lexicon import validate

ARGUMENTS = ["write", "autumn rain", "--seed", "1", "--dtype", "int8"]
COMMAND = [sys.executable, "-m", "constrained_gpt.cli", *ARGUMENTS]
PROOF = f"""
import sys
from constrained_gpt.cli import main
status = main({ARGUMENTS})
sys.exit("torch was loaded" if "torch" in sys.modules else status)
"""
IMPORT = """
import time
began = time.perf_counter()
import constrained_gpt
{}
print(time.perf_counter() - began)
"""
SAVE = """
import sys, torch
from constrained_gpt.checkpoint import load
torch.save(load("smollm2").state_dict, sys.argv[1])
"""
LOAD = """
import sys, torch
assert sum(t.numel() for t in torch.load(sys.argv[1], weights_only=True).values()) > 10**8
"""
WANTED, WANTED_IMPORT = 2.5, 0.2  # seconds: to the first poem, warm; of `import constrained_gpt`


def run(*command: str, **environment: str) -> tuple[float, str]:
    """Seconds that a command took, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)[:80]} failed: {done.stderr.strip()}")
    return seconds, done.stdout.strip()


def measure(runs: int, first_ever: bool = False) -> list[dict[str, Any]]:
    """Rows for the results: cold once, the others `runs` times in turn."""
    with tempfile.TemporaryDirectory() as folder:
        here = {"CONSTRAINED_GPT_CACHE": f"{folder}/cache"}
        weights = f"{folder}/weights.pt"
        _, poem = run(sys.executable, "-c", PROOF, **here)  # compiles the kernels, if need be
        if not validate(poem, policy="all").valid:
            raise SystemExit(f"not a haiku, so there is no time to tell:\n{poem}")

        def write(**environment: str) -> float:
            seconds, again = run(*COMMAND, **{**here, **environment})
            if again != poem:
                raise SystemExit(
                    f"one seed, two poems, so there is no time to tell:\n{poem}\n{again}"
                )
            return seconds

        new = write(CONSTRAINED_GPT_CACHE=f"{folder}/new")
        rows = [_row("`haiku write` to the first poem, new cache folder", [new])]
        if first_ever:
            empty = {"CONSTRAINED_GPT_CACHE": f"{folder}/other", "NUMBA_CACHE_DIR": f"{folder}/jit"}
            rows.append(_row("`haiku write` to the first poem, first run ever", [write(**empty)]))
        run(sys.executable, "-c", PROOF, **here)
        run(sys.executable, "-c", SAVE, weights)

        def imported(more: str) -> float:
            return float(run(sys.executable, "-c", IMPORT.format(more))[1])

        kinds: dict[str, Callable[[], float]] = {
            "`import constrained_gpt`": lambda: imported("pass"),
            "`from constrained_gpt import generate`": lambda: imported("constrained_gpt.generate"),
            "`haiku write` to the first poem": write,
            "torch alone: import and load the weights (float32)": lambda: run(
                sys.executable, "-c", LOAD, weights
            )[0],
        }
        times: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(runs):  # in turn, so that a busy moment hits all alike
            for name, once in kinds.items():
                times[name].append(once())
        size = Path(weights).stat().st_size
    rows += [_row(name, taken) for name, taken in times.items()]
    rows[-1]["bytes"] = size
    rows[-2]["wanted"] = WANTED
    rows[-4]["wanted"] = WANTED_IMPORT
    return rows


def _row(name: str, seconds: list[float]) -> dict[str, Any]:
    low, _, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
    return {
        "name": name, "unit": "s", "median": statistics.median(seconds), "low": low, "high": high,
        "rounds": len(seconds),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--first-ever", action="store_true", help="compile all kernels too: slow")
    asked = parser.parse_args()
    rows = measure(asked.runs, asked.first_ever)
    print(json.dumps({"machine": machine.card(), "load": os.getloadavg(), "rows": rows}))
