"""Files of poems: blank lines, JSON lines, encodings."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"poem": "x"}', '{"text": 3}'])
def test_bad_json_lines_name_the_line_and_the_cure(line: str) -> None:
    with pytest.raises(ValueError, match=r"line 2 |line 2:"):
        list(split_jsonl('{"text": "fine"}\n' + line))


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
