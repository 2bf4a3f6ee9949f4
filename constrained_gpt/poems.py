"""Poems in files: reading text and cutting it into poems.

Knows blank lines and encodings; knows no syllables, no tokens and no model. Called by the command
line (`haiku check`) and by fine-tuning (`haiku prepare`).
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_NO_TEXT = ("undefined", "idna", "punycode")  # the last two are for names of hosts
LONGEST = 100_000_000  # bytes; a file past this is not a file of poems


@dataclass(frozen=True)
class Poem:
    """One poem of a file and the line it begins on, counted from 1."""

    text: str
    line: int


def known_encoding(encoding: str) -> str:
    """The encoding to decode with; ValueError if there is none of that name."""
    try:
        info = codecs.lookup(encoding)
    except (LookupError, ValueError):
        info = None
    if info is None or not info._is_text_encoding or info.name in _NO_TEXT:
        raise ValueError(f"encoding {encoding!r} is unknown; use e.g. utf-8, latin-1 or utf-16")
    return "utf-8-sig" if info.name == "utf-8" else info.name  # a byte order mark is no text


def decoding_error(
    source: str | Path, encoding: str, error: UnicodeDecodeError | None = None, read: int = 0
) -> ValueError:
    """What to say of bytes that are not text of an encoding; without `error`, of a NUL in them.

    read  bytes read in all, those that `error` speaks of being the last of them
    """
    name = _name(source)
    kind = "UTF-8" if encoding == "utf-8-sig" else encoding
    if error is None:
        return ValueError(
            f"{name} is not {kind} text (it holds NUL bytes); give a text file, or name its "
            "encoding to check or find, e.g. --encoding utf-16"
        )
    before = read - len(error.object)
    head = bytes(error.object[:2]) if not before else b""
    if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return ValueError(
            f"{name} is not {kind} but UTF-16 text; convert it first, e.g. with iconv -t utf-8, or "
            "say --encoding utf-16 to check or find"
        )
    at = f"byte {before + error.start} is 0x{error.object[error.start]:02x}"
    return ValueError(
        f"{name} is not {kind} text ({at}); convert it first, e.g. with iconv -t utf-8, or name "
        "its encoding to check or find, e.g. --encoding latin-1"
    )


def _name(source: str | Path) -> str:
    return "standard input" if str(source) == "-" else str(source)


def no_row(error: Exception) -> str:
    """What to say of a line that csv refuses."""
    return (
        f"is no row of a table ({error}); close every quotation mark, and write one inside a "
        "quoted cell twice"
    )


def standard_input() -> BinaryIO:
    """The bytes of standard input; ValueError if it is closed."""
    if sys.stdin is None:
        raise ValueError("standard input is closed; name a file")
    return sys.stdin.buffer


def read(source: str | Path, encoding: str = "utf-8") -> str:
    """The text of a file, or of standard input if `source` is "-"."""
    encoding = known_encoding(encoding)
    if str(source) == "-":
        data = standard_input().read(LONGEST + 1)
    else:
        with Path(source).open("rb") as file:
            data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(
            f"{_name(source)} is over {LONGEST // 10**6} MB; split it into several files"
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise decoding_error(source, encoding, error, len(data)) from None
    if "\0" in text:
        raise decoding_error(source, encoding)
    return text


def split(text: str) -> Iterator[Poem]:
    """The poems of a text, which blank lines separate."""
    block: list[str] = []
    first = number = 1
    for line in text.splitlines(keepends=True):
        if line.strip():
            if not block:
                first = number
            block.append(line.rstrip())
        elif block:
            yield Poem("\n".join(block), first)
            block = []
        number += line[-1] in "\n\r"  # a form feed ends a line of verse and none of the file
    if block:
        yield Poem("\n".join(block), first)


def split_jsonl(text: str, field: str = "text") -> Iterator[Poem]:
    """The poems of JSON lines, such as `haiku write --json` prints."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            poem = json.loads(line)[field]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"line {number} is not a JSON object with a {field!r} field ({error}); "
                'write one poem a line as {"' + field + '": ...}'
            ) from None
        if not isinstance(poem, str):
            raise ValueError(f"line {number}: {field!r} is not a string; give the poem's text")
        yield Poem(poem, number)


def load(source: str | Path, encoding: str = "utf-8") -> list[Poem]:
    """All poems of a file: JSON lines if named .jsonl, else text with blank lines between."""
    text = read(source, encoding)
    if not str(source).endswith(".jsonl"):
        return list(split(text))
    try:
        return list(split_jsonl(text))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
