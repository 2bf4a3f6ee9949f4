"""Poems out of files of any size, one at a time: text, JSON lines, tables, Parquet, Arrow folders.

Knows files and fields; judges nothing and keeps nothing. Called by `prepare`. Parquet and the
folders that Hugging Face `datasets` saves are read with pyarrow, which is optional.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import poems

TEXT = ("text", "poem", "haiku")  # fields and headings that a poem is looked for under
TOPIC = ("topic", "prompt")
LONGEST = 1 << 20  # characters of a line of a file; what is longer is no poem
_BREAK = re.compile(r"\s+/\s+")  # between the lines of a poem in a cell


@dataclass(frozen=True, slots=True)
class Record:
    """A poem as it came: its text, what it was asked to be about if that is known."""

    text: str
    topic: str = ""
    teacher: str = ""  # what a teacher thought at each step (`corpus.teacher`),
    taught_by: str = ""  # which model that was, and
    taught_end: int = -1  # the token it ends a poem with


def read(source: str | Path, column: str | None = None) -> Iterator[Record]:
    """The poems of one file or folder, in order. column: the field that holds the poem."""
    path = Path(source)
    if str(source) != "-" and path.is_dir():
        yield from _from_folder(path, column)
        return
    suffix = "" if str(source) == "-" else path.suffix.lower()
    if suffix == ".parquet":
        yield from _from_parquet(path, column)
    elif suffix == ".arrow":
        yield from _from_arrow(path, column)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _from_json_lines(source, column)
    elif suffix in (".csv", ".tsv"):
        yield from _from_table(source, "\t" if suffix == ".tsv" else ",", column)
    else:
        yield from _from_text(source)


def _lines(source: str | Path) -> Iterator[str]:
    """The lines of a file, or of standard input: decoded, never longer than LONGEST."""
    if str(source) == "-":
        stream = io.TextIOWrapper(poems.standard_input(), "utf-8-sig", newline=None)
        yield from _bounded(stream, "standard input")
        return
    with Path(source).open(encoding="utf-8-sig") as file:
        yield from _bounded(file, str(source))


def _bounded(file: io.TextIOBase | Any, name: str) -> Iterator[str]:
    try:
        while line := file.readline(LONGEST):
            if len(line) == LONGEST:
                raise ValueError(
                    f"{name} has a line of over {LONGEST:,} characters; give a file of poems"
                )
            if "\0" in line:
                raise poems.decoding_error(name, "utf-8-sig")
            yield line
    except UnicodeDecodeError as error:
        raise poems.decoding_error(name, "utf-8-sig", error, len(error.object)) from None


def _from_text(source: str | Path) -> Iterator[Record]:
    block: list[str] = []
    for line in _lines(source):
        if line.strip():
            block.append(line.strip())
        elif block:
            yield Record("\n".join(block))
            block = []
    if block:
        yield Record("\n".join(block))


def _from_json_lines(source: str | Path, column: str | None) -> Iterator[Record]:
    for number, line in enumerate(_lines(source), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{source}: line {number} is not JSON ({error}); mend it") from None
        if not isinstance(record, dict):
            raise ValueError(
                f'{source}: line {number} is no JSON object; write {{"text": ...}} on each line'
            )
        yield _from_fields(record, column, f"{source}: line {number}")


def _from_table(source: str | Path, delimiter: str, column: str | None) -> Iterator[Record]:
    rows: csv.DictReader[str]
    column = None if column is None else column.lower()  # as the headings below
    if delimiter == "\t":
        rows = csv.DictReader(_lines(source), delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:  # strict: a mark that is never closed would swallow all poems after it
        rows = csv.DictReader(_lines(source), delimiter=delimiter, strict=True)
    try:
        for row in rows:
            fields = {str(k).lower(): v for k, v in row.items() if k is not None}
            yield _from_fields(fields, column, f"{source}: line {rows.line_num}")
    except csv.Error as error:
        raise ValueError(f"{source}: line {rows.reader.line_num} {poems.no_row(error)}") from None


def _from_fields(fields: Mapping[str, Any], column: str | None, where: str) -> Record:
    named = (column,) if column is not None else TEXT
    name = next((name for name in named if name in fields), None)
    if name is None:
        have = ", ".join(map(str, fields)) or "none"
        raise ValueError(
            f"{where} has no text under {' or '.join(named)} (its fields: {have}); name the "
            "field with --column"
        )
    text = fields[name]
    if isinstance(text, list):  # of lines
        text = "\n".join(str(line) for line in text)
    if text is None:
        raise ValueError(
            f"{where}: its {name} holds nothing (null); give the poem's text, or leave the row out"
        )
    if not isinstance(text, str):
        raise ValueError(f"{where}: its text is {text!r:.60}, not a string; give the poem's text")
    topic = next((fields[n] for n in TOPIC if n != column and isinstance(fields.get(n), str)), "")
    known = {
        key: fields[key]
        for key, kind in (("teacher", str), ("taught_by", str), ("taught_end", int))
        if isinstance(fields.get(key), kind)
    }
    for key, said in (("text", text), ("topic", topic), ("taught_by", known.get("taught_by", ""))):
        try:
            said.encode()
        except UnicodeEncodeError:  # JSON may hold what no file of text can
            raise ValueError(
                f"{where}: its {key} holds a lone surrogate, half of a character; remove it"
            ) from None
    return Record(_BREAK.sub("\n", text) if "\n" not in text else text, topic, **known)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise ValueError(
            "Parquet and Arrow files need pyarrow: pip install 'constrained-gpt[datasets]'; or "
            "convert them to JSON lines"
        ) from None
    return pyarrow


def _from_batches(batches: Iterable[Any], column: str | None, path: Path) -> Iterator[Record]:
    for batch in batches:
        for row in batch.to_pylist():
            yield _from_fields(row, column, str(path))


def _from_parquet(path: Path, column: str | None) -> Iterator[Record]:
    arrow = _pyarrow()
    try:
        with arrow.parquet.ParquetFile(path) as file:
            yield from _from_batches(file.iter_batches(batch_size=4096), column, path)
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({error}); write it again") from None


def _from_arrow(path: Path, column: str | None) -> Iterator[Record]:
    arrow = _pyarrow()
    try:
        with arrow.memory_map(str(path)) as source:
            try:
                batches = arrow.ipc.open_stream(source)
                yield from _from_batches(batches, column, path)
            except arrow.ArrowInvalid:
                file = arrow.ipc.open_file(source)
                every = (file.get_batch(i) for i in range(file.num_record_batches))
                yield from _from_batches(every, column, path)
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{path}: not an Arrow file ({error}); write it again") from None


def _from_folder(folder: Path, column: str | None) -> Iterator[Record]:
    """All files of a folder that hold poems: one that `datasets` saved, or one of tables."""
    known = (".arrow", ".parquet", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt")
    arrows = sorted(folder.rglob("*.arrow"))
    found = arrows or sorted(p for p in folder.rglob("*") if p.suffix.lower() in known)
    if not found:
        raise ValueError(f"{folder} holds no file of poems ({', '.join(known)}); check the path")
    for path in found:
        yield from read(path, column)


def size(sources: Iterable[str | Path]) -> int | None:
    """Bytes to read in all, for a progress bar; None if nobody knows."""
    total = 0
    for source in sources:
        if str(source) == "-":
            return None if sys.stdin is None or not sys.stdin.isatty() else 0
        path = Path(source)
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        total += sum(p.stat().st_size for p in files if p.exists())
    return total
