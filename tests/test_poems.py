"""Files of poems: blank lines, JSON lines, encodings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from constrained_gpt import poems
from constrained_gpt.poems import Poem, load, split, split_jsonl


def test_blank_lines_separate_poems() -> None:
    text = "\n\nold pond\na frog\n  \n\nfirst snow\t\r\n\r\n"
    assert list(split(text)) == [Poem("old pond\na frog", 3), Poem("first snow", 7)]
    assert list(split("")) == []
    assert list(split(" \n\t\n")) == []


def test_json_lines() -> None:
    assert list(split_jsonl('{"text": "a\\nb"}\n\n{"text": "c"}\n')) == [
        Poem("a\nb", 1),
        Poem("c", 3),
    ]


@pytest.mark.parametrize(
    "line",
    ["{", "[" * 100_000, "[]", "3", '{"poem": "x"}', '{"text": 3}'],
    ids=lambda line: line[:20],
)
def test_bad_json_lines_name_the_line_and_the_cure(line: str) -> None:
    with pytest.raises(ValueError, match=r"line 2 |line 2:"):
        list(split_jsonl('{"text": "fine"}\n' + line))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
def test_lines_are_numbered_as_editors_do(end: str) -> None:
    text = end.join(["old pond\x0ca frog", "", "", "first\u2028snow", "ice", "", "hail"])
    assert list(split(text)) == [
        Poem("old pond\na frog", 1),
        Poem("first\nsnow\nice", 4),
        Poem("hail", 7),
    ]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "UTF8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"]
)
def test_encodings(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "poems.txt"
    path.write_bytes("café\r\nnoir\r\n\r\nsnow".encode(encoding))
    assert load(path, encoding) == [Poem("café\nnoir", 1), Poem("snow", 4)]


@pytest.mark.parametrize(
    ("data", "encoding", "said"),
    [
        (b"\xef\xbb\xbfcaf\xe9", "utf-8", r"not UTF-8 text \(byte 6 is 0xe9\); convert"),
        ("snow".encode("utf-16"), "utf-8", "UTF-16 text; convert.*--encoding utf-16"),
        (b"old\0pond", "utf-8", "NUL bytes.*give a text file"),
        (b"caf\xe9", "ascii", "not ascii text"),
        (b"snow", "klingon", "encoding 'klingon' is unknown; use"),
        (b"snow", "rot13", "encoding 'rot13' is unknown; use"),
    ],
)
def test_what_is_not_text_is_named_with_the_cure(
    data: bytes, encoding: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "poems.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=said) as raised:
        load(path, encoding)
    assert encoding in ("klingon", "rot13") or str(path) in str(raised.value)


def test_files_past_all_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poems, "LONGEST", 10)
    path = tmp_path / "poems.txt"
    path.write_bytes(b"x" * 10)
    assert len(load(path)) == 1
    path.write_bytes(b"x" * 11)
    with pytest.raises(ValueError, match="split it"):
        load(path)


def test_a_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="name a file"):
        load("-")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "poems.txt"
    path.write_bytes(b"\xef\xbb\xbfold pond\r\na frog\r\n\r\nsnow\r\n")
    assert [poem.text for poem in load(path)] == ["old pond\na frog", "snow"]
    path.write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"not UTF-8 text \(byte 3 is 0xe9\); convert"):
        load(path)
    lines = tmp_path / "poems.jsonl"
    lines.write_text('{"text": "snow"}\n', "utf-8")
    assert load(lines) == [Poem("snow", 1)]
    lines.write_text("snow\n", "utf-8")
    with pytest.raises(ValueError, match=r"poems\.jsonl: line 1 is not"):
        load(lines)
