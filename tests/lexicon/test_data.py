"""Every data file has a row in SOURCES.md, with its sum and its count.

`python tests/lexicon/test_data.py` writes the sums and counts afresh.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import constrained_gpt.lexicon as package

DATA = Path(package.__file__).parent / "data"
SOURCES = DATA / "SOURCES.md"
ROW = re.compile(r"^\| `([\w.]+)` \| ([\d,]+) \| `([0-9a-f]{64})` \|", re.MULTILINE)


def count(path: Path) -> int:
    """Rows of a text file, comments and a header left out; bytes of any other."""
    if path.suffix not in {".tsv", ".txt"}:
        return path.stat().st_size
    lines = path.read_text(encoding="utf-8").splitlines()
    return sum(1 for x in lines if x and not x.startswith(("#", "phrase\tseason")))


def rows() -> dict[str, tuple[int, str]]:
    """File name -> (count, sum) as SOURCES.md has them."""
    found = ROW.findall(SOURCES.read_text(encoding="utf-8"))
    return {name: (int(number.replace(",", "")), digest) for name, number, digest in found}


def files() -> list[Path]:
    """The data files that need a row."""
    return sorted(p for p in DATA.iterdir() if p.suffix in {".tsv", ".txt", ".npz"})


def test_every_file_has_its_row() -> None:
    assert sorted(rows()) == [path.name for path in files()]


def test_sums_and_counts_are_those_of_the_files() -> None:
    for path in files():
        number, digest = rows()[path.name]
        assert count(path) == number, path.name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, path.name


if __name__ == "__main__":
    text = SOURCES.read_text(encoding="utf-8")
    for path in files():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        start = f"| `{path.name}` |"
        text = re.sub(
            re.escape(start) + r" [\d,]+ \| `[0-9a-f]*` \|",
            f"{start} {count(path):,} | `{digest}` |",
            text,
        )
    SOURCES.write_text(text, encoding="utf-8")
