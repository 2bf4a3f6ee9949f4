"""The command line: arguments handed on, output, exit statuses, one-line errors."""

from __future__ import annotations

import inspect
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import constrained_gpt
from constrained_gpt import cli

GOOD = "An old silent pond\nA frog jumps into the pond\nSplash! Silence again"
BAD = "An old silent pond\nA frog\nSplash! Silence again"
HAIKU = [sys.executable, "-m", "constrained_gpt.cli"]


def haiku(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HAIKU, *args],
        input=stdin, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parent,
    )  # fmt: skip


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "good.txt"
    path.write_text(GOOD + "\n", "utf-8")
    return str(path)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad.txt"
    path.write_text(BAD + "\n", "utf-8")
    return str(path)


# check


def test_check_by_exit_status(good: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", good]) == 0
    assert "valid" in capsys.readouterr().out
    assert cli.main(["check", bad]) == 1
    assert "NOT valid" in capsys.readouterr().out
    assert cli.main(["check", good, bad]) == 1


def test_check_quiet_prints_only_what_fails(
    good: str, bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", "--quiet", good]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["check", "-q", good, bad]) == 1
    out = capsys.readouterr().out
    assert f"{bad}:1:" in out
    assert good not in out


def test_check_json(good: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--json", good, bad]) == 1
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["file"], r["poem"], r["line"], r["valid"]) for r in records] == [
        (good, 1, 1, True),
        (bad, 1, 1, False),
    ]
    assert all("schema" in r for r in records)


def test_check_reads_standard_input_and_many_poems() -> None:
    run = haiku("check", "--json", stdin=f"{GOOD}\n\n{BAD}\n")
    assert run.returncode == 1
    records = [json.loads(line) for line in run.stdout.splitlines()]
    assert [(r["poem"], r["line"], r["valid"]) for r in records] == [(1, 1, True), (2, 5, False)]
    assert haiku("check", "-", stdin=GOOD).returncode == 0
    assert haiku("check", stdin="").returncode == 1  # no poem is no haiku


def test_check_forms_by_name_and_by_counts(tmp_path: Path) -> None:
    path = tmp_path / "lune.txt"
    path.write_text("an old silent pond\na frog jumps\nsplash, silence again\n", "utf-8")
    assert cli.main(["check", str(path)]) == 1
    assert cli.main(["check", "--form", "lune", str(path)]) == 0
    assert cli.main(["check", "--form", "5-3-5", str(path)]) == 0


# errors


@pytest.mark.parametrize(
    ("args", "cure"),
    [
        (["check", "nowhere.txt"], "check the path"),
        (["check", "--form", "sonnet", "-"], "use haiku"),
        (["check", "--form", "5-0-5", "-"], "choose a count"),
        (["check", "--policy", "some", "-"], "use one of"),
        (["check", "--nonsense"], "--help"),
        (["write"], "--help"),
        (["write", "-n", "many", "snow"], "--help"),
        (["nonsense"], "--help"),
        ([], "--help"),
        (["write", ""], "prompt"),
        (["write", "autumn rain", "-n", "0"], "n"),
        (["write", "autumn rain", "--season", "monsoon"], "autumn"),
        (["write", "autumn rain", "--kigo", "quux"], "kigo"),
        (["write", "autumn rain", "--first-line", "the autumn rain falls down"], "first"),
        (["write", "autumn rain", "--temperature", "-1"], "temperature"),
        (["write", "autumn rain", "--temperature", "nan"], "temperature"),
        (["write", "autumn rain", "--kireji", "maybe"], "required"),
        (["write", "autumn rain", "--strategy", "guess"], "strategy"),
        (["write", "autumn rain", "--model", "gpt5"], "known"),
        (["write", "autumn rain", "--stream", "--beams", "4"], "leave out --beams"),
        (["write", "autumn rain", "--seed", "-1"], "seed"),
        (["write", "autumn rain", "--form", "haiku", "--top-p", "2"], "top_p"),
        (["download", "gpt5"], "smollm2"),
        (["prepare", "nowhere.txt", "--out", "out"], "check the path"),
        (["finetune", "--data", "nowhere", "--out", "out", "--batch-size", "0"], "use 1 or more"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_with_its_cure(
    args: list[str],
    cure: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(GOOD.encode())))
    try:
        status = cli.main(args)
    except SystemExit as stop:  # argparse leaves this way
        status = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert status == 2, err
    assert out == ""
    assert err.startswith("haiku: error: ")
    assert err.count("\n") == 1
    assert cure in err


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAIKU_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        cli.main(["check", "nowhere.txt"])


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"haiku {constrained_gpt.__version__}\n"


# write, with a stand-in for the model


class Poem:
    def __init__(self, text: str) -> None:
        self.text = text

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "lines": self.text.split("\n")}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    import constrained_gpt.generate  # noqa: F401

    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def generate(*args: Any, **options: Any) -> Sequence[Poem]:
        seen.append((args, options))
        return [Poem(f"poem {i}\nof {args[0]}") for i in range(args[1])]

    def stream(*args: Any, **options: Any) -> Any:
        seen.append((args, options))
        yield from ((poem, line, f"{poem}.{line}") for poem in range(args[1]) for line in range(3))

    module = sys.modules["constrained_gpt.generate"]
    monkeypatch.setattr(module, "generate", generate)
    monkeypatch.setattr(module, "stream", stream)
    return seen


def test_write_hands_on_only_what_was_given(
    calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["write", "autumn rain"]) == 0
    args, options = calls[-1]
    assert args == ("autumn rain", 1)
    assert set(options) <= {"progress"}
    assert capsys.readouterr().out == "poem 0\nof autumn rain\n"

    line = [
        "write", "-n", "2", "--season", "new year", "--kigo", "any", "--kireji", "required",
        "--seed", "7", "--temperature", "0.5", "--top-k", "40", "--top-p", "0.9", "--min-p", "0.05",
        "--first-line", "an old silent pond", "--form", "tanka", "--strategy", "beam",
        "--model", "gpt2", "--duplicates", "--", "-n",
    ]  # fmt: skip
    assert cli.main(line) == 0
    args, options = calls[-1]
    options.pop("progress", None)
    assert args == ("-n", 2)
    assert options == {
        "season": "new year", "kigo": "any", "kireji": "required", "seed": 7, "temperature": 0.5,
        "top_k": 40, "top_p": 0.9, "min_p": 0.05, "first_line": "an old silent pond",
        "form": constrained_gpt.TANKA, "strategy": "beam", "model": "gpt2", "unique": False,
    }  # fmt: skip
    assert capsys.readouterr().out == "poem 0\nof -n\n\npoem 1\nof -n\n"


def test_every_option_is_a_parameter_of_generate() -> None:
    parameters = inspect.signature(constrained_gpt.generate).parameters
    assert {*cli._WRITE, *cli._WRITE_WHOLE, "form", "unique", "progress"} <= set(parameters)
    assert {*cli._WRITE, "form"} <= set(inspect.signature(constrained_gpt.stream).parameters)


def test_write_several_kigo(calls: list[Any]) -> None:
    assert cli.main(["write", "x", "--kigo", "first snow", "--kigo", "icicle"]) == 0
    assert list(calls[-1][1]["kigo"]) == ["first snow", "icicle"]
    assert cli.main(["write", "x", "--kigo", "first snow"]) == 0
    assert calls[-1][1]["kigo"] == "first snow"


def test_write_json(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["write", "snow", "-n", "2", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["text"] for r in records] == ["poem 0\nof snow", "poem 1\nof snow"]


def test_write_stream(calls: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["write", "snow", "-n", "2", "--stream"]) == 0
    assert capsys.readouterr().out == "0.0\n0.1\n0.2\n\n1.0\n1.1\n1.2\n"
    assert cli.main(["write", "snow", "--stream", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert records[2] == {"poem": 0, "line": 2, "text": "0.2"}


# signals and pipes


def test_a_reader_that_leaves_is_no_error(good: str) -> None:
    command = f"{' '.join(HAIKU)} check {' '.join(['good.txt'] * 3000)}"
    run = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=300, cwd=Path(good).parent,
    )  # fmt: skip
    assert run.stderr == ""
    assert run.returncode in (0, 141)
    assert run.stdout.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")
def test_ctrl_c_is_130() -> None:
    process = subprocess.Popen(
        [*HAIKU, "check", "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parent,
    )  # fmt: skip
    time.sleep(1.5)  # it waits for its standard input by now
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.count("\n") <= 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, terminal = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stderr", plain)
    with cli._Bar(100) as bar:
        bar.update(50)
    monkeypatch.setattr(sys, "stderr", terminal)
    with cli._Bar(4) as bar:  # too few to be worth one
        bar.update(2)
    assert plain.getvalue() == terminal.getvalue() == ""
    with cli._Bar(100) as bar:
        bar.update(50)
        assert bar.bar.n == 50
    assert "/100" in terminal.getvalue()


# the real thing


@pytest.mark.weights
def test_write_for_real_and_check_it(tmp_path: Path) -> None:
    run = haiku("write", "autumn rain", "-n", "2", "--seed", "1", "--season", "autumn")
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    poems = run.stdout.split("\n\n")
    assert len(poems) == 2
    assert all(len(poem.strip().split("\n")) == 3 for poem in poems)
    assert haiku("check", "--policy", "all", stdin=run.stdout).returncode == 0
    again = haiku("write", "autumn rain", "-n", "2", "--seed", "1", "--season", "autumn", "--json")
    records = [json.loads(line) for line in again.stdout.splitlines()]
    assert [r["text"] for r in records] == [poem.strip() for poem in poems]
    for record in records:
        assert {"text", "lines", "syllables", "kigo", "season", "logprob", "weight"} <= set(record)
        assert record["season"] == "autumn"
        assert record["seed"] == 1
