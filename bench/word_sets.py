"""Words and lines that syllable counters are measured on, with what is right; peers.py says how.

Knows files and our own cutting of lines into words; no counter. peers.py calls it.
"""

from __future__ import annotations

import re
from pathlib import Path

from constrained_gpt.lexicon.measure_estimator import counts as held_out
from constrained_gpt.lexicon.normalize import plain, words
from constrained_gpt.lexicon.train_estimator import HOLD_OUT

ROOT = Path(__file__).resolve().parent.parent
WRITTEN = ROOT / "tests" / "lexicon" / "written_forms.txt"

Counts = frozenset[int]


def written_forms(path: Path = WRITTEN) -> list[tuple[str, Counts, Counts]]:
    """(form, counts that are right, counts that are barred) of every row."""
    forms = []
    for line in path.read_text("utf-8").splitlines():
        if not line or line.startswith("# ") or re.fullmatch(r"\[.*\]", line):
            continue
        form, *cells = line.split()
        barred = frozenset(int(cell[1:]) for cell in cells if cell.startswith("!"))
        forms.append((form, frozenset(int(cell) for cell in cells if cell[0] != "!"), barred))
    return forms


def unseen_words() -> dict[str, Counts]:
    """Words that the estimator never saw, and the counts of their pronunciations in CMUdict."""
    return {
        word: frozenset(counts)
        for word, counts in sorted(held_out(HOLD_OUT).items())
        if re.fullmatch("[a-z'-]+", word)
    }


def corpus(path: Path) -> list[list[list[str]]]:
    """The words of the lines of every poem whose check was on."""
    head, *rows = path.read_text("utf-8").splitlines()
    if head.split("\t") != ["upstream_check", "text"]:
        raise SystemExit(f"{path} needs the columns upstream_check and text, tab between them")
    poems = [text.split(" / ") for check, text in (r.split("\t") for r in rows) if check == "on"]
    return [[tokens(line) for line in poem] for poem in poems]


def disputed(path: Path) -> list[tuple[list[str], int, bool]]:
    """(words, target, verdict) of every line."""
    found = []
    for number, row in enumerate(path.read_text("utf-8").splitlines(), 1):
        cells = row.split("\t")
        if not row.strip() or row.startswith("#") or (number == 1 and cells[1:2] == ["target"]):
            continue
        if len(cells) < 3 or not cells[1].isdigit() or cells[2] not in ("yes", "no"):
            raise SystemExit(f"{path} line {number}: write line, target, yes or no, tabs between")
        found.append((tokens(cells[0]), int(cells[1]), cells[2] == "yes"))
    return found


def tokens(line: str) -> list[str]:
    """The words of a line as every counter gets them."""
    return [plain(word.text) for word in words(line)]
