"""All benches in one run: proves, times, and writes bench/results/*.json.

    python bench/run.py            measures; the README is then made by bench/readme.py
    python bench/run.py --smoke    the same code once over small work, no figures kept

--corpus, --disputed and --node-modules go to peers.py, which says what they are. The last line
printed is the results as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import bench_mask
import decoding_peers
import find_large
import first_poem
import lexicon_sizes
import lexicon_start
import machine
import mask_peers
import peers
import plots
import step_parts

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"
SCHEMA = 1


def pytest_rows(smoke: bool) -> list[dict[str, Any]]:
    """Run bench_*.py under pytest-benchmark; one row a bench."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable, "-m", "pytest", "-q", "-o", "python_files=bench_*.py",
            "-o", f"pythonpath={HERE}", str(HERE), "--benchmark-warmup=off",
            *(["--benchmark-disable"] if smoke else [f"--benchmark-json={report}"]),
        ]  # fmt: skip
        run = subprocess.run(command, cwd=folder, stdout=sys.stderr, check=False)
        if run.returncode:
            raise SystemExit(f"the benches failed (pytest's status {run.returncode})")
        if smoke:
            return []
        return [row(bench) for bench in json.loads(report.read_text("utf-8"))["benchmarks"]]


def row(bench: dict[str, Any]) -> dict[str, Any]:
    """One bench of pytest-benchmark's report, in the unit that it names for itself."""
    info, stats = bench["extra_info"], bench["stats"]
    work, rate = info["work"], info["rate"]  # units of work a round; is the figure work per time?
    scale = info.get("scale", 1.0)

    def figure(seconds: float) -> float:
        return (work / seconds if rate else seconds / work) * scale

    ends = sorted((figure(stats["q1"]), figure(stats["q3"])))
    return {
        "name": info["name"], "unit": info["unit"], "median": figure(stats["median"]),
        "low": ends[0], "high": ends[1], "rounds": stats["rounds"],
        **{key: info[key] for key in ("wanted", "peak_bytes") if key in info},
    }  # fmt: skip


def alone(bench: str, smoke: bool) -> None:
    """Run a bench in a process of its own, for it tells how much memory that holds."""
    command = [sys.executable, str(HERE / bench), *(["--smoke"] if smoke else [])]
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
        raise SystemExit(f"{bench} failed")


def missed(row: dict[str, Any]) -> bool:
    """Whether a row's figure is not what is wanted: at least so much a second, at most so long."""
    if "wanted" not in row:
        return False
    rate = row["unit"].endswith("/s")
    return bool(row["median"] < row["wanted"] if rate else row["median"] > row["wanted"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="run the code once, keep no figures")
    peers.options(parser)
    asked = parser.parse_args()
    smoke = asked.smoke
    rows = [
        *pytest_rows(smoke),
        *lexicon_start.measure(1 if smoke else 15),
        *find_large.measure(0.2 if smoke else 100),
        *first_poem.measure(1 if smoke else 7, first_ever=not smoke),
        *lexicon_sizes.measure(smoke),
    ]
    latencies = bench_mask.measure(*((bench_mask.SMALL, 3) if smoke else (bench_mask.N_WORDS, 120)))
    if not smoke:
        bench_mask.keep(latencies)
    side_by_side = peers.measure(smoke, asked.corpus, asked.disputed, asked.node_modules)
    results = {"schema": SCHEMA, "machine": machine.card(), "rows": rows, "peers": side_by_side}
    step_parts.run(smoke=smoke)
    alone("many_haiku.py", smoke)
    decoding_peers.run(smoke=smoke)
    mask_peers.run(smoke=smoke)
    for row in () if smoke else filter(missed, rows):
        print(f"{row['name']}: {row['median']:.4g} {row['unit']}, wanted {row['wanted']:,}",
              file=sys.stderr)  # fmt: skip
    if not smoke:
        LATEST.parent.mkdir(exist_ok=True)
        LATEST.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        plots.draw_all()
    print(json.dumps({**results, "smoke": smoke}))


if __name__ == "__main__":
    main()
