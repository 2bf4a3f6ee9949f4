"""The command line: arguments handed on, output, exit statuses, one-line errors."""

from __future__ import annotations

import inspect
import io
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import constrained_gpt
from constrained_gpt import cli
from constrained_gpt.cli import write
from constrained_gpt.cli.output import Bar, print_json
from constrained_gpt.lexicon import Form, UserWords, report_schema, validate

GOOD = "An old silent pond\nA frog jumps into the pond\nSplash! Silence again"
BAD = "An old silent pond\nA frog\nSplash! Silence again"
SCHEMA = json.loads(report_schema())
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


CUT = "First snow at the door—\nA frog jumps into the pond\nSplash, silence again"
RHYMED = "The moon is so bright\nA frog jumps into the pond\nA long and dark night"
HUNG = "An old silent pond\nA frog jumps into it and\nSplash! Silence again"
FIRE = "Fire on the old pond\nA frog jumps into the pond\nSplash! Silence again"
ZORB = "Zorbnick silent pond\nA frog jumps into the pond\nSplash! Silence again"
FILE = "A file on the pond\nA frog jumps into the pond\nSplash! Silence again"


@pytest.mark.parametrize(
    ("text", "options", "status"),
    [
        (GOOD, ["--kigo", "any"], 0),
        (GOOD, ["--kigo", "spring"], 0),
        (GOOD, ["--kigo", "winter"], 1),
        (CUT, ["--kigo", "winter"], 0),
        (CUT, ["--kireji", "required"], 0),
        (CUT, ["--kireji", "forbidden"], 1),
        (CUT.replace("—", ""), ["--kireji", "required"], 1),
        (RHYMED, [], 1),
        (RHYMED, ["--rhyme", "perfect"], 1),
        (RHYMED, ["--rhyme", "off"], 0),
        (HUNG, [], 0),
        (HUNG, ["--dangling", "forbidden"], 1),
        (FIRE, [], 0),
        (FIRE, ["--policy", "any"], 0),
        (FIRE, ["--policy", "all"], 1),
        (FIRE, ["--policy", "first"], 1),
        (FILE, [], 0),
        (FILE.replace("A file", "File"), [], 1),
        (FILE.replace("A file", "File"), ["--lenient"], 0),
        (ZORB, [], 0),
        (ZORB, ["--unknown", "estimate"], 0),
        (ZORB, ["--unknown", "reject"], 1),
        (GOOD, ["--form", "haiku"], 0),
        (GOOD, ["--form", "tanka"], 1),
        (GOOD, ["--form", "5-7-5"], 0),
        (GOOD, ["--form", "3-5-3"], 1),
        ("The moon comes\nover the big hill\nand it sings", ["--form", "3-5-3"], 0),
        (GOOD, ["--form", "free"], 0),
        ("Moon", ["--form", "free"], 0),
        ("old " * 17, ["--form", "free"], 0),
        ("old " * 18, ["--form", "free"], 1),
        (f"{GOOD}\nMoon", ["--form", "free"], 1),
        (
            "Red leaves falling\nover the wide white water\nno sound now",
            ["--form", "lune-collom"],
            0,
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_check_options(text: str, options: list[str], status: int, tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_text(text, "utf-8")
    assert cli.main(["check", *options, str(path)]) == status


def test_check_with_words_and_saijiki_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poem, words, book = tmp_path / "poem.txt", tmp_path / "own.txt", tmp_path / "saijiki.tsv"
    poem.write_text(FIRE.replace("Splash!", "Zorbnick,").replace("again", "all"), "utf-8")
    words.write_text("fire 1\nzorbnick 3 # mine", "utf-8")
    book.write_text("zorbnick\twinter\n", "utf-8")
    assert cli.main(["check", "--policy", "all", str(poem)]) == 1
    capsys.readouterr()
    line = ["check", "--policy", "all", "--json", "--kigo", "winter", str(poem)]
    assert cli.main([*line, "--words", str(words), "--saijiki", str(book)]) == 1
    record = json.loads(capsys.readouterr().out)
    assert record["lines"][2]["words"][0]["source"] == "user"
    assert record["lines"][2]["counts"] == [6]
    assert [k["phrase"] for k in record["kigo"]] == ["frog", "zorbnick"]  # its own stay in force
    words.write_text("fire 1\nzorbnick 2", "utf-8")
    assert cli.main([*line, "--words", str(words), "--saijiki", str(book)]) == 0
    assert cli.main([*line, "--words", str(words)]) == 1


def test_quiet_json_is_what_fails(good: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--quiet", "--json", good, bad]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["file"] == bad


SCHEMA_TEXTS = [
    GOOD, BAD, CUT, RHYMED, HUNG, FIRE, ZORB, "", " \n ", "日本\n日本\n日本", "🌸 old pond 🐸\n🌸\n—",
    GOOD + "\nand a line too many", "$5 at 10:30 a.m., C# & 50%\nнет\nO'er", "a" * 2000, "\u2028x\x0cy",
    "sea\nmemory\nsee", "hot spring, first snow\nthe new year's snow\nice " * 3, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", SCHEMA_TEXTS, ids=lambda text: ascii(text[:12]))
def test_json_is_as_its_schema_says(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    words, poem = tmp_path / "own.txt", tmp_path / "poem.jsonl"
    words.write_text("zorbnick 2,3\nsea S IY1", "utf-8")
    poem.write_text(json.dumps({"text": text}) + "\n", "utf-8")
    seen = set()
    for options in (
        [], ["--words", str(words)], ["--unknown", "reject"], ["--policy", "all", "--lenient"],
        ["--form", "free", "--policy", "first"], ["--form", "lune-collom", "--kigo", "any"],
        ["--kireji", "required", "--dangling", "forbidden", "--rhyme", "identical"],
    ):  # fmt: skip
        status = cli.main(["check", "--json", *options, str(poem)])
        record = json.loads(capsys.readouterr().out)
        jsonschema.validate(record, schema, jsonschema.Draft202012Validator)
        assert record["valid"] is (status == 0) is not bool(record["reasons"])
        seen |= {w["source"] for line in record["lines"] for w in line["words"]}
        record["surprise"] = 1
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(record, schema, jsonschema.Draft202012Validator)
    if text == ZORB:
        assert seen == {"dictionary", "estimate", "user", "unknown"}
    if "日本" in text:
        assert seen == {"uncountable"}


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=50), st.sampled_from(["any", "all", "first"]))
def test_reports_of_any_text_are_as_the_schema_says(text: str, policy: str) -> None:
    report = validate(text, Form(kigo="any"), policy=policy, words={"a": [1, 2]})
    jsonschema.validate(report.to_dict(), SCHEMA, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_json_on_a_terminal_of_few_characters(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_text(CUT + " 🌸 é 日", "utf-8")
    run = subprocess.run(
        [*HAIKU, "check", "--json", str(path)],
        capture_output=True, timeout=300, cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert json.loads(run.stdout.decode(encoding))["text"] == CUT + " 🌸 é 日"


# files of all sorts

SORTS: dict[str, bytes] = {
    "windows": GOOD.replace("\n", "\r\n").encode(),
    "mac": GOOD.replace("\n", "\r").encode(),
    "bom": b"\xef\xbb\xbf" + GOOD.encode(),
    "windows-bom": b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode(),
    "no-end": GOOD.encode(),
    "blank-lines": b"\n\n" + GOOD.encode() + b"\n\n \n",
}


@pytest.mark.parametrize("sort", SORTS)
def test_check_files_of_all_sorts(
    sort: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "poem.txt"
    path.write_bytes(SORTS[sort])
    assert cli.main(["check", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == GOOD


@pytest.mark.parametrize("command", ["check", "find"])
@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8"])
def test_encodings(
    command: str, encoding: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "poem.txt"
    text = f"{GOOD.replace('silent pond', 'wet café')}.\r\n"
    path.write_bytes(text.encode(encoding))
    assert cli.main([command, "--encoding", encoding, str(path)]) == 0
    assert "café" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "find"])
@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("missing", None, "check the path"),
        ("folder", b"", "Is a directory"),
        ("binary", b"\x7fELF\x02\xff", "not UTF-8 text"),
        ("nul", b"old\0pond", "NUL bytes"),
        ("utf16", GOOD.encode("utf-16"), "--encoding utf-16"),
        ("latin1", b"caf\xe9", "--encoding latin-1"),
    ],
)
def test_one_bad_file_of_many_is_named_and_the_others_are_read(
    command: str,
    name: str,
    data: bytes | None,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, last, path = tmp_path / "first.txt", tmp_path / "last.txt", tmp_path / name
    first.write_text(GOOD.replace("\n", ", ") + ".\n" if command == "find" else GOOD, "utf-8")
    last.write_bytes(first.read_bytes())
    if name == "folder":
        path.mkdir()
    elif data is not None:
        path.write_bytes(data)
    assert cli.main([command, "--json", str(first), str(path), str(last)]) == 2
    out, err = capsys.readouterr()
    assert [json.loads(line)["file"] for line in out.splitlines()] == [str(first), str(last)]
    assert err.startswith("haiku: error: ")
    assert err.count("\n") == 1
    assert str(path) in err
    assert said in err
    assert cli.main([command, str(path), str(tmp_path / "nowhere")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 2)


def test_empty_files_and_big_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "poem.txt"
    for data in (b"", b"\n\n", b"a" * 1_000_000, b"pond\n" * 100_000, b"\n" * 100_000 + b"pond"):
        path.write_bytes(data)
        assert cli.main(["find", str(path)]) == 1
        assert capsys.readouterr() == ("", "")
        assert cli.main(["check", "--json", str(path)]) == 1
        out, err = capsys.readouterr()
        assert json.loads(out)["reasons"]
        assert err == ""
    assert json.loads(out)["line"] == 100_001


# ask


def hears_ctrl_c() -> None:
    """For a child about to start: a shell's background job ignores SIGINT, nohup's SIGHUP, and
    children inherit that."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def on_a_terminal(typed: Sequence[str], *args: str, cwd: Path) -> tuple[int, str, str]:
    """Run `haiku` with a terminal for standard input and error, type an answer a question.

    Returns the exit status, standard output and what the terminal showed.
    """
    import fcntl
    import pty
    import termios

    def own_terminal() -> None:
        hears_ctrl_c()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    here, there = pty.openpty()
    process = subprocess.Popen(
        [*HAIKU, *args], stdin=there, stdout=subprocess.PIPE, stderr=there, text=True, cwd=cwd,
        start_new_session=True, preexec_fn=own_terminal,
    )  # fmt: skip
    os.close(there)
    shown, answers = "", list(typed)
    asked = 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ready, _, _ = select.select([here], [], [], 0.1)
        if not ready:
            if process.poll() is not None:
                break
            continue
        try:
            new = os.read(here, 4096).decode()
        except OSError:  # the other end is closed
            break
        if not new:
            break
        shown += new
        while shown.count("] ") > asked and answers:
            asked += 1
            os.write(here, answers.pop(0).encode())
    out = process.communicate(timeout=60)[0]
    os.close(here)
    assert "Traceback" not in shown
    return process.returncode, out, shown


terminals = pytest.mark.skipif(os.name != "posix", reason="terminals and signals of POSIX")


@terminals
@pytest.mark.parametrize("before", [None, "", "fire 1\n", "fire 1", "\ufefffire 1\r\n", "# mine"])
def test_ask_once_a_word_and_keep_the_answer(before: str | None, tmp_path: Path) -> None:
    poem, own = tmp_path / "poem.txt", tmp_path / "own.txt"
    poem.write_text(f"{ZORB}\n\n{ZORB.upper()}\n\nZörbnick Quuxly zorbnick\n", "utf-8")
    if before is not None:
        own.write_bytes(before.encode())
    line = ["check", "--json", "--unknown", "ask", "--words", "own.txt", "poem.txt"]
    status, out, shown = on_a_terminal(["two\n", "3,2\n", "\n"], *line, cwd=tmp_path)
    assert status == 1
    assert shown.count("How many syllables") == 3  # zorbnick twice, for "two" is no answer
    assert "'Zorbnick'? [2] " in shown
    assert "'Quuxly'? [2] " in shown
    assert "give a count" in shown
    records = [json.loads(row) for row in out.splitlines()]
    assert [r["valid"] for r in records] == [True, True, False]
    assert records[0]["lines"][0]["words"][0] == {
        "text": "Zorbnick", "counts": [3, 2], "source": "user", "note": ""
    }  # fmt: skip
    old = before or ""
    joint = "" if not old or old.endswith("\n") else "\n"
    assert own.read_bytes().decode() == f"{old}{joint}zorbnick\t3,2\nquuxly\t2\n"
    assert len(UserWords.load(own)) == 2 + old.count("fire")
    status, out, shown = on_a_terminal([], *line, cwd=tmp_path)
    assert (status, shown) == (1, "")
    assert [json.loads(row)["valid"] for row in out.splitlines()] == [True, True, False]


@terminals
@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_leaving_in_the_middle_loses_no_answer(key: str, tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text(f"{ZORB}\n\nQuuxly\n", "utf-8")
    line = ["check", "--unknown", "ask", "--words", "own.txt", "poem.txt"]
    status, out, shown = on_a_terminal(["2\n", key], *line, cwd=tmp_path)
    assert status == 130
    assert shown.rstrip().endswith("haiku: interrupted")
    assert "poem.txt:1:" in out
    assert (tmp_path / "own.txt").read_text("utf-8") == "zorbnick\t2\n"


@terminals
def test_ask_without_a_file_and_where_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text(ZORB, "utf-8")
    line = ["check", "--unknown", "ask", "poem.txt"]
    assert on_a_terminal(["5\n"], *line, cwd=tmp_path)[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["poem.txt"]
    for more, cure in (
        (["-"], "poems in files"),
        (["--words", "nowhere/own.txt"], "check the path"),
        (["--words", "."], "check the path"),
    ):
        status, out, shown = on_a_terminal([], *line, *more, cwd=tmp_path)
        assert (status, out, shown.count("\n")) == (2, "", 1)
        assert cure in shown


# find

PROSE = (
    "Call me what you like.\r\n\r\nSome years ago I went home. "
    f"{GOOD.replace(chr(10), ', ', 1).replace(chr(10), ',' + chr(13) + chr(10))}. So it goes.\r\n"
)


def test_find(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, other = tmp_path / "prose.txt", tmp_path / "other.txt"
    path.write_bytes(PROSE.encode())
    other.write_text("Nothing at all.\n", "utf-8")
    assert cli.main(["find", str(other), str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{path}:3:\n" + GOOD.replace("\n", ",\n") + ".\n\n"
    assert err == ""
    assert cli.main(["find", "--json", str(path)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record) == {"file", "line", "start", "end", "lines"}
    assert (record["file"], record["line"]) == (str(path), 3)
    span = PROSE[record["start"] : record["end"]]
    assert " ".join(span.split()) == " ".join(record["lines"])
    assert cli.main(["find", str(other)]) == 1
    assert cli.main(["find", "--form", "tanka", str(path)]) == 1
    assert cli.main(["find", "--form", "5-7", str(path)]) == 1
    capsys.readouterr()
    assert cli.main(["find", "--form", "5-7", "--anywhere", str(path)]) == 0
    assert (
        f"{path}:3:\nAn old silent pond,\nA frog jumps into the pond,\n\n"
        in capsys.readouterr().out
    )


def test_find_policies(tmp_path: Path) -> None:
    path = tmp_path / "prose.txt"
    path.write_text(FIRE.replace("\n", " ") + ".", "utf-8")
    assert cli.main(["find", str(path)]) == 0
    assert cli.main(["find", "--policy", "all", str(path)]) == 1


def test_find_in_standard_input() -> None:
    run = haiku("find", stdin=PROSE)
    assert (run.returncode, run.stdout[:11], run.stderr) == (0, "<stdin>:3:\n", "")
    run = haiku("find", "--json", "-", stdin=PROSE)
    assert json.loads(run.stdout)["file"] == "-"
    assert haiku("find", stdin="").returncode == 1


# errors


@pytest.mark.parametrize(
    ("args", "cure"),
    [
        (["check", "nowhere.txt"], "check the path"),
        (["check", "--form", "sonnet", "-"], "use haiku"),
        (["check", "--form", "5-0-5", "-"], "choose a count"),
        (["check", "--policy", "some", "-"], "use one of"),
        (["check", "--nonsense"], "--help"),
        (["check", "--kigo", "monsoon", "-"], "autumn"),
        (["check", "--kireji", "maybe", "-"], "required"),
        (["check", "--rhyme", "near", "-"], "perfect"),
        (["check", "--dangling", "maybe", "-"], "forbidden"),
        (["check", "--unknown", "guess", "-"], "reject"),
        (["check", "--unknown", "ask", "-"], "needs a terminal"),
        (["check", "--words", "nowhere.txt", "-"], "check the path"),
        (["check", "--words", "", "-"], "check the path"),
        (["check", "--saijiki", "nowhere.txt", "-"], "check the path"),
        (["check", "--words", "/dev/zero", "-"], "is over 100 MB"),
        (["check", "--saijiki", "/dev/zero", "-"], "is over 100 MB"),
        (["check", "--encoding", "klingon", "-"], "use e.g. utf-8"),
        (["check", "--encoding", "punycode", "-"], "use e.g. utf-8"),
        (["check", "-", "-"], "give it once"),
        (["find", "nowhere.txt"], "check the path"),
        (["find", "."], "check the path"),
        (["find", "--form", "free", "nowhere.txt"], "HAIKU"),
        (["find", "--form", "lune-collom", "-"], "HAIKU"),
        (["find", "--policy", "first", "-"], "use one of any, all"),
        (["find", "--encoding", "klingon", "a", "b"], "use e.g. utf-8"),
        (["find", "-", "-"], "give it once"),
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
        (["write", "autumn rain", "--model", "/dev/zero"], "neither a file nor a folder"),
        (["write", "autumn rain", "--stream", "--beams", "4"], "leave out --beams"),
        (["write", "autumn rain", "--seed", "-1"], "seed"),
        (["write", "autumn rain", "--form", "haiku", "--top-p", "2"], "top_p"),
        (["download", "gpt5"], "smollm2"),
        (["prepare", "nowhere.txt", "--out", "out"], "check the path"),
        (["prepare", "-", "-", "--out", "out"], "give it once"),
        (["evaluate", "nowhere", "--split", "x"], "use one of train, val, test"),
        (["evaluate", "nowhere", "--seed", "-1"], "from 0 up"),
        (["corpus", "write", "--out", "x", "--batches", "1", "--part", "²/3"], "the first of two"),
        (["lookahead", "haiku-nano", "--seed", "-1", "--again"], "from 0 up"),
        (["finetune", "nowhere", "--out", "out", "--batch-size", "0"], "use 1 or more"),
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


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("you can't allocate memory: 3 TB")])
def test_too_little_memory_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> int:
        raise error

    monkeypatch.setattr("constrained_gpt.registry.describe", run)
    assert cli.main(["models"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "smaller" in err


def test_json_holds_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": math.nan, "b": [1.5, -math.inf], "c": (True, "nan")})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None], "c": [True, "nan"]}


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

    def iterate(*args: Any, **options: Any) -> Sequence[Poem]:
        seen.append((args, options))
        return [Poem(f"poem {i}\nof {args[0]}") for i in range(args[1])]

    def stream(*args: Any, **options: Any) -> Any:
        seen.append((args, options))
        yield from ((poem, line, f"{poem}.{line}") for poem in range(args[1]) for line in range(3))

    module = sys.modules["constrained_gpt.generate"]
    monkeypatch.setattr(module, "iterate", iterate)
    monkeypatch.setattr(module, "stream", stream)
    return seen


def test_write_hands_on_only_what_was_given(
    calls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["write", "autumn rain"]) == 0
    args, options = calls[-1]
    assert args == ("autumn rain", 1)
    assert set(options) <= {"progress", "return_weights"}
    assert not options["return_weights"]  # of use where it is printed, and slower
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
    options.pop("return_weights")
    assert args == ("-n", 2)
    assert options == {
        "season": "new year", "kigo": "any", "kireji": "required", "seed": 7, "temperature": 0.5,
        "top_k": 40, "top_p": 0.9, "min_p": 0.05, "first_line": "an old silent pond",
        "form": constrained_gpt.TANKA, "strategy": "beam", "model": "gpt2", "unique": False,
    }  # fmt: skip
    assert capsys.readouterr().out == "poem 0\nof -n\n\npoem 1\nof -n\n"


def test_every_option_is_a_parameter_of_generate() -> None:
    parameters = inspect.signature(constrained_gpt.generate).parameters
    assert {*write.OPTIONS, *write.WHOLE, "form", "unique", "progress"} <= set(parameters)
    assert {*write.OPTIONS, "form"} <= set(inspect.signature(constrained_gpt.stream).parameters)


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


def test_a_reader_of_find_that_leaves_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "prose.txt").write_text(PROSE * 2000, "utf-8")
    run = subprocess.run(
        ["bash", "-c", f"{' '.join(HAIKU)} find prose.txt | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (141, "prose.txt:3:\n", "")


@pytest.mark.skipif(os.name != "posix", reason="file descriptors of POSIX")
@pytest.mark.parametrize("command", ["check", "find"])
@pytest.mark.parametrize(
    ("closed", "status"), [("<&-", 2), (">&-", 0), ("2>&-", 0), (">/dev/full", 2)]
)
def test_streams_that_are_closed(command: str, closed: str, status: int, tmp_path: Path) -> None:
    text = GOOD.replace("\n", ", ") + "." if command == "find" else GOOD
    (tmp_path / "prose.txt").write_text(text, "utf-8")
    given = closed if closed.startswith("<") else f"< prose.txt {closed}"
    run = subprocess.run(
        ["bash", "-c", f"{' '.join(HAIKU)} {command} - {given}"],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == status
    assert run.stderr.count("\n") == (status == 2)
    assert "Traceback" not in run.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")
@pytest.mark.parametrize("command", ["check", "find"])
def test_ctrl_c_is_130(command: str) -> None:
    process = subprocess.Popen(
        [*HAIKU, command, "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parent, preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    time.sleep(1.5)  # it waits for its standard input by now
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.count("\n") <= 1


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_half_written_stays_behind(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*HAIKU, "prepare", "-", "--model", "gpt2", "--out", str(tmp_path / "data")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        cwd=Path(__file__).parent, preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("data/*.part")):  # until it waits for poems
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"Traceback" not in err
    assert not list((tmp_path / "data").iterdir())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, terminal = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stderr", plain)
    with Bar(100) as bar:
        bar.update(50)
    monkeypatch.setattr(sys, "stderr", terminal)
    with Bar(4) as bar:  # too few to be worth one
        bar.update(2)
    assert plain.getvalue() == terminal.getvalue() == ""
    with Bar(100) as bar:
        bar.update(50)
        assert bar.bar.n == 50
    assert "/100" in terminal.getvalue()


def test_the_bar_of_find_is_for_big_files_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small, big = tmp_path / "small.txt", tmp_path / "big.txt"
    small.write_text("The sea.\n" * 1000, "utf-8")
    big.write_text("9" * 78 + "\n\n" + "-" * 5_000_000 + "\n", "utf-8")
    for error, path, shown in (
        (io.StringIO(), big, False), (Terminal(), small, False), (Terminal(), big, True),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "stderr", error)
        assert cli.main(["find", str(path)]) == 1
        assert bool(error.getvalue()) is shown
        assert ("B/s" in error.getvalue()) is shown


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
