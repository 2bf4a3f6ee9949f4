"""`haiku check`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Commands, files_of, form_of, given
from .output import Failures, place, print_json, terminal

if TYPE_CHECKING:
    from ..lexicon import UserWords


def check(args: argparse.Namespace) -> int:
    from .. import poems
    from ..lexicon import HAIKU, Saijiki, UserWords, report_schema, validate

    if args.schema:
        print(report_schema(), end="")
        return 0
    rules = given(args, ("kigo", "kireji", "rhyme", "dangling"))
    form = dataclasses.replace(HAIKU if args.form is None else form_of(args.form), **rules)
    files = files_of(args.files)
    encoding = poems.known_encoding(args.encoding)
    words = UserWords()
    ask = args.unknown == "ask"
    if args.words is not None and (os.path.lexists(args.words) or not ask):
        words = UserWords.load(args.words)
    options = given(args, ("policy", "unknown"))
    options.update(lenient=args.lenient, words=words)
    if ask:
        options["unknown"] = _Asker(words, args.words, "-" in files)
    if args.saijiki:
        options["saijiki"] = Saijiki.from_files(*args.saijiki, base=Saijiki.default())
    validate("", form, **options)  # refuses what is wrong before anything is read
    failures = Failures()
    valid = True
    for file in files:
        found: list[poems.Poem] = []
        with failures:
            found = poems.load(file, encoding) or [poems.Poem("", 1)]
        many = len(files) > 1 or len(found) > 1
        for number, poem in enumerate(found, 1):
            report = validate(poem.text, form, **options)
            valid = valid and report.valid
            if args.quiet and report.valid:
                continue
            if args.json:
                record = {"file": file, "poem": number, "line": poem.line, **report.to_dict()}
                print_json(record)
                continue
            if many:
                print(f"{place(file, poem.line)}\n{report}\n")
            else:
                print(report)
    return 2 if failures.any else 0 if valid else 1


class _Asker:
    """Asks on the terminal how many syllables an unknown word has, once, and keeps the answer."""

    def __init__(self, words: UserWords, path: str | None, reads_stdin: bool) -> None:
        if reads_stdin or not terminal(sys.stdin):
            raise ValueError(
                "--unknown ask needs a terminal and poems in files; use estimate, reject or --words"
            )
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        self.words = words
        self.path = path
        if path is not None:
            self._keep("")  # a file that cannot be written is found out before the first question

    def __call__(self, word: str) -> tuple[int, ...]:
        from ..lexicon import readings
        from ..lexicon.normalize import key_of

        key = key_of(word)
        while not self.words.counts(key):
            guess = readings(word)[0].count
            print(f"How many syllables has {word!r}? [{guess}] ", end="", file=sys.stderr)
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line:  # Ctrl-D
                print(file=sys.stderr)
                raise KeyboardInterrupt
            said = line.strip() or str(guess)
            try:
                self.words.add(key, said)
            except ValueError as error:
                print(error, file=sys.stderr)
                continue
            self._keep(f"{key}\t{said}\n")
        return self.words.counts(key)

    def _keep(self, row: str) -> None:
        """Add a row to the file, on a line of its own whether or not the last one was ended."""
        if self.path is None:
            return
        with Path(self.path).open("a+b") as file:
            if row and file.tell():
                file.seek(-1, os.SEEK_END)
                row = row if file.read(1) in (b"\n", b"\r") else f"\n{row}"
            file.write(row.encode())


def add(command: Commands) -> None:
    """The command and its arguments."""
    parser = command("check", check, "Check poems; exit status 1 if one is not valid.")
    parser.add_argument(
        "files", nargs="*", metavar="FILE",
        help="text with blank lines between poems, or .jsonl; - or none is standard input",
    )  # fmt: skip
    parser.add_argument("--form", help="haiku (the default), tanka, ... or counts such as 3-5-3")
    parser.add_argument("--policy", help="any: some reading fits; all: every reading does")
    parser.add_argument("--kigo", metavar="SEASON", help="a season word: off, any, or a season")
    parser.add_argument("--kireji", help="a cut: off, required or forbidden")
    parser.add_argument("--rhyme", help="rhymes to refuse: off, perfect (the default) or identical")
    parser.add_argument(
        "--dangling",
        help="lines that end on a, the, of: off, forbidden, or strict (nor on it, like)",
    )
    parser.add_argument(
        "--lenient", action="store_true", help="readings that some refuse count too: file as two"
    )
    parser.add_argument(
        "--unknown", choices=("estimate", "reject", "ask"),
        help="words in no dictionary: estimate (default), reject or ask",
    )  # fmt: skip
    parser.add_argument(
        "--words", metavar="FILE",
        help="your own readings, a line each: `fire 1`; what `--unknown ask` learns is added",
    )  # fmt: skip
    parser.add_argument(
        "--saijiki", action="append", metavar="FILE", help="season words of your own, see KIGO.md"
    )
    parser.add_argument("--encoding", default="utf-8", help="of the files (default utf-8)")
    parser.add_argument("--json", action="store_true", help="one JSON object a poem")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of --json")
    parser.add_argument("--quiet", "-q", action="store_true", help="print only the poems that fail")
