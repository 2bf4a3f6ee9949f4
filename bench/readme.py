"""The parts of README.md that are made, not written: tables of figures and the tree of files.

    python bench/readme.py            writes them between their markers
    python bench/readme.py --check    exit status 1 if README.md has others

The figures come from bench/results/*.json; the tree says what docstrings say first. The table of
other syllable counters is left out where README.md has no markers for it (peers).
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine_tables
import figures
import machine
import peers
from figures import short

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
LATEST = ROOT / "bench" / "results" / "latest.json"
FOLDERS = ("lexicon", "kernels", "constrained_gpt", "tests", "bench")
ROOM = 84  # characters for what a file does
_BEGIN = "<!-- {}: begin (make readme) -->"


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    card = results["machine"]
    lines = ["| what | median | middle half | runs |", "| --- | ---: | ---: | ---: |"]
    for row in results["rows"]:
        median, low, high = (short(row[key]) for key in ("median", "low", "high"))
        spread = f"{low} to {high}" if row["rounds"] > 1 else "-"
        lines.append(f"| {row['name']} | {median} {row['unit']} | {spread} | {row['rounds']} |")
    lines += ["", f"Measured at commit {card['commit']} on: {machine.summary(card)}."]
    return "\n".join(lines)


def tree() -> str:
    """Folders and files, each with what it does."""
    lines = ["```"]
    for top in FOLDERS:
        folders = {path.parent for path in (ROOT / top).rglob("*.py")} | {ROOT / top}
        for folder in sorted(folders):
            deep = "  " * len(folder.relative_to(ROOT / top).parts)
            lines.append(_entry(f"{deep}{folder.name}/", folder / "__init__.py"))
            files = (path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py")
            lines += [_entry(f"{deep}  {path.name}", path) for path in files]
    return "\n".join([*lines, "```"])


def _entry(name: str, path: Path) -> str:
    """A line of the tree: the first sentence of a docstring, its first clauses if it is long."""
    if not path.is_file():
        return name
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = re.split(r"(?<=[^.])\.\s", " ".join(said.split("\n\n")[0].split()))[0].rstrip(".")
    first = re.sub(rf"^{path.stem}: ", "", first, flags=re.IGNORECASE)
    for stop in (r"[;:] .*", r" \(.*", r", .*"):
        if len(first) > ROOM:
            first = re.sub(stop, "", first)
    return f"{name:<28} {first}".rstrip()


def _between(text: str, name: str, content: str) -> str:
    begin, end = _BEGIN.format(name), f"<!-- {name}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"README.md must hold the markers {begin!r} and {end!r} once each")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def updated(text: str) -> str:
    """README's text with its made parts as they should be now."""
    if LATEST.is_file():
        results = json.loads(LATEST.read_text("utf-8"))
        text = _between(text, "bench", table(results))
        if "peers" in results and _BEGIN.format("peers") in text:
            text = _between(text, "peers", peers.table(results["peers"]))
    for path in sorted(figures.RESULTS.glob("decoding_*.json")):
        text = _filled(text, path.stem, engine_tables.decoding)
    text = _filled(text, "grammar_masks", engine_tables.masks)
    return _between(text, "tree", tree())


def _filled(text: str, name: str, table_of: Callable[[dict[str, Any]], str]) -> str:
    """With the table of results/NAME.json, if there is that and a place for it, and the picture."""
    results = figures.read(name)
    if results is None or _BEGIN.format(name) not in text:
        return text
    picture = figures.kept(name).with_suffix(".png")
    shown = f"\n\n![the same as a picture]({picture.relative_to(ROOT)})" if picture.exists() else ""
    return _between(text, name, table_of(results) + shown)


def main() -> None:
    old = README.read_text("utf-8")
    new = updated(old)
    if "--check" in sys.argv[1:]:
        raise SystemExit(0 if old == new else "README.md is not up to date: run `make readme`")
    README.write_text(new, "utf-8")


if __name__ == "__main__":
    main()
