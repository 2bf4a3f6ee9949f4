"""Verdicts, and the reasons for them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained_gpt.lexicon import (
    HAIKU,
    LUNE_COLLOM,
    SENRYU,
    TANKA,
    Form,
    Lexicon,
    Saijiki,
    quick,
    validate,
)
from constrained_gpt.lexicon.judge import Judge, totals

GOOD = "an old silent pond\na frog jumps into the pond\nsplash silence again"
LONG = GOOD.replace("an old", "an old, old")
SHORT = GOOD.replace("an old silent", "old silent")
FIRE = GOOD.replace("an old silent pond", "fire on the old pond")
POEMS = (GOOD, LONG, SHORT, FIRE, GOOD.upper(), GOOD.replace("\n", "\r\n"), "\n\n" + GOOD + "\n \n")


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (GOOD, True),
        (GOOD.upper(), True),
        (GOOD.replace("\n", "\r\n"), True),
        ("\n \n" + GOOD + "\n\n\n", True),
        (LONG, False),
        (SHORT, False),
        ("", False),
        ("\n\n", False),
        ("🌸\n🌸\n🌸", False),
        (GOOD + "\nand more", False),
        (GOOD.replace("\n", "\n\n"), False),
        ("日本\n" * 3, False),
    ],
)
def test_verdicts(text: str, valid: bool) -> None:
    report = validate(text)
    assert report.valid is valid
    assert bool(report.reasons) is not valid
    assert str(report)


def test_policies() -> None:
    assert validate(FIRE).valid
    assert not validate(FIRE, policy="all").valid
    assert validate(GOOD, policy="all").valid
    assert validate(GOOD, policy="first").valid
    assert "fire (1/2)" in validate(FIRE, policy="all").reasons[0]


def test_a_report_explains_itself() -> None:
    report = validate(LONG.replace("frog", "zorbnick"))
    assert "line 1 has 6 syllables, 1 too many for 5; without 'an' it has 5" in report.reasons
    (word,) = [w for line in report.lines for w in line.words if w.text == "zorbnick"]
    assert word.source == "estimate"
    assert "not in the dictionary" in word.note
    first = report.lines[0]
    assert (first.target, first.counts) == (5, {6})
    assert [w.text for w in first.words] == ["an", "old", "old", "silent", "pond"]


def test_json_is_plain_and_versioned() -> None:
    report = validate("first snow at the door—\na frog jumps into the pond\nsplash silence again")
    data = json.loads(json.dumps(report.to_dict()))
    assert data["schema"] == 1
    assert data["valid"] is True
    assert [k["phrase"] for k in data["kigo"]][:1] == ["first snow"]
    assert data["cuts"][0]["mark"] == "—"
    assert data["lines"][0]["words"][0] == {
        "text": "first", "counts": [1], "source": "dictionary", "note": ""
    }  # fmt: skip


def test_kigo_rules() -> None:
    assert validate(GOOD, Form(kigo="any")).valid
    assert validate(GOOD, Form(kigo="spring")).valid
    assert validate(GOOD, Form(kigo=frozenset({"frog"}))).valid
    assert "no winter kigo" in validate(GOOD, Form(kigo="winter")).reasons[0]
    assert not validate(GOOD, Form(kigo=frozenset({"snow"}))).valid
    assert not validate(GOOD, Form(kigo="any"), saijiki=Saijiki.from_phrases({})).valid
    assert validate(GOOD.replace("frog", "bug"), HAIKU).valid


def test_cut_rules() -> None:
    cut = GOOD.replace("silent pond", "silent pond—")
    assert validate(cut, Form(kireji="required")).valid
    assert "no cut" in validate(GOOD, Form(kireji="required")).reasons[0]
    assert not validate(cut, Form(kireji="forbidden")).valid
    two = cut.replace("into the pond", "into the pond...")
    assert "2 cuts" in validate(two, Form(kireji="required")).reasons[0]


def test_rhyme_rules() -> None:
    same = "an old silent pond\na frog jumps into the light\nsplash silence tonight"
    assert "rhyme" in validate(same, Form(rhyme="identical")).reasons[0]
    perfect = "the moon is so bright\na frog jumps into the pond\na long and dark night"
    assert not validate(perfect).valid
    assert validate(perfect, Form(rhyme="off")).valid
    assert validate(GOOD, Form(rhyme="perfect")).valid  # pond, pond: the same word
    assert not validate(GOOD, Form(rhyme="identical")).valid


@pytest.mark.parametrize("rule", ["off", "perfect", "identical"])
@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        ("moon", "stone", "near"),
        ("soul", "wall", "near"),
        ("mud", "truck", "near"),
        ("home", "stone", "near"),
        ("frog", "pond", None),
        ("night", "light", "perfect"),
        ("sea", "see", "identical"),
    ],
)
def test_a_near_rhyme_is_told_and_never_refused(
    a: str, b: str, kind: str | None, rule: str
) -> None:
    text = f"I walk to the {a}\na frog jumps into water\nI look at the {b}"
    form = Form(rhyme=rule)
    report = validate(text, form)
    kinds = [
        (r.first, r.second, r.kind)
        for r in report.rhymes
        if r.kind != "near" or (r.second == 2 and r.first == 0)
    ]
    assert kinds == ([(0, 2, kind)] if kind else [])
    refused = {"off": set(), "perfect": {"perfect"}, "identical": {"perfect", "identical"}}[rule]
    assert report.valid is (kind not in refused)
    assert report.valid is not any("rhyme" in reason for reason in report.reasons)
    assert (f"lines 1 and 3, {kind}" in str(report)) is (kind is not None)
    agree(text, form, "any")


def test_dangling_and_words() -> None:
    hung = "an old silent pond\na frog jumps into it and\nsplash silence again"
    assert validate(hung).valid
    assert "'and'" in validate(hung, Form(dangling="forbidden")).reasons[0]
    leaning = "a maple leaf on\nthe step of the old temple\nin the autumn wind"
    assert validate(leaning, Form(dangling="forbidden")).valid
    assert "line 1 ends on 'on'" in validate(leaning, Form(dangling="strict")).reasons[0]
    assert validate("red leaves falling\nover the wide white water\nno sound now", LUNE_COLLOM)
    assert not validate(GOOD, LUNE_COLLOM)


def test_other_forms() -> None:
    tanka = GOOD + "\nthe water settles slowly\nand the moon comes back to me"
    assert validate(tanka, TANKA).valid
    assert validate(GOOD, SENRYU).valid
    assert validate("moon", Form(lines=(5, 7), free=True)).valid


def test_the_lexicon_is_trusted_for_its_words() -> None:
    lexicon = Lexicon.from_words(
        {"zorb": 5, "zarb": 7, "frog": 4}, saijiki=Saijiki.from_phrases({})
    )
    assert validate("zorb\nzarb\nfrog the", lexicon=lexicon).valid
    assert not validate("zorb\nzarb\nfrog the").valid


def test_unknown_words() -> None:
    text = "zorbnick silent pond\na frog jumps into the pond\nsplash silence again"
    assert validate(text).lines[0].words[0].source == "estimate"
    assert not validate(text, unknown="reject").valid
    asked: list[str] = []

    def ask(word: str) -> int:
        asked.append(word)
        return 2

    report = validate(text, unknown=ask)
    assert report.valid
    assert report.lines[0].words[0].source == "user"
    assert asked == ["zorbnick"]
    with pytest.raises(ValueError, match="return a count"):
        validate(text, unknown=lambda word: 99).reasons  # noqa: B018


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: validate(None), TypeError),
        (lambda: validate(b"pond"), TypeError),
        (lambda: validate(GOOD, "haiku"), TypeError),
        (lambda: validate(GOOD, policy="most"), ValueError),
        (lambda: validate(GOOD, unknown="guess"), ValueError),
        (lambda: validate(GOOD, lexicon=["pond"]), TypeError),
        (lambda: validate(GOOD, saijiki="kigo.tsv"), TypeError),
    ],
)
def test_bad_arguments(call: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        call()  # type: ignore[operator]


def test_emoji_is_named_and_silent() -> None:
    report = validate(GOOD.replace("pond\n", "pond 🐸\n", 1))
    assert report.valid
    assert [w.note for w in report.lines[0].words if w.source == "symbol"]


def test_totals() -> None:
    assert totals([(1,), (1, 2), (2, 3)]) == {4, 5, 6}
    assert totals([]) == {0}


def agree(text: str, form: Form, policy: str) -> None:
    slow = not Judge(form, policy).detail(text).reasons
    assert quick.verdict(text, form, policy) is slow
    assert validate(text, form, policy=policy).valid is slow


FRAGMENTS = [
    "an",
    "old",
    "silent",
    "pond",
    "fire",
    "every",
    "the",
    "frog",
    "'s",
    "it's",
    "snow-covered",
    "2020",
    "a.m.",
    "—",
    "...",
    "\n",
    "\n\n\r\n",
    "\u2028",
    "\x0b",
    "light",
    "night",
    "poem",
    "日",
    "🌸",
    "'",
    "’",
    "“",
    ",",
    "\t",
    "&",
    "$5",
    "zorb",
    "O'er",
]


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(" ".join),
        st.sampled_from(POEMS),
        st.lists(st.sampled_from(POEMS[0].split("\n")), min_size=3, max_size=3).map("\n".join),
    ),
    st.sampled_from(["off", "perfect", "identical"]),
    st.sampled_from(["any", "all", "first"]),
)
def test_the_quick_verdict_is_the_full_one(text: str, rhyme: str, policy: str) -> None:
    agree(text, Form(rhyme=rhyme), policy)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_text_at_all(text: str) -> None:
    agree(text, HAIKU, "any")
    report = validate(text, Form(kigo="any", kireji="required", dangling="forbidden"))
    assert str(report)
    json.dumps(report.to_dict())


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "9" * 1_000_000,
        "'" * 100_000,
        "-" * 100_000,
        "a-" * 100_000,
        "a.b" * 50_000,
        "1:" * 50_000,
        "é" * 100_000,
        "\u0301" * 100_000,
        "e\u0301" * 50_000,
        "\u200b" * 100_000,
        "fire " * 20_000,
        "pond\n" * 30_000,
        "\x00\x01\xff" * 10_000,
        "Ab" * 50_000,
        "1-" * 100_000,
        "a(b)" * 50_000,
        "Dr. X " * 20_000,
        "ai" * 200 + "q",
        "h" * 900 + "q",
        "🌸" * 50_000,
    ],
    ids=lambda text: f"{text[:4]!r} x{len(text)}",
)
def test_size_does_not_matter(text: str) -> None:
    report = validate(text)
    assert not report.valid
    assert report.reasons
