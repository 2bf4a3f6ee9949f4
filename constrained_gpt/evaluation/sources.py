"""Sets of poems to measure: from text, JSON lines or tables, with what a poem carries along.

Knows files and fields; measures nothing. Called by the command line (`haiku eval`) and by
`evaluate`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from constrained_gpt import poems

COLUMNS = ("text", "poem", "haiku")  # headings that a column of poems is looked for under
_TABLES = (".tsv", ".csv")
_BREAK = re.compile(r"\s+/\s+|\s*[\r\n]+\s*")  # between the lines of a poem in a cell


@dataclass(frozen=True, slots=True)
class Entry:
    """One poem and what came with it.

    text     its lines, joined by line breaks; no blank ones, no space around them
    line     of its file, from 1; 0 if it comes from no file
    prompt, model, logprob, weight: as `Haiku` has them, None where unknown
    line_log_mass  log of the mass that the mask kept, for each line that the model wrote; () where
                   unknown
    """

    text: str
    line: int = 0
    prompt: str | None = None
    model: str | None = None
    logprob: float | None = None
    weight: float | None = None
    line_log_mass: tuple[float, ...] = ()

    @property
    def lines(self) -> list[str]:
        """The lines of the poem."""
        return self.text.split("\n") if self.text else []


@dataclass(frozen=True)
class PoemSet:
    """Poems to be measured together. file: where they come from, None if from no file."""

    name: str
    entries: Sequence[Entry]
    file: str | None = None


def tidy(text: str) -> str:
    """The text without blank lines and without space around its lines."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def entry(poem: object) -> Entry:
    """An Entry from a str, an Entry, a `Haiku` or a record as `haiku write --json` prints it."""
    if isinstance(poem, Entry):
        return poem
    if isinstance(poem, str):
        return Entry(tidy(poem))
    if isinstance(poem, Mapping):
        return _from_record(poem, 0)
    if hasattr(poem, "to_dict"):
        return _from_record(poem.to_dict(), 0)
    raise TypeError(f"a poem is a str, a Haiku or a record with a text, not {poem!r:.80}")


def _from_record(record: Mapping[str, Any], line: int) -> Entry:
    text = record.get("text")
    if not isinstance(text, str):
        raise ValueError('no "text" that is a string; write one poem a line as {"text": ...}')
    if "line" in record and "poem" in record and "lines" not in record and "\n" not in text:
        raise ValueError(
            "one line of a poem, as `haiku write --stream` prints it; leave --stream out"
        )
    return Entry(
        tidy(text),
        line,
        _text(record, "prompt"),
        _text(record, "model"),
        _number(record, "logprob"),
        _number(record, "weight"),
        _numbers(record, "line_log_mass"),
    )


def _text(record: Mapping[str, Any], name: str) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name!r} is not a string; leave it out or give a string")
    return value


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name!r} is not a number; leave it out or give a number")
    return float(value) if math.isfinite(value) else None


def _numbers(record: Mapping[str, Any], name: str) -> tuple[float, ...]:
    values = record.get(name)
    if values is None:
        return ()
    if not isinstance(values, (list, tuple)) or not all(
        isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values
    ):
        raise ValueError(f"{name!r} is not a list of numbers; leave it out")
    return tuple(map(float, values))


def load(source: str | Path, encoding: str = "utf-8", column: str | None = None) -> list[Entry]:
    """The poems of a file, or of standard input if `source` is "-".

    .jsonl, or text that begins with a JSON object: one object a line, as `haiku write --json`
    prints them. .tsv, .csv: a heading, and the poems in the column of that name (`column`, or the
    first of COLUMNS), their lines joined by " / " or by line breaks. All else: text, blank lines
    between the poems. A poem without a word is no poem and is passed over.

    Raises ValueError, with the cure, for what cannot be read, and if nothing is left.
    """
    name = "standard input" if str(source) == "-" else str(source)
    text = poems.read(source, encoding)
    suffix = Path(source).suffix.lower()
    try:
        if suffix in _TABLES:
            found = list(_from_table(text, suffix, column))
        elif column is not None:
            raise ValueError("it has no columns; leave --column out, or give a .tsv or .csv file")
        elif suffix in (".jsonl", ".ndjson") or _is_json(text):
            found = list(_from_json_lines(text))
        else:
            found = [Entry(tidy(poem.text), poem.line) for poem in poems.split(text)]
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    found = [poem for poem in found if any(map(str.isalnum, poem.text))]
    if not found:
        raise ValueError(f"{name} holds no poems; give a file with at least one")
    return found


def _is_json(text: str) -> bool:
    """Whether text of no telling name is JSON lines: its first line is an object."""
    first = text.lstrip()[:1_000_000].split("\n", 1)[0]
    if not first.startswith("{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _from_json_lines(text: str) -> Iterator[Entry]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number} is no JSON ({error}); write one poem a line") from None
        if not isinstance(record, dict):
            raise ValueError(f'line {number} is no JSON object; write {{"text": ...}}')
        try:
            yield _from_record(record, number)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _from_table(text: str, suffix: str, column: str | None) -> Iterator[Entry]:
    source = io.StringIO(text, newline="")
    if suffix == ".tsv":  # a quotation mark is one of the poem's
        rows = csv.reader(source, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:  # it holds a cell together, and if it is never closed all cells after it
        rows = csv.reader(source, strict=True)
    try:
        heading = [cell.strip() for cell in next(rows, [])]
        place = _column(heading, column)
        number = rows.line_num
        for row in rows:
            number, begun = rows.line_num, number + 1
            if len(row) > place:
                yield Entry(tidy(_BREAK.sub("\n", row[place])), begun)
            elif row:
                raise ValueError(
                    f"line {begun} has {len(row)} of {len(heading)} columns; complete the row"
                )
    except csv.Error as error:
        raise ValueError(f"line {rows.line_num} {poems.no_row(error)}") from None


def _column(heading: Sequence[str], asked: str | None) -> int:
    if asked is not None:
        if asked not in heading:
            raise ValueError(f"no column {asked!r}; it has {', '.join(heading) or 'none'}")
        return heading.index(asked)
    for name in COLUMNS:
        for place, cell in enumerate(heading):
            if cell.lower() == name:
                return place
    raise ValueError(
        f"no column is headed {' or '.join(COLUMNS)}; name one of {', '.join(heading) or 'none'} "
        "with --column"
    )


def names(files: Iterable[str]) -> list[str]:
    """What to call the sets of some files: their stems if these differ, else as they were given."""
    given = ["standard input" if file == "-" else file for file in files]
    stems = [name if name == "standard input" else Path(name).stem for name in given]
    return stems if len(set(stems)) == len(stems) else given
