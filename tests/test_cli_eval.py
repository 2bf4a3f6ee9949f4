"""`haiku eval`: options handed on, several sets, standard input, JSON, plot, one-line errors."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import toy

from constrained_gpt import cli, evaluation
from constrained_gpt.lexicon import TANKA

POND = "An old silent pond\nA frog jumps into the pond\nSplash! Silence again"
RAIN = "the rain and the rain\nfalls on the roof of the\nhouse of rain tonight"
TABLE = f"n\ttext\n1\t{RAIN.replace(chr(10), ' / ')}\n2\t{POND.replace(chr(10), ' / ')}\n"


class ChattyTokenizer(toy.ToyTokenizer):
    chat = None

    def encode_special(self, text: str) -> list[int]:
        return self.encode(text)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text(f"{POND}\n\n{RAIN}\n", "utf-8")
    Path("human.tsv").write_text(TABLE, "utf-8")
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What evaluate_poems() is asked, with a toy in the judge's place."""
    seen: list[dict[str, Any]] = []
    real = evaluation.evaluate_poems

    def stand_in(sets: Any, **options: Any) -> Any:
        seen.append({**options, "sets": [one.name for one in sets]})
        asked = {k: v for k, v in options.items() if k not in ("form_loss", "policy")}
        judge = options.get("judge", "default")
        engine: Any = toy.ToyEngine(ChattyTokenizer())
        return real(sets, **{**asked, "judge": None if judge is None else engine})

    monkeypatch.setattr(evaluation, "evaluate_poems", stand_in)
    return seen


def test_sets_side_by_side(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "mine.txt", "human.tsv", "--judge", "none"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["mine", "human"]
    assert lines[1].split() == ["poems", "2", "2"]
    rates = next(line for line in lines if line.startswith("articles among words"))
    assert rates.split()[3] == "25.0%"  # 7 of 28 words, in both
    assert rates.count("25.0%") == 2
    assert "No judge." in lines


def test_json_is_as_its_schema_says(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    line = ["eval", "mine.txt", "human.tsv", "--judge", "none", "--json"]
    assert cli.main([*line, "--reference", "human.tsv"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    record = json.loads(out)
    jsonschema.validate(record, schema, jsonschema.Draft202012Validator)
    assert [(s["name"], s["file"], s["poems"]) for s in record["sets"]] == [
        ("mine", "mine.txt", 2),
        ("human", "human.tsv", 2),
    ]
    assert record["settings"]["reference"] == "human.tsv"
    mine, human = ([p["copied"]["words"] for p in s["per_poem"]] for s in record["sets"])
    assert mine == [13, 15]  # whole
    assert human == [1, 1]  # its own place left out: "the" is all that is shared
    assert [p["line"] for p in record["sets"][0]["per_poem"]] == [1, 5]


def test_what_was_asked_is_handed_on(
    files: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["eval", "mine.txt"]) == 0
    assert calls[-1].keys() == {"sets", "own_prompts", "progress"}  # defaults are the library's
    assert "log p per token" in capsys.readouterr().out
    words = (
        "eval mine.txt human.tsv --judge some.gguf --topic rain --own-prompts --sample 1 --seed 3"
        " --form-loss --form tanka --kigo any --rhyme perfect --policy all --reference mine.txt"
    )
    assert cli.main(words.split()) == 0
    asked = calls[-1]
    assert (asked["judge"], asked["topic"], asked["own_prompts"]) == ("some.gguf", "rain", True)
    assert (asked["sample"], asked["seed"], asked["policy"]) == (1, 3, "all")
    form = asked["form_loss"]
    assert form.lines == TANKA.lines
    assert (form.kigo, form.kireji, form.rhyme, form.dangling) == ("any", "off", "perfect", "off")
    assert asked["reference"].file == "mine.txt"
    assert cli.main(["eval", "mine.txt", "--judge", "none"]) == 0
    assert calls[-1]["judge"] is None


def test_poem_by_poem(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "mine.txt", "--judge", "none", "--per-poem"]) == 0
    paragraphs = capsys.readouterr().out.split("\n\n")
    assert paragraphs[0].startswith("mine.txt:1: An old silent pond / ")
    assert paragraphs[1].startswith("mine.txt:5: the rain and the rain / ")
    assert "poems" in paragraphs[2]


def test_standard_input(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in (f"{POND}\n", json.dumps({"text": POND}) + "\n"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert cli.main(["eval", "--judge", "none", "--json"]) == 0
        (one,) = json.loads(capsys.readouterr().out)["sets"]
        assert (one["name"], one["poems"]) == ("standard input", 1)
        assert one["per_poem"][0]["text"] == POND


def test_plot(files: Path) -> None:
    pytest.importorskip("matplotlib")
    assert cli.main(["eval", "mine.txt", "--judge", "none", "--plot", "out.png"]) == 0
    assert (files / "out.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("missing.txt", "missing.txt: No such file or directory; check the path"),
        ("empty.txt", "empty.txt holds no poems"),
        ("other.csv", "name one of a, b with --column"),
        ("mine.txt --reference empty.txt", "empty.txt holds no poems"),
        ("- --reference -", "- is given twice"),
        ("mine.txt --plot out.txt", "end it on .png"),
        ("mine.txt --plot no/out.png", "does not exist"),
        ("mine.txt --kigo any", "--kigo is a rule for --form-loss"),
        ("mine.txt --form tanka", "--form is a rule for --form-loss"),
        ("mine.txt --policy all", "--policy is a rule for --form-loss"),
        ("mine.txt --form-loss", "form_loss needs a judge"),
        ("mine.txt --form-loss --form nope", "form 'nope' is unknown"),
        ("mine.txt --topic rain", "topic needs a judge"),
        ("mine.txt --sample 0", "sample=0 is too small"),
        ("mine.txt --sample x", "invalid int value"),
        ("mine.txt --seed -1", "seed=-1"),
        ("mine.txt --encoding klingon", "encoding 'klingon' is unknown"),
        ("mine.txt --column text", "has no columns"),
    ],
)
def test_errors_are_one_line(
    line: str, said: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.txt").write_text("\n", "utf-8")
    Path("other.csv").write_text("a,b\n1,2\n", "utf-8")
    try:
        status = cli.main(["eval", *line.split(), "--judge", "none"])
    except SystemExit as stop:
        status = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("haiku: error: ")
    assert said in err


def test_a_judge_that_is_not_there(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "mine.txt", "--judge", "nowhere.gguf"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "nowhere.gguf" in err
