"""Finder: haiku nobody meant to write, found in prose of any length.

Reads a text or a stream of lines once, in constant memory, and keeps a few open starts. Knows
counts and the ends of sentences; kigo, cuts and rhyme it leaves to the validator. The command line
calls it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from .context import hinted
from .form import HAIKU, Form
from .normalize import words
from .syllables import syllables

POLICIES = ("any", "all")
MAX_CHUNK = 64
MEMO_LIMIT = 100_000

# A piece: a word with the marks after it, the bits of its counts (0: it cannot be counted),
# whether a sentence may end after it.
Piece = tuple[str, int, bool]

_memo: dict[str, tuple[Piece, ...]] = {}


@dataclass(frozen=True)
class Found:
    """A run of words that fits: its lines, and the span of the whole in the text."""

    lines: tuple[str, ...]
    start: int
    end: int

    @property
    def text(self) -> str:
        """The lines as a poem."""
        return "\n".join(self.lines)

    def __str__(self) -> str:
        return self.text


def _pieces(chunk: str, line: str = "", at: int = 0) -> tuple[Piece, ...]:
    """The words of what stands between two spaces, each with the marks after it.

    line, if given, is the whole line, whose words decide how those of the chunk (at `at`) are said.
    """
    found = words(chunk)
    if line:
        shifted = [w for w in words(line) if at <= w.start < at + len(chunk)]
        found = [replace(w, start=w.start - at, end=w.end - at) for w in shifted]
    result = []
    for place, word in enumerate(found):
        start = 0 if place == 0 else word.start
        stop = found[place + 1].start if place + 1 < len(found) else len(chunk)
        bits = 0
        for count in syllables(word.said or word.text):
            bits |= 1 << count
        after = chunk[word.end : stop]
        result.append((chunk[start:stop], bits, _closes(after)))
    pieces = tuple(result)
    if len(chunk) <= MAX_CHUNK and not line:
        if len(_memo) > MEMO_LIMIT:
            _memo.clear()
        _memo[chunk] = pieces
    return pieces


def _stream(source: Iterable[str]) -> Iterator[tuple[Piece | None, int, bool]]:
    """(piece, offset, whether a space stands before it); None where a paragraph ends.

    Marks that stand alone, as in "pond — a frog", go with the word before them in their line,
    unless it has ended its sentence and they do not: "pond. — A frog".
    """
    offset = 0
    for line in source:
        if not line.strip():
            yield None, offset, True
        at = 0
        hint = hinted(line)
        held: tuple[Piece, int, bool] | None = None
        for chunk in line.split():
            at = line.index(chunk, at)
            start = offset + at
            at += len(chunk)
            pieces = _memo.get(chunk)
            if hint and hinted(chunk):
                pieces = _pieces(chunk, line, start - offset)
            elif pieces is None:
                pieces = _pieces(chunk)
            if not pieces:
                if held is not None and (not held[0][2] or _closes(chunk)):
                    (_, bits, _), begin, spaced = held
                    held = (line[begin - offset : at], bits, _closes(chunk)), begin, spaced
                continue
            spaced = True
            for piece in pieces:
                if held is not None:
                    yield held
                held = piece, start, spaced
                start += len(piece[0])
                spaced = False
        if held is not None:
            yield held
        offset += len(line)


def _closes(marks: str) -> bool:
    return any(mark in marks for mark in ".!?…")


def find_haiku(
    text: str | Iterable[str], form: Form = HAIKU, *, policy: str = "any", whole: bool = True
) -> Iterator[Found]:
    """Every run of words in a text that falls into the lines of a form, split between words.

    text    a str, or an iterable of lines such as an open file, read once as it comes
    policy  "any" reading may fit, or "all" must
    whole   only runs that begin and end with a sentence; otherwise they may begin anywhere

    >>> prose = "Hush. An old silent pond, a frog jumps into the pond, splash, silence again."
    >>> [found.lines[2] for found in find_haiku(prose)]
    ['splash, silence again.']
    """
    given: object = text
    if isinstance(given, (bytes, bytearray)):
        raise TypeError("find_haiku reads str; decode the bytes first, e.g. text.decode('utf-8')")
    if not isinstance(text, Iterable):
        raise TypeError(f"find_haiku reads a str or its lines, not {type(given).__name__}")
    if not isinstance(form, Form):
        raise TypeError(f"form={form!r} is no Form; use HAIKU, TANKA, ... or Form(lines=(5, 7, 5))")
    if policy not in POLICIES:
        raise ValueError(f"policy={policy!r} is unknown here; use one of {', '.join(POLICIES)}")
    if form.unit != "syllables" or form.free:
        raise ValueError(f"form {form.name!r} has no fixed syllables; use e.g. HAIKU or TANKA")
    source = text.splitlines(keepends=True) if isinstance(text, str) else text
    return _find(_stream(source), form.lines, policy == "all", whole)


# A start under way: number of its first piece, line, bits of the syllables of that line so far,
# numbers of the pieces its finished lines end before.
Open = tuple[int, int, int, tuple[int, ...]]


def _find(
    stream: Iterator[tuple[Piece | None, int, bool]],
    targets: tuple[int, ...],
    strict: bool,
    whole: bool,
) -> Iterator[Found]:
    kept: deque[tuple[str, int, bool]] = deque(maxlen=sum(targets) + 1)
    count = 0  # pieces seen
    fresh = True  # a sentence may begin here
    open_: list[Open] = []
    last = len(targets) - 1
    for piece, offset, spaced in stream:
        if piece is None:
            open_, fresh = [], True
            continue
        written, bits, closes = piece
        kept.append((written, offset, spaced))
        if fresh or not whole:
            open_.append((count, 0, 1, ()))
        count += 1
        ongoing: list[Open] = []
        said: set[int] = set()  # starts already found to end here, divided otherwise
        for start, line, so_far, ends in open_:
            total = _shift(so_far, bits)
            target = targets[line]
            if strict and total & (total - 1):
                wide = total >> target
                if wide:  # some reading is too long, or only some reading fits
                    continue
            if total >> target & 1:
                if line < last:
                    ongoing.append((start, line + 1, 1, (*ends, count)))
                elif (closes or not whole) and start not in said:
                    said.add(start)
                    yield _found(kept, count, start, (*ends, count))
            below = total & ((1 << target) - 1)
            if below:
                ongoing.append((start, line, below, ends))
        open_ = ongoing
        fresh = closes


def _shift(so_far: int, bits: int) -> int:
    total, count = 0, 0
    while bits:
        if bits & 1:
            total |= so_far << count
        bits >>= 1
        count += 1
    return total


def _found(
    kept: deque[tuple[str, int, bool]], count: int, start: int, ends: tuple[int, ...]
) -> Found:
    pieces = list(kept)
    first = count - len(pieces)
    lines = []
    begin = start
    for end in ends:
        own = pieces[begin - first : end - first]
        line = "".join((" " if spaced else "") + written for written, _, spaced in own)
        lines.append(" ".join(line.split()))
        begin = end
    written, offset, _ = pieces[-1]
    return Found(tuple(lines), pieces[start - first][1], offset + len(written))
