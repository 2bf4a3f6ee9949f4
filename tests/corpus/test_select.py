"""Each rule drops what it names, and the figures are those of what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from constrained_gpt import cli
from constrained_gpt.corpus.select import Rules, cliches, select

POEMS = (
    "A crow on the fence\nshakes the frost from the long wire\nand then only sky.",
    "Noon at the station,\none cicada keeps singing\nto the empty tracks.",
    "Plum blossoms again.\nI set out her blue tea bowl\nand pour for no one.",
    "Wild geese in the dusk\nthe tide has carried my name\nback to the wet sand.",
)
OPEN = Rules(worst=0.0, first=10**6)


def row(text: str, **more: Any) -> dict[str, Any]:
    known = {"form": "haiku", "season": None, "topic": "t", "log_p": -40.0, "log_mass": -3.0}
    return {"text": text, **known, "tokens": 20, **more}


def kept(tmp_path: Path, rows: list[dict[str, Any]], rules: Rules) -> tuple[set[str], Any]:
    source, out = tmp_path / "raw.jsonl", tmp_path / "kept.jsonl"
    source.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    figures = select([source], out, rules=rules)
    texts = [json.loads(line)["text"] for line in out.read_text("utf-8").splitlines()]
    assert figures["kept"] == len(texts) == figures["read"] - sum(figures["rejects"].values())
    return set(texts), figures


def test_good_poems_stay(tmp_path: Path) -> None:
    texts, figures = kept(tmp_path, [row(p) for p in POEMS], OPEN)
    assert texts == set(POEMS)
    assert figures["rejects"] == {} or sum(figures["rejects"].values()) == 0
    assert figures["log_p_per_token"] == -2.0


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (row(POEMS[0].upper()), "the same words"),
        (row("Rain on the old roof\nthe rain is falling again\nand again the rain"), "said again"),
        (row("A door in the wall\nopens by itself at night\nand nobody comes", log_mass=-9.0), "forced"),
    ],
)  # fmt: skip
def test_a_rule_drops_what_it_names(tmp_path: Path, bad: dict[str, Any], why: str) -> None:
    texts, figures = kept(tmp_path, [*map(row, POEMS), bad], OPEN)
    assert texts == set(POEMS)
    assert {k: v for k, v in figures["rejects"].items() if v} == {why: 1}


def test_the_worst_go(tmp_path: Path) -> None:
    rows = [row(p, log_p=-40.0 - i) for i, p in enumerate(POEMS)]
    texts, _ = kept(tmp_path, rows, Rules(worst=0.25, first=10**6))
    assert texts == set(POEMS[:3])


def test_words_lines_and_phrases_are_capped(tmp_path: Path) -> None:
    numbers = ["one", "two", "three", "four", "five", "six", "ten", "twelve"]
    lines = [f"Hills of {n}\n{n} kites over {n}{n}\n" for n in numbers]
    moons = [row(line + f"pale moon of {i}") for i, line in enumerate(lines)]
    rules = Rules(repeated=9, worst=0.0, word=0.3, opening=1.0, first=10, line=9)
    texts, figures = kept(tmp_path, moons, rules)
    assert len(texts) == 3
    assert figures["rejects"]["too many with its word"] == 5
    shared = [row(f"{line}and nobody comes") for line in lines]
    rules = Rules(repeated=9, worst=0.0, word=1.0, opening=1.0, line=2)
    texts, figures = kept(tmp_path, shared, rules)
    assert len(texts) == 2
    assert figures["rejects"]["too many with its line"] == 6
    phrase = cliches()[0]
    worn = [row(f"{line}{phrase} {i}") for i, line in enumerate(lines)]
    rules = Rules(repeated=9, worst=0.0, word=1.0, opening=1.0, line=9, cliche=0.1, first=10)
    texts, figures = kept(tmp_path, worn, rules)
    assert len(texts) == 1
    assert figures["rejects"]["too many with its phrase"] == 7


@pytest.mark.parametrize("kind", ["itself", "symlink_to", "hardlink_to"])
def test_what_is_read_is_not_written_over(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "raw.jsonl"
    source.write_text("".join(json.dumps(row(p)) + "\n" for p in POEMS), "utf-8")
    before, out = source.read_bytes(), source
    if kind != "itself":
        out = tmp_path / "link.jsonl"
        getattr(out, kind)(source)
    with pytest.raises(ValueError, match="which is read; give another --out"):
        select([source], out, rules=OPEN)
    assert source.read_bytes() == before
    assert out.samefile(source)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), True, "-2.5"])
def test_a_limit_that_is_no_number_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"line_log_mass=.* is no finite number; give e.g. -2.5"):
        Rules(line_log_mass=bad)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "raw.jsonl"
    source.write_text("".join(json.dumps(row(p)) + "\n" for p in POEMS) + '{"text": "half', "utf-8")
    out = str(tmp_path / "kept.jsonl")
    assert cli.main(["corpus", "select", str(source), "--out", out, "--worst", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 4
    assert cli.main(["corpus", "select", str(source), "--out", out, "--worst", "7"]) == 2
    assert "worst=7.0 is no share" in capsys.readouterr().err
    assert cli.main(["corpus", "write", "--out", out, "--batches", "1", "--part", "2"]) == 2
    assert "not like 0/2" in capsys.readouterr().err


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in row(POEMS[1]).items() if key != name}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"\xff", "can't decode"),
        (b"[]", "no object"),
        (b"[" * 100_000, "recursion"),
        (row("x", log_p=-(10**400)), "log_p is no number"),
        (row(5), "text is no string"),  # type: ignore[arg-type]
        (row("x", tokens=0), "no tokens"),
        (row("x", log_p=None), "log_p is no number"),
        (row("x", log_mass=float("nan")), "log_mass is no number"),
        (row("x", log_mass="-3"), "log_mass is no number"),
        (row("x", tokens=True), "tokens is no number"),
        (row("x", topic=["t"]), "topic is no string"),
        (row("x", season=["t"]), "season is neither"),
        (without("form"), "form is no string"),
        (without("season"), "season is neither"),
        (without("topic"), "topic is no string"),
    ],
    ids=lambda given: repr(given)[-40:],
)
def test_what_is_no_row_is_named(line: Any, why: str, tmp_path: Path) -> None:
    source = tmp_path / "raw.jsonl"
    coded = line if isinstance(line, bytes) else json.dumps(line).encode()
    source.write_bytes(json.dumps(row(POEMS[0])).encode() + b"\n" + coded + b"\n")
    with pytest.raises(ValueError, match=rf"raw.jsonl: line 2 is no row .*{why}.*give its files"):
        select([source], tmp_path / "kept.jsonl", rules=OPEN)
    assert not (tmp_path / "kept.jsonl").exists()
