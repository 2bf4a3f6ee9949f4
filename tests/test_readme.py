"""README.md is true: its code runs, its console output is printed, its made parts are new."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from constrained_gpt import cli

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"(<!-- weights -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = [(bool(mark), language, code) for mark, language, code in BLOCK.findall(README)]


def _code(language: str) -> list[object]:
    return [
        pytest.param(code, marks=[pytest.mark.weights] if weights else [], id=f"{language}-{i}")
        for i, (weights, found, code) in enumerate(BLOCKS)
        if found == language
    ]


@pytest.mark.parametrize("code", _code("python"))
def test_python(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_the_first_line_of_code_is_an_assertion_that_holds() -> None:
    lines = [line for line in BLOCKS[0][2].splitlines() if line and "import" not in line]
    assert lines[0].startswith("assert ")


@pytest.mark.parametrize("code", _code("console"))
def test_console(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "An old silent pond\nA frog jumps into the pond\nSplash! Silence again\n"
    Path("basho.txt").write_text(text, "utf-8")
    command, _, expected = code.partition("\n")
    program, *arguments = command.removeprefix("$ ").split()
    assert program == "haiku"
    cli.main(arguments)
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("code", _code("sh"))
def test_shell_commands_exist(code: str) -> None:
    """Make targets are in the Makefile, and `haiku` understands its arguments."""
    import shlex

    makefile = (ROOT / "Makefile").read_text("utf-8")
    for line in code.splitlines():
        program, *arguments = shlex.split(line)
        if program == "make":
            target = next(a for a in arguments if "=" not in a)
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
            for name in (a.partition("=")[0] for a in arguments if "=" in a):
                assert re.search(rf"^{name} *\?=", makefile, re.MULTILINE), line
        elif program == "haiku":
            cli.parser_of().parse_args(arguments)
        else:
            assert program == "pip", line


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "\nmake test\n" in README
    assert "make test\n" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_made_parts_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "bench" / "readme.py"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_no_path_of_a_machine() -> None:
    assert not re.search(r"(/home/|/root/|/Users/|/work/|/tmp/)", README)
