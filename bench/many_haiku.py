"""Thousands of haiku in one call: is the time of each the same at the end, and the memory?

    python bench/many_haiku.py            10,000, plain draws: results/many.json
    python bench/many_haiku.py --smoke    twenty, no figures kept

Every poem is validated by another call than the one that wrote it. Peak memory is this process's
(RSS), read as the poems come. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import figures
import machine
from tqdm import tqdm

from constrained_gpt import iterate, validate

N, PARTS, ROWS = 10_000, 10, 64


def resident() -> int | None:
    """Bytes of memory this process holds now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    import resource

    return pages * resource.getpagesize()


def measure(n: int = N, parts: int = PARTS) -> dict[str, Any]:
    """Haiku a second, and memory, after each part of the poems."""
    rows = []
    began, checking = time.perf_counter(), 0.0
    poems = iterate("autumn rain", n, strategy="sample", batch_size=ROWS, seed=1)
    for i, poem in enumerate(tqdm(poems, total=n, leave=False), 1):
        at = time.perf_counter()
        if not validate(poem.text, poem.report.form, policy="all").valid:
            raise SystemExit(f"not a haiku: {poem.text!r}")
        checking += time.perf_counter() - at
        if i % (n // parts) == 0:
            seconds = time.perf_counter() - began - checking
            rows.append({"poems": i, "haiku_per_s": n / parts / seconds, "bytes": resident()})
            began, checking = time.perf_counter(), 0.0
    return {"machine": machine.card(), "n": n, "batch": ROWS, "parts": rows}


def run(*, smoke: bool, n: int = N) -> dict[str, Any]:
    """Measured, and kept but for a smoke test."""
    results = measure(20, 2) if smoke else measure(n)
    if not smoke:
        figures.keep(results, "many")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=N, metavar="N")
    parser.add_argument("--smoke", action="store_true", help="twenty poems, no figures kept")
    asked = parser.parse_args()
    results = run(smoke=asked.smoke, n=asked.n)
    for part in results["parts"]:
        held = "?" if part["bytes"] is None else f"{part['bytes'] / 2**20:.0f} MiB"
        print(f"{part['poems']:>6} poems: {part['haiku_per_s']:.1f} haiku/s, {held}",
              file=sys.stderr)  # fmt: skip
    print(json.dumps({**results, "smoke": asked.smoke}))


if __name__ == "__main__":
    main()
