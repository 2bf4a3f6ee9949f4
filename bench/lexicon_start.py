"""Time until the lexicon is there: whole processes, as a person at a terminal meets them.

`import constrained_gpt.lexicon` is timed inside a fresh interpreter, `haiku check FILE` from
outside: from the command line to the first line of its verdict. Proves that torch stays out and
that every verdict is right. `python -c pass` stands beside them: what no program can go below.

    python bench/lexicon_start.py [--runs N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import machine

POEM = "An old silent pond\nA frog jumps into the pond\nSplash! Silence again\n"
UNKNOWN = (
    "An old silent pond\nA vreek jumps into the pond\nSplash! Silence again\n"  # a word of none
)
VERDICT = "haiku: valid (policy any)"
IMPORT = """
import json, sys, time
began = time.perf_counter()
import constrained_gpt.lexicon
seconds = time.perf_counter() - began
print(json.dumps([seconds, "torch" in sys.modules]))
"""


def command() -> list[str]:
    """`haiku` as it is installed beside this interpreter, or else as a module."""
    script = Path(sys.executable).with_name("haiku")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "constrained_gpt.cli"]


def import_once() -> float:
    """Seconds that the import took in an interpreter of its own."""
    run = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    seconds, torch = json.loads(run.stdout)
    if torch:
        raise SystemExit("import constrained_gpt.lexicon loads torch, so there is no time to tell")
    return float(seconds)


def pass_once() -> float:
    """Seconds that a process takes to do nothing."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def check_once(file: Path) -> float:
    """Seconds from the command line to the first line of the verdict."""
    began = time.perf_counter()
    with subprocess.Popen([*command(), "check", str(file)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        first = run.stdout.readline()
        seconds = time.perf_counter() - began
        run.stdout.read()
    if run.returncode or first.decode().strip() != VERDICT:
        raise SystemExit(f"haiku check says {first.decode()!r}, so there is no time to tell")
    return seconds


def measure(runs: int) -> list[dict[str, Any]]:
    """Rows for the results. One run of each goes before and is not counted: files become warm."""
    with tempfile.TemporaryDirectory() as folder:
        known, unknown = Path(folder) / "known.txt", Path(folder) / "unknown.txt"
        known.write_text(POEM, "utf-8")
        unknown.write_text(UNKNOWN, "utf-8")
        kinds: dict[str, tuple[Any, float | None]] = {
            "`python -c pass`, for comparison": (pass_once, None),
            "`import constrained_gpt.lexicon`": (import_once, 150),
            "`haiku check FILE` to its first verdict": (lambda: check_once(known), 400),
            "`haiku check FILE`, one of its words in no dictionary": (
                lambda: check_once(unknown),
                None,
            ),
        }
        times: dict[str, list[float]] = {name: [] for name in kinds}
        for number in range(runs + 1):  # in turn, so that a busy moment hits all alike
            for name, (once, _) in kinds.items():
                seconds = once()
                if number:
                    times[name].append(1000 * seconds)
    rows = []
    for name, (_, wanted) in kinds.items():
        taken = times[name]
        low, _, high = statistics.quantiles(taken, n=4) if len(taken) > 1 else taken * 3
        row = {"name": name, "unit": "ms", "median": statistics.median(taken), "low": low,
               "high": high, "rounds": len(taken)}  # fmt: skip
        rows.append(row if wanted is None else {**row, "wanted": wanted})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    print(json.dumps({"machine": machine.card(), "rows": measure(parser.parse_args().runs)}))
