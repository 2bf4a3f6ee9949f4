"""`haiku find` over a file too large to read whole: time, megabytes a second, peak memory.

The text is made up (prose.py) and the same every time. Proves that every haiku planted in it is
found on its line, that what else is found is a haiku, and that ten times the text needs no more
than half as much memory again: what is remembered of words seen before is bounded, and the text
itself is not kept.

    python bench/find_large.py [--megabytes 100] [--runs 1]
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
import prose

from constrained_gpt.lexicon import Form, validate

GROWTH = 1.5  # times the memory for ten times the text, at most
ENOUGH = 50_000_000  # bytes from which on that is asked
# The peak is read by the process itself: what its parent passes on (getrusage) includes the parent.
SEARCH = """
import sys
from constrained_gpt.cli import main
status = main(["find", "--json", sys.argv[1]])
try:
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
except OSError:
    import resource
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(peak, file=sys.stderr)
sys.exit(status)
"""


def once(file: Path, planted: list[int]) -> tuple[float, int, int]:
    """Seconds, peak bytes and how many haiku; stops if they are not the right ones."""
    found = file.with_suffix(".jsonl")
    with found.open("wb") as out:
        began = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-c", SEARCH, str(file)],
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
        )
        seconds = time.perf_counter() - began
    if run.returncode:
        raise SystemExit(f"haiku find failed: {run.stderr.decode().strip()}")
    records = [json.loads(line) for line in found.read_text("utf-8").splitlines()]
    known = set(prose.PLANTED)
    if planted != [r["line"] for r in records if " ".join(r["lines"]) in known]:
        raise SystemExit("haiku planted in the text are not all found, so there is no time to tell")
    form = Form(rhyme="off")
    for record in records[:: max(1, len(records) // 500)]:
        if not validate("\n".join(record["lines"]), form).valid:
            raise SystemExit(f"no haiku, so there is no time to tell: {record['lines']}")
    return seconds, int(run.stderr.split()[-1]), len(records)


def row(name: str, unit: str, figures: list[float]) -> dict[str, Any]:
    """A row for the results."""
    low, _, high = statistics.quantiles(figures, n=4) if len(figures) > 1 else figures * 3
    return {"name": name, "unit": unit, "median": statistics.median(figures), "low": low,
            "high": high, "rounds": len(figures)}  # fmt: skip


def measure(megabytes: float = 100, runs: int = 1) -> list[dict[str, Any]]:
    """Rows for the results: a tenth of the size, then all of it."""
    rows, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        for share in (megabytes / 10, megabytes):
            file = Path(folder) / "prose.txt"
            size, planted = prose.write(file, int(share * 1e6))
            taken = [once(file, planted) for _ in range(runs)]
            peaks.append(max(peak for _, peak, _ in taken))
            text = f"{share:g} MB of prose"
            rows += [
                row(f"`haiku find` in {text}", "MB/s", [size / t / 1e6 for t, _, _ in taken]),
                row(f"`haiku find` in {text}, whole time", "s", [t for t, _, _ in taken]),
                row(f"`haiku find` in {text}, peak memory", "MiB",
                    [peak / 2**20 for _, peak, _ in taken]),
            ]  # fmt: skip
    if megabytes * 1e6 >= ENOUGH and peaks[1] > GROWTH * peaks[0]:
        raise SystemExit(f"memory grows with the text: {peaks[0]} bytes, then {peaks[1]}")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--runs", type=int, default=1)
    asked = parser.parse_args()
    print(json.dumps({"machine": machine.card(), "rows": measure(asked.megabytes, asked.runs)}))
