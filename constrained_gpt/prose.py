"""Prose in files: long text as a stream of lines, in constant memory, each offset with its line.

Knows encodings, line ends and where a word begins, nothing of what it says. `haiku find` calls it.
"""

from __future__ import annotations

import codecs
import re
import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from .lexicon.normalize import words
from .poems import decoding_error, known_encoding, standard_input

BLOCK = 1 << 16  # bytes read at a time
LONGEST_WORD = 1 << 20  # characters without white space before a word is cut
MARKS = 32  # as many marks may stand alone, one after the other
LONG = 1000  # characters; what is longer is taken for a word
REMEMBERED = 4096  # lines whose place is kept
_MARK_BEGUN = re.compile(r"&#?\w*")  # may become &quot; when more comes


class Prose:
    """A text read once, from a file or, if `source` is "-", from standard input.

    Iterating gives its lines with their ends, as str.splitlines cuts them; a line longer than a
    block comes in pieces, cut before a word, and no piece is blank that was no blank line. Raises
    ValueError where the bytes are no text of the encoding.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        encoding: str = "utf-8",
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self.source = source
        self.encoding = known_encoding(encoding)
        self._progress = progress  # told how many bytes each block had
        self._starts: deque[tuple[int, int]] = deque([(0, 1)], maxlen=REMEMBERED)

    def __iter__(self) -> Iterator[str]:
        self._starts.clear()
        self._starts.append((0, 1))
        if str(self.source) == "-":
            yield from self._lines(standard_input())
            return
        with Path(self.source).open("rb") as file:
            yield from self._lines(file)

    def line_at(self, offset: int) -> int:
        """The number, from 1, of the line that holds a character read a moment ago.

        Lines as editors count them: a form feed ends a line for splitlines and none here.
        """
        place = bisect_right(self._starts, (offset, sys.maxsize)) - 1
        return self._starts[max(0, place)][1]

    def _lines(self, file: BinaryIO) -> Iterator[str]:
        offset, number = 0, 1
        for text in self._blocks(file):
            for line in text.splitlines(keepends=True):
                yield line
                offset += len(line)
                if line[-1] in "\n\r":
                    number += 1
                    self._starts.append((offset, number))

    def _blocks(self, file: BinaryIO) -> Iterator[str]:
        """Decoded text, cut after a line end or, failing that, before a word."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        rest, read = "", 0
        while True:
            block = file.read(BLOCK)
            read += len(block)
            try:
                fresh = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise decoding_error(self.source, self.encoding, error, read) from None
            if "\0" in fresh:
                raise decoding_error(self.source, self.encoding)
            text = rest + fresh
            if not block:
                yield text
                return
            if self._progress is not None:
                self._progress(len(block))
            cut = text.rfind("\n") + 1 or _last_word(text)
            if not cut and len(text) > LONGEST_WORD:
                # The last letter stays: what follows may be the other half of a line end.
                cut = len(text.rstrip()) - 1
                cut = cut if cut > 0 else len(text)
            rest = text[cut:]
            if cut:
                yield text[:cut]


def _last_word(text: str) -> int:
    """Where the last word begins, or its line if it is first in one; 0 if it is the only word.

    Marks that stand alone are no words: they stay with the word before them.
    """
    place = len(text)
    for part in reversed(text.rsplit(None, MARKS)[1:]):
        place = text.rindex(part, 0, place)
        if len(part) > LONG or (words(part) and not _MARK_BEGUN.fullmatch(part)):
            head = text[:place]
            _, *more = f"{head[len(head.rstrip()) :]}|".splitlines()
            return place - len(more[-1][:-1]) if more else place
    return 0
