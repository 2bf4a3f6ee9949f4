"""User words: the layout of their files, what is refused, and that they go before all else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constrained_gpt.lexicon import HAIKU, Form, Lexicon, UserWords, readings, validate
from constrained_gpt.lexicon.normalize import words

FIRE = "fire on the old pond\na frog jumps into the pond\nsplash silence again"


def load(tmp_path: Path, text: str | bytes) -> UserWords:
    path = tmp_path / "own.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return UserWords.load(path)


# the file


@pytest.mark.parametrize(
    ("text", "word", "counts"),
    [
        ("fire 1", "fire", (1,)),
        ("fire\t1\n", "fire", (1,)),
        ("  fire   1  \r\n", "fire", (1,)),
        ("fire 2,1", "fire", (2, 1)),
        ("fire 2 , 1", "fire", (2, 1)),
        ("fire 2\nfire 1\nfire 2\n", "fire", (2, 1)),
        ("FIRE 1", "fire", (1,)),
        ("Café 3", "cafe", (3,)),
        ("cafe\u0301 3", "cafe", (3,)),
        ("don’t 2", "don't", (2,)),
        ("snow-globe 5", "snow-globe", (5,)),
        ("'tis 2", "'tis", (2,)),
        ("fire, 1", "fire", (1,)),
        ("hm 0", "hm", (0,)),
        ("c# 2", "c#", (2,)),
        ("# all mine\n;;; CMUdict's way\n  ;;; indented\n\nfire 1 # as in the north", "fire", (1,)),
        ("fire  F AY1 R", "fire", (1,)),
        ("FIRE  F AY1 ER0\nFIRE(1)  F AY1 R", "fire", (2, 1)),
        ("fire F AY1 ER0\nfire(2) F AY1 R # northern", "fire", (2, 1)),
        ("fire f ay1 r", "fire", (1,)),
        ("\ufefffire 1", "fire", (1,)),
        ("a.m. EY1 EH1 M", "a.m.", (2,)),
    ],
)
def test_layouts(text: str, word: str, counts: tuple[int, ...], tmp_path: Path) -> None:
    own = load(tmp_path, text)
    assert own.counts(word) == counts
    assert len(own) == 1


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n;;; at all", "\ufeff"])
def test_files_without_words(text: str, tmp_path: Path) -> None:
    own = load(tmp_path, text)
    assert len(own) == 0
    assert validate(FIRE, words=own).lines[0].words[0].counts == (2, 1)


@pytest.mark.parametrize(
    ("row", "cure"),
    [
        ("fire", "write e.g. `fire 2`"),
        ("fire # 1", "write e.g. `fire 2`"),
        ("fire one", "give a count"),
        ("fire -1", "give a count"),
        ("fire 1.5", "with commas between"),
        ("fire 1 2", "with commas between"),
        ("fire 1_0", "with commas between"),
        ("fire ²", "with commas between"),
        ("fire 32", "from 0 to 31"),
        ("fire 2,", "with commas between"),
        ("fire " + "9" * 5000, "with commas between"),
        ("fire F AY R", "stress marks"),
        ("fire F AY1 ER", "stress marks"),
        ("fire F1 AY1", "stress marks"),
        ("fire F AY3", "stress marks"),
        ("new year 2", "give a count"),
        ("snow/ice 2", "give one word"),
        ("-- 2", "give one word"),
        ("🌸 2", "give one word"),
        ("2", "write e.g."),
    ],
)
def test_a_bad_row_names_its_line_and_the_cure(row: str, cure: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"own\.txt line 3[ :]") as raised:
        load(tmp_path, f"# mine\nice 1\n{row}\nsnow 1\n")
    assert cure in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("data", ["fire 1".encode("utf-16"), b"caf\xe9 2"])
def test_other_encodings_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"own\.txt is not UTF-8 text \(byte \d\); write"):
        load(tmp_path, data)
    with pytest.raises(FileNotFoundError):
        UserWords.load(tmp_path / "nowhere.txt")


# from Python


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: UserWords("fire"), TypeError),  # type: ignore[arg-type]
        (lambda: UserWords([("fire", 1)]), TypeError),  # type: ignore[arg-type]
        (lambda: UserWords({1: 1}), TypeError),  # type: ignore[dict-item]
        (lambda: UserWords({"fire": True}), ValueError),
        (lambda: UserWords({"fire": 1.0}), ValueError),  # type: ignore[dict-item]
        (lambda: UserWords({"fire": None}), ValueError),  # type: ignore[dict-item]
        (lambda: UserWords({"fire": []}), ValueError),
        (lambda: UserWords({"fire": ""}), ValueError),
        (lambda: UserWords({"fire": ["1"]}), ValueError),  # type: ignore[dict-item]
        (lambda: UserWords({"fire": -1}), ValueError),
        (lambda: UserWords({"": 1}), ValueError),
        (lambda: UserWords({"two words": 1}), ValueError),
        (lambda: validate(FIRE, words="fire"), TypeError),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments(call: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"write|give"):
        call()


def test_numbers_of_any_kind() -> None:
    import numpy as np

    own = UserWords({"fire": np.int64(1), "ice": range(1, 3), "snow": "1"})  # type: ignore[dict-item]
    assert [own.counts(w) for w in ("fire", "ice", "snow", "hail")] == [(1,), (1, 2), (1,), ()]


# in the validator


def test_they_go_before_dictionary_rules_and_lexicon() -> None:
    assert validate(FIRE).valid
    assert not validate(FIRE, policy="all").valid
    report = validate(FIRE, policy="all", words={"Fire": 1})
    assert report.valid
    assert (report.lines[0].words[0].source, report.lines[0].words[0].counts) == ("user", (1,))
    assert not validate(FIRE, words={"fire": 3}).valid
    lexicon = Lexicon.from_words({"fire": 2})
    assert not validate(FIRE, lexicon=lexicon).valid
    assert validate(FIRE, lexicon=lexicon, words=UserWords({"fire": 1})).valid
    assert validate(FIRE, words={}).valid


def test_the_usual_count_is_the_first_given() -> None:
    assert validate(FIRE, policy="first", words={"fire": [1, 2]}).valid
    assert not validate(FIRE, policy="first", words={"fire": [2, 1]}).valid


def test_they_settle_what_is_unknown() -> None:
    text = FIRE.replace("fire", "zorb")
    asked: list[str] = []

    def ask(word: str) -> int:
        asked.append(word)
        return 9

    assert validate(text, unknown="reject", words={"ZORB": 1}).valid
    assert validate(text, unknown=ask, words={"zorb": 1}).valid
    assert asked == []


def test_case_and_accents_do_not_matter_and_inflection_does() -> None:
    own = UserWords({"Bashō": 5, "zorb": "Z AO1 R B"})
    counted = {
        word.text: (word.counts, word.source)
        for word in validate("BASHO basho Bashō Basho's basho-like zorbs zorb's", words=own)
        .lines[0]
        .words
    }
    assert counted["BASHO"] == counted["basho"] == counted["Bashō"] == ((5,), "user")
    for other in ("Basho's", "basho-like", "zorbs", "zorb's"):  # these are read as without the list
        assert counted[other][1] != "user"
        assert counted[other][0] == tuple(dict.fromkeys(r.count for r in readings(other)))


def test_phones_give_rhymes_and_counts_leave_them() -> None:
    text = "an old silent zorb\na frog jumps into the pond\nsplash silence again"

    def kinds(said: Any) -> list[tuple[str, str, str]]:
        return [(r.word, r.other, r.kind) for r in validate(text, words={"zorb": said}).rhymes]

    assert kinds("Z AA1 N D") == [("zorb", "pond", "perfect")]
    assert kinds("P AA1 N D") == [("zorb", "pond", "identical")]
    assert kinds(1) == []
    assert not validate(text, words={"zorb": "Z AA1 N D"}).valid
    assert validate(text, words={"zorb": "P AA1 N D"}).valid
    own = UserWords({"pond": 1})  # the count alone is mine, the sound the dictionary's
    assert validate(text.replace("zorb", "bond"), words=own).rhymes[0].kind == "perfect"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.integers(0, 31))
def test_every_word_of_a_text_can_be_set(text: str, count: int) -> None:
    for word in words(text):
        assert UserWords({word.text: count}).counts(word.key) == (count,)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["fire", "Fire's", "zorb", "日", "🌸", "c#", "\n", "—", "20", "&", "café"]))
    .map(" ".join) | st.text(max_size=40),
    st.dictionaries(
        st.sampled_from(["fire", "zorb", "日", "c#", "20", "&", "cafe"]),
        st.integers(0, 31) | st.lists(st.integers(0, 31), min_size=1) | st.just("Z AO1 R B"),
    ),
    st.sampled_from(["any", "all", "first"]),
)  # fmt: skip
def test_any_text_at_all(text: str, own: dict[str, Any], policy: str) -> None:
    for form in (HAIKU, Form(lines=(3, 31), free=True, kigo="any", dangling="forbidden")):
        report = validate(text, form, policy=policy, words=own)
        assert report.valid is not bool(report.reasons)
        assert str(report)
        json.dumps(report.to_dict())
