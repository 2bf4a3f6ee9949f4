"""Sets of poems from text, JSON lines and tables, and what is said of files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from constrained_gpt.evaluation import sources
from constrained_gpt.evaluation.sources import Entry, load

POND = "an old silent pond\na frog jumps into the pond\nsplash"
HAIKU = {
    "text": POND, "lines": POND.split("\n"), "prompt": "a pond", "model": "smollm2",
    "logprob": -40.5, "weight": None, "log_mass": [-0.5, -1.0], "line_log_mass": [-0.5, -1.0, 0],
    "seed": 3, "index": 0,
}  # fmt: skip
FULL = Entry(POND, 1, "a pond", "smollm2", -40.5, None, (-0.5, -1.0, 0.0))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", f"{POND}\n\n snow \n", [Entry(POND, 1), Entry("snow", 5)]),
        ("a.txt", f"{POND}\n\n---\n\nsnow\n", [Entry(POND, 1), Entry("snow", 7)]),
        ("a.jsonl", json.dumps(HAIKU) + "\n\n", [FULL]),
        ("a", json.dumps(HAIKU) + "\n", [FULL]),
        ("a.txt", "{braces}\nsnow", [Entry("{braces}\nsnow", 1)]),
        ("a.tsv", "n\ttext\n1\told pond / a frog / splash\n", [Entry("old pond\na frog\nsplash", 2)]),
        ("a.tsv", 'text\n"old pond\nwhat " / now\n', [Entry('"old pond', 2), Entry('what "\nnow', 3)]),
        ("a.csv", 'Poem,n\n"old pond\na frog, now",1\nsnow,2\n',
         [Entry("old pond\na frog, now", 2), Entry("snow", 4)]),
        ("A.CSV", "n,haiku\n1,either/or\n", [Entry("either/or", 2)]),
    ],
)  # fmt: skip
def test_files(name: str, text: str, expected: list[Entry], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    assert load(path) == expected


def test_a_column_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("text\tbetter\nno / no\tyes / yes\n", "utf-8")
    assert load(path, column="better") == [Entry("yes\nyes", 2)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.txt", "\n\n", "holds no poems; give a file"),
        ("a.txt", "—\n...\n", "holds no poems"),
        ("a.jsonl", "{", "line 1 is no JSON"),
        ("a.jsonl", '{"text": "x"}\n[1]', "line 2 is no JSON object"),
        ("a.jsonl", '{"poem": "x"}', 'line 1: no "text"'),
        ("a.jsonl", '{"text": "x", "prompt": 3}', "'prompt' is not a string"),
        ("a.jsonl", '{"text": "x", "logprob": "3"}', "'logprob' is not a number"),
        ("a.jsonl", '{"text": "x", "line_log_mass": [true]}', "not a list of numbers"),
        ("a.jsonl", '{"poem": 0, "line": 1, "text": "x"}', "leave --stream out"),
        ("a.tsv", "a\tb\nx\ty\n", "no column is headed text or poem or haiku; name one of a, b"),
        ("a.tsv", "", "name one of none"),
        ("a.tsv", "a\ttext\nx\n", "line 2 has 1 of 2 columns"),
        ("a.csv", "text\n" + "x" * 200_000, "line 2 is no row of a table"),
        ("a.csv", 'text\n"an old pond\na frog\n', "close every quotation mark"),
    ],
)
def test_what_is_no_set_of_poems(name: str, text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError) as error:
        load(path)
    assert said in str(error.value)
    assert name in str(error.value)


def test_columns_of_what_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("snow", "utf-8")
    with pytest.raises(ValueError, match="has no columns"):
        load(path, column="text")
    path = tmp_path / "a.csv"
    path.write_text("text\nsnow", "utf-8")
    with pytest.raises(ValueError, match="no column 'poem'; it has text"):
        load(path, column="poem")


def test_sets_are_called_by_the_shortest_names_that_differ() -> None:
    assert sources.names(["a/human.tsv", "b/mine.jsonl", "-"]) == [
        "human",
        "mine",
        "standard input",
    ]
    assert sources.names(["a/x.txt", "b/x.txt"]) == ["a/x.txt", "b/x.txt"]
