"""`haiku find`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .arguments import Commands, files_of, form_of, given
from .output import Bar, Failures, place, print_json, terminal


def find(args: argparse.Namespace) -> int:
    from ..lexicon import HAIKU, find_haiku
    from ..poems import known_encoding
    from ..prose import Prose

    form = HAIKU if args.form is None else form_of(args.form)
    options = given(args, ("policy",))
    options["whole"] = not args.anywhere
    files = files_of(args.files)
    encoding = known_encoding(args.encoding)
    find_haiku("", form, **options)  # refuses what is wrong before anything is read
    failures = Failures()
    some = False
    with Bar(_size(files), unit="B", least=1 << 22) as bar:
        for file in files:
            prose = Prose(file, encoding=encoding, progress=bar.advance)
            with failures:
                for haiku in find_haiku(prose, form, **options):
                    line = prose.line_at(haiku.start)
                    some = True
                    with bar.aside():
                        if args.json:
                            record = {
                                "file": file, "line": line, "start": haiku.start, "end": haiku.end,
                                "lines": haiku.lines,
                            }  # fmt: skip
                            print_json(record)
                        else:
                            print(f"{place(file, line)}\n{haiku.text}\n")
    return 2 if failures.any else 0 if some else 1


def _size(files: Sequence[str]) -> int | None:
    """Bytes to read in all, for the progress bar; None if nobody knows."""
    total = 0
    for file in files:
        try:
            total += 0 if file == "-" else Path(file).stat().st_size
        except OSError:
            continue  # said when it is read
    if "-" not in files:
        return total
    return 0 if terminal(sys.stdin) else None  # no bar under what someone types


def add(command: Commands) -> None:
    """The command and its arguments."""
    parser = command(
        "find", find, "Find haiku nobody meant to write; exit status 1 if there are none."
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="prose; - or none is standard input"
    )
    parser.add_argument("--form", help="haiku (the default), tanka, ... or counts such as 3-5-3")
    parser.add_argument("--policy", help="any: some reading fits; all: every reading does")
    parser.add_argument(
        "--anywhere", action="store_true", help="also runs that begin or end inside a sentence"
    )
    parser.add_argument("--encoding", default="utf-8", help="of the files (default utf-8)")
    parser.add_argument("--json", action="store_true", help="one JSON object a haiku")
