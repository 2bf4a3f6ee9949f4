"""Prose in files: what is read is the text, its lines and offsets right wherever a block ends."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from constrained_gpt import prose
from constrained_gpt.lexicon import Form, find_haiku
from constrained_gpt.poems import known_encoding
from constrained_gpt.prose import Prose

POND = "An old silent pond, a frog jumps into the pond, splash, silence again."
ENDS = [
    "\n",
    "\r\n",
    "\r",
    "\n\n",
    "\r\n\r\n",
    "\r\r",
    " \n",
    "  ",
    "\x0b",
    "\x0c",
    "\x85",
    "\u2028",
]


def read(data: bytes, encoding: str = "utf-8", block: int = prose.BLOCK) -> tuple[Prose, list[str]]:
    """A Prose that has read these bytes from standard input, and its lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prose, "BLOCK", block)
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        source = Prose("-", encoding=encoding)
        return source, list(source)


def line_of(text: str, offset: int) -> int:
    """The number an editor gives the line of a character: the slow way."""
    return io.StringIO(text[: offset + 1] + "x", newline=None).read()[:-2].count("\n") + 1


# what is read is the text


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.sampled_from(["pond", "é", "蛙", "🐸", "—", "+", "...", "&quot;", " ", *ENDS]),
    )
)


@settings(max_examples=300, deadline=None)
@given(
    TEXTS.map("".join),
    st.integers(1, 9),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "gb18030"]),
)
def test_lines_joined_are_the_text(text: str, block: int, encoding: str) -> None:
    text = text.replace("\0", "")
    _, lines = read(text.encode(encoding, "replace"), encoding, block)
    whole = text.encode(encoding, "replace").decode(known_encoding(encoding))
    assert "".join(lines) == whole
    # Between the first line's end and the last, nothing is blank that was not a blank line.
    blank = [line for line in whole.splitlines() if not line.strip()]
    assert sum(not line.strip() for line in lines[:-1]) <= len(blank)


@settings(max_examples=200, deadline=None)
@given(TEXTS.map("".join), st.integers(1, 9))
@example("@0 &quot;", 1)
def test_a_stream_is_searched_like_the_whole(text: str, block: int) -> None:
    text = text.replace("\0", "").encode("utf-8", "replace").decode().removeprefix("\ufeff")
    form = Form.of(1, 2)
    for whole in (True, False):
        _, lines = read(text.encode(), block=block)
        assert list(find_haiku(lines, form, whole=whole)) == list(
            find_haiku(text, form, whole=whole)
        )


@settings(max_examples=200, deadline=None)
@given(TEXTS.map("".join), st.integers(1, 9))
def test_line_numbers_are_those_of_editors(text: str, block: int) -> None:
    text = text.replace("\0", "").encode("utf-8", "replace").decode().removeprefix("\ufeff")
    source, _ = read(text.encode(), block=block)
    for offset, character in enumerate(text):
        if not character.isspace():
            assert source.line_at(offset) == line_of(text, offset)


@pytest.mark.parametrize("end", ENDS[:7], ids=repr)
@pytest.mark.parametrize("block", [1, 7, 64, 1 << 16])
def test_haiku_over_the_edges_of_blocks(end: str, block: int) -> None:
    text = f"Naïve 蛙 🐸.{end}Ask me no questions.{end}{POND.replace(' into', end[:2] + 'into')}{end}No."
    if end in ("\n\n", "\r\r"):
        text = f"Naïve 蛙 🐸.{end}Ask me no questions.{end}{POND}{end}No."
    source, lines = read(text.encode(), block=block)
    (found,) = find_haiku(lines)
    assert (found.start, found.end) == (text.index("An old"), text.index("again.") + 6)
    assert source.line_at(found.start) == line_of(text, found.start)
    assert found.lines[1] == "a frog jumps into the pond,"


@pytest.mark.parametrize("after", [" " * 9 + "\n", " \r", "\r\n", "\u2028"], ids=repr)
def test_white_space_at_the_edge_of_a_block_is_no_blank_line(after: str) -> None:
    text = POND.replace(" into", after + "into")
    for block in range(1, len(text) + 1):
        _, lines = read(text.encode(), block=block)
        assert [found.end for found in find_haiku(lines)] == [len(text)], block


def test_a_line_longer_than_a_block_comes_in_pieces() -> None:
    text = f"{POND} " * 40
    _, lines = read(text.encode(), block=100)
    assert len(lines) > 20
    assert max(map(len, lines)) <= 200
    assert len(list(find_haiku(lines))) == 40


def test_a_word_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prose, "LONGEST_WORD", 1000)
    text = "x" * 5000 + "\r\n" + POND + "\n"
    source, lines = read(text.encode(), block=100)
    assert "".join(lines) == text
    assert max(map(len, lines)) < 1200
    (found,) = find_haiku(["\n", *lines[lines.index(POND + "\n") :]])
    assert source.line_at(text.index("An old")) == 2
    _, lines = read(b"a" + b" " * 5000 + b"b", block=100)
    assert "".join(lines) == "a" + " " * 5000 + "b"
    assert found.text


def test_files_and_their_progress(tmp_path: Path) -> None:
    path = tmp_path / "prose.txt"
    path.write_bytes(b"\xef\xbb\xbf" + POND.encode() * 3000)
    told: list[int] = []
    source = Prose(path, progress=told.append)
    assert "".join(source) == POND * 3000
    assert sum(told) == path.stat().st_size
    assert len(told) > 1
    assert "".join(source) == POND * 3000  # a file may be read again


def test_only_as_much_is_read_as_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += 1
            return (POND + "\n").encode() * (size // len(POND))

    endless = Endless()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=endless))
    next(find_haiku(Prose("-")))
    assert endless.given == 1


# what is not text


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (b"caf\xe9 noir", "utf-8", r"not UTF-8 text \(byte 3 is 0xe9\); convert"),
        (b"\xef\xbb\xbfcaf\xe9 noir", "utf-8", r"\(byte 6 is 0xe9\)"),
        ("é".encode() * 50 + b"\xff", "utf-8", r"\(byte 100 is 0xff\)"),
        ("é".encode() * 50 + b"\xc3", "utf-8", r"\(byte 100 is 0xc3\)"),
        (POND.encode("utf-16"), "utf-8", "UTF-16 text.* --encoding utf-16"),
        (POND.encode("utf-16-le"), "utf-8", "NUL bytes.* --encoding utf-16"),
        (POND.encode("utf-16")[:-1], "utf-16", "not utf-16 text"),
        (b"old pond\0", "latin-1", "NUL bytes"),
        (b"caf\xe9", "ascii", r"not ascii text \(byte 3"),
    ],
)
@pytest.mark.parametrize("block", [3, 7, 1 << 16])
def test_other_bytes_are_named_with_the_cure(
    data: bytes, encoding: str, said: str, block: int
) -> None:
    with pytest.raises(ValueError, match=f"standard input is .*{said}"):
        read(data, encoding, block)


def test_unknown_encodings() -> None:
    for name in ("klingon", "hex", "", "undefined", "a\0b"):
        with pytest.raises(ValueError, match=r"use e\.g\. utf-8"):
            Prose("-", encoding=name)


# memory

CHUNK = (
    "It was in the winter of that year, when the river had frozen over and nobody came to the house, "
    "that she began to write.\nThe rooms were quiet; the clock in the hall had stopped at half past "
    "four — nobody wound it — and the children, who were away at school, wrote seldom.\n"
    f"{POND}\n\n"
)


def peak(size: int, chunk: str) -> int:
    """Kilobytes that `haiku find` takes at most for a text of `size` bytes on standard input."""
    child = subprocess.Popen(
        [sys.executable, "-m", "constrained_gpt.cli", "find", "--json"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert child.stdin is not None
    data = chunk.encode()
    for _ in range(size // len(data)):
        child.stdin.write(data)
    child.stdin.close()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs wait4 of POSIX")
@pytest.mark.parametrize("chunk", [CHUNK, CHUNK.replace("\n", " ")], ids=["lines", "one line"])
def test_memory_does_not_grow_with_the_text(chunk: str) -> None:
    little = peak(1 << 18, chunk)
    assert peak(10 << 20, chunk) < little + 4096  # 20 MB in the two cases, held in no more than 4


def test_places_are_forgotten_too() -> None:
    source, lines = read(b"a b\n" * 50_000)
    assert len(lines) == 50_000
    assert len(source._starts) == prose.REMEMBERED
    assert source.line_at(4 * 49_999) == 50_000
