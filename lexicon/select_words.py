"""Selects the words of data/words.tsv: a word list of common English, less and plus reviewed lists.

A program: `python -m constrained_gpt.lexicon.select_words` rewrites data/words.tsv from Debian's
word list of common words and the lists in data/. Knows no readings; vocabulary.py looks them up.
"""

from __future__ import annotations

import argparse
import codecs
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from .pronunciations import pronunciations
from .vocabulary import WORDS, Lexicon

DATA = Path(__file__).with_name("data")
SCOWL = Path("/usr/share/dict/american-english-small")
# The edition that data/words.tsv was made of: wamerican-small 2020.12.07-2, the file as it comes.
EDITION = "a6e2bc32526c38fa082ffbdb527ad9999e41b0a712d06e8415244068454d4d55"


def _lines(name: str) -> list[str]:
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def blocked() -> frozenset[str]:
    """The words that are never printed (data/blocked.txt)."""
    return frozenset(codecs.decode(line, "rot13") for line in _lines("blocked.txt"))


def select(common: Iterable[str]) -> list[str]:
    """The words of a lexicon, as displayed, out of a list of common words.

    Of the list: lower-case words of letters alone that the dictionary pronounces, but for those
    that are blocked or dropped. Besides: the words chosen by hand.
    """
    out = blocked() | set(_lines("dropped.txt"))
    kept = {
        word
        for word in common
        if word.isascii() and word.isalpha() and word.islower()
        if word not in out and pronunciations(word)
    }
    return sorted(kept.union(_lines("chosen.txt")))


def read_common(path: Path) -> list[str]:
    """The word list, one word a line; an error says where it comes from."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no word list at {path}; install it (Debian: apt install wamerican-small) "
            "or name it: --words PATH"
        )
    return path.read_text(encoding="utf-8").split()


def main(argv: list[str] | None = None) -> int:
    """Rewrite data/words.tsv; the exit status is 1 if the word list is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m constrained_gpt.lexicon.select_words", description=__doc__
    )
    parser.add_argument("--words", type=Path, default=SCOWL, help=f"the word list ({SCOWL})")
    parser.add_argument("--out", type=Path, default=WORDS, help="where to write words.tsv")
    options = parser.parse_args(argv)
    try:
        common = read_common(options.words)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    if hashlib.sha256(options.words.read_bytes()).hexdigest() != EDITION:
        print(f"{options.words} is another edition: the words may differ", file=sys.stderr)
    lexicon = Lexicon(select(common))
    options.out.write_text("".join(lexicon.rows()), encoding="utf-8")
    print(lexicon)
    return 0


if __name__ == "__main__":
    sys.exit(main())
