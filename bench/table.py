"""The README's table of figures, made from bench/results/latest.json.

python bench/table.py            writes it between the markers of README.md
python bench/table.py --check    exit status 1 if README.md has another
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import machine

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
LATEST = ROOT / "bench" / "results" / "latest.json"
BEGIN, END = "<!-- bench: begin (make table) -->", "<!-- bench: end -->"


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    card = results["machine"]
    lines = ["| what | median | middle half | runs |", "| --- | ---: | ---: | ---: |"]
    for row in results["rows"]:
        median, low, high = (_short(row[key]) for key in ("median", "low", "high"))
        spread = f"{low} to {high}" if row["rounds"] > 1 else "-"
        lines.append(f"| {row['name']} | {median} {row['unit']} | {spread} | {row['rounds']} |")
    lines += ["", f"Measured at commit {card['commit']} on: {machine.summary(card)}."]
    return "\n".join(lines)


def _short(figure: float) -> str:
    if figure >= 100:
        return f"{figure:.0f}"
    return f"{figure:.3g}"


def updated(text: str, results: dict[str, Any]) -> str:
    """README's text with the table of these results in it."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"README.md must hold the markers {BEGIN!r} and {END!r} once each")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table(results)}\n{END}{after}"


def main() -> None:
    old = README.read_text("utf-8")
    new = updated(old, json.loads(LATEST.read_text("utf-8")))
    if "--check" in sys.argv[1:]:
        raise SystemExit(0 if old == new else "README.md has an old table: run `make table`")
    README.write_text(new, "utf-8")


if __name__ == "__main__":
    main()
