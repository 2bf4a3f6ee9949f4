"""Poems in files: reading text and cutting it into poems.

Knows blank lines and encodings; knows no syllables, no tokens and no model. Called by the command
line (`haiku check`) and by fine-tuning (`haiku prepare`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST = 100_000_000  # bytes; a file past this is not a file of poems


@dataclass(frozen=True)
class Poem:
    """One poem of a file and the line it begins on, counted from 1."""

    text: str
    line: int


def read(source: str | Path) -> str:
    """The text of a file, or of standard input if `source` is "-". UTF-8."""
    if str(source) == "-":
        data = sys.stdin.buffer.read(LONGEST + 1)
    else:
        with Path(source).open("rb") as file:
            data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(f"{source} is over {LONGEST // 10**6} MB; split it into several files")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x}); "
            "convert it first, e.g. with iconv -t utf-8"
        ) from None


def split(text: str) -> Iterator[Poem]:
    """The poems of a text, which blank lines separate."""
    block: list[str] = []
    first = 1
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            if not block:
                first = number
            block.append(line.rstrip())
        elif block:
            yield Poem("\n".join(block), first)
            block = []
    if block:
        yield Poem("\n".join(block), first)


def split_jsonl(text: str, field: str = "text") -> Iterator[Poem]:
    """The poems of JSON lines, such as `haiku write --json` prints."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            poem = json.loads(line)[field]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"line {number} is not a JSON object with a {field!r} field ({error}); "
                'write one poem a line as {"' + field + '": ...}'
            ) from None
        if not isinstance(poem, str):
            raise ValueError(f"line {number}: {field!r} is not a string; give the poem's text")
        yield Poem(poem, number)


def load(source: str | Path) -> list[Poem]:
    """All poems of a file: JSON lines if named .jsonl, else text with blank lines between."""
    text = read(source)
    return list(split_jsonl(text) if str(source).endswith(".jsonl") else split(text))
