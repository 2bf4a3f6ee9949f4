"""Time from `haiku write` to the first poem: whole processes, as a person at a terminal meets them.

Cold: with an empty cache (the lattice is compiled, the weights are read from the GGUF file). Warm:
the runs after. Proves first that every run prints the same poem, and that it is a haiku.

    python bench/first_poem.py [--runs N]
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
from typing import Any

import machine

from constrained_gpt.lexicon import validate

COMMAND = [sys.executable, "-m", "constrained_gpt.cli", "write", "autumn rain", "--seed", "1"]


def once(cache: str) -> tuple[float, str]:
    """Seconds until the poem is there, and the poem."""
    environment = {**os.environ, "CONSTRAINED_GPT_CACHE": cache}
    began = time.perf_counter()
    run = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if run.returncode:
        raise SystemExit(f"haiku write failed: {run.stderr.strip()}")
    return seconds, run.stdout.strip()


def measure(runs: int) -> list[dict[str, Any]]:
    """Rows for the results: cold once, warm `runs` times."""
    with tempfile.TemporaryDirectory() as cache:
        cold, poem = once(cache)
        if not validate(poem, policy="all").valid:
            raise SystemExit(f"not a haiku, so there is no time to tell:\n{poem}")
        warm = []
        for _ in range(runs):
            seconds, again = once(cache)
            if again != poem:
                raise SystemExit(
                    f"one seed, two poems, so there is no time to tell:\n{poem}\n{again}"
                )
            warm.append(seconds)
    low, _, high = statistics.quantiles(warm, n=4) if len(warm) > 1 else warm * 3
    return [
        {"name": "`haiku write` to the first poem, first run ever", "unit": "s", "median": cold,
         "low": cold, "high": cold, "rounds": 1},
        {"name": "`haiku write` to the first poem", "unit": "s", "median": statistics.median(warm),
         "low": low, "high": high, "rounds": len(warm)},
    ]  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    print(json.dumps({"machine": machine.card(), "rows": measure(parser.parse_args().runs)}))
