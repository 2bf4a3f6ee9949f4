"""The words a poem may be written with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import constrained_gpt.lexicon as package
from constrained_gpt.lexicon import Lexicon, Saijiki
from constrained_gpt.lexicon.normalize import key_of, words
from constrained_gpt.lexicon.pronunciations import Phones, entries, pronunciations, vowels
from constrained_gpt.lexicon.rhyme import compare
from constrained_gpt.lexicon.select_words import blocked, main, select
from constrained_gpt.lexicon.syllables import readings, reviews, syllables

DATA = Path(package.__file__).parent / "data"
DEFAULT = Lexicon.default()
PHONES = frozenset(phone.rstrip("012") for _, said in entries() for phone in said)
BOOK = Saijiki.from_phrases({"frog": "spring"})


def test_the_shipped_words_are_compiled_afresh() -> None:
    sample = [*DEFAULT.words[::23], "fire", "I'm", "a", "December", "moon's"]
    fresh = Lexicon(sample)
    for word in sample:
        assert DEFAULT.counts(word) == fresh.counts(word), f"{word}: compile the words again"
        assert set(DEFAULT.sounds(word)) == set(fresh.sounds(word)), word
        assert DEFAULT.is_dangling(word) == fresh.is_dangling(word), word


def test_entries_are_what_is_known_word_by_word() -> None:
    own = Lexicon.from_words({"Issa": 2, "fire": {1, 2}, "the": 1, "of": 1, "it": 1, "moon's": 1})
    for lexicon in (own, own.with_words(["Zanzibar", "like"], ["fire"]), DEFAULT):
        found = list(lexicon.entries())
        assert [entry.word for entry in found] == list(lexicon.words)
        for word, counts, sounds, dangles, leans in found:
            assert (counts, sounds) == (lexicon.counts(word), lexicon.sounds(word)), word
            assert dangles == lexicon.is_dangling(word), word
            assert (dangles or leans) == lexicon.is_dangling(word, strict=True), word


def set_by_review(word: str) -> bool:
    """Whether the reviewed lists overrule the dictionary: solely has two syllables, not three."""
    return key_of(word) in reviews() and bool(reviews()[key_of(word)].exact)


def test_every_word_is_said_and_none_is_guessed() -> None:
    assert 25_000 <= len(DEFAULT.words) <= 40_000
    assert list(DEFAULT.words) == sorted(set(DEFAULT.words))
    for word in DEFAULT.words:
        assert re.fullmatch("[A-Za-z]+('[a-z]+)?", word), word
        assert DEFAULT.sounds(word), word
        listed = {vowels(p) for p in pronunciations(key_of(word))}
        if not listed:
            said = readings(word)
            assert {r.source for r in said} <= {"reviewed", "rule"}, word
            assert DEFAULT.counts(word) == {vowels(r.phones) for r in said if r.phones}, word
        elif len(DEFAULT.counts(word)) == 1 and not set_by_review(word):
            assert DEFAULT.counts(word) <= listed, word


def test_words_of_verse_that_the_dictionary_lacks() -> None:
    """Each in the reviewed list (or from it by rule), each with a sound, so that it can rhyme."""
    verse = reviewed("verse.tsv")
    assert len(verse) >= 400
    for word, said in verse.items():
        assert not pronunciations(word), f"{word} is in the dictionary; remove it from verse.tsv"
        assert all(phone.rstrip("012") in PHONES for phones in said for phone in phones), word
        assert all(any(phone.endswith("1") for phone in phones) for phones in said), word
        assert {vowels(phones) for phones in said} <= syllables(word), word
    lacking = [word for word in DEFAULT.words if not pronunciations(key_of(word))]
    assert len(lacking) >= 800


def reviewed(name: str) -> dict[str, list[Phones]]:
    """word -> its pronunciations, as a reviewed list has them."""
    found: dict[str, list[Phones]] = {}
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            word, operation, said, why = line.split("\t")
            assert operation == "p" and why, line
            found.setdefault(word, []).append(tuple(said.split()))
    return found


@pytest.mark.parametrize(
    ("word", "counts", "rhyme"),
    [
        ("dragonfly", {3}, "sky"), ("dragonflies", {3}, "skies"), ("wisteria", {4}, None),
        ("camellias", {3, 4}, None), ("persimmon", {3}, None), ("dewdrop", {2}, "stop"),
        ("moonlit", {2}, None), ("snowmelt", {2}, "felt"), ("birdsong", {2}, "long"),
        ("hydrangea", {3}, None), ("chickadee", {3}, "tree"), ("moonrise", {2}, "eyes"),
        ("moonflower", {2, 3}, None), ("Basho", {2}, None), ("koi", {1}, "boy"),
        ("caddisfly", {3}, "sky"), ("tanuki", {3}, None), ("sandpipers", {3}, None),
        ("twittering", {2, 3}, None), ("snowdrift", {2}, "lift"), ("hibiscus", {3}, None),
    ],
)  # fmt: skip
def test_verse_words(word: str, counts: set[int], rhyme: str | None) -> None:
    assert DEFAULT.counts(word) == counts
    if rhyme is not None:
        assert compare(DEFAULT.sounds(word), DEFAULT.sounds(rhyme)) == "perfect"


def test_the_words_are_those_that_the_lists_select() -> None:
    assert tuple(select(DEFAULT.words)) == DEFAULT.words


def test_selection() -> None:
    chosen = set(select([]))
    assert {"I'm", "December", "moonlit"} <= chosen
    common = ["frog", "Frog", "frog's", "xyzzyx", "byte", "caf\u00e9", *blocked()]
    assert set(select(common)) - chosen == {"frog"}


def test_a_missing_word_list_names_the_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--words", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert "apt install wamerican-small" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_words_fit_to_print() -> None:
    assert len(blocked()) > 300
    keys = {word.lower() for word in DEFAULT.words}
    assert not keys & blocked()
    assert {word for word in DEFAULT.words if len(word) == 1} == {"a", "I", "o"}
    assert not keys & {"ain't", "hof", "tv", "mr", "etc", "rpm", "cd", "uh"}
    assert all(re.search("[aeiouy]", word.lower()) for word in DEFAULT.words)
    assert not keys & {"concatenate", "reimbursed", "ophthalmologist", "formalizes", "pus", "sec"}


@pytest.mark.parametrize(
    "word",
    [
        "frog",
        "pond",
        "moon",
        "snow",
        "blossom",
        "heron",
        "dusk",
        "mist",
        "I'm",
        "it's",
        "don't",
        "autumn's",
        "December",
        "Christmas",
        "Halloween",
        "Buddha",
        "cicada",
        "persimmon",
        "chrysanthemum",
        "whippoorwill",
        "scarecrow",
        "icicle",
    ],
)
def test_words_a_haiku_needs(word: str) -> None:
    assert word in DEFAULT
    assert word in DEFAULT.words


def test_disputed_words_keep_all_their_counts() -> None:
    for word in ("fire", "flower", "every", "evening", "mystery", "real", "poem", "our"):
        assert len(DEFAULT.counts(word)) > 1, word


def test_a_lexicon_by_hand() -> None:
    lexicon = Lexicon.from_words(
        {"frog": 1, "fire": {1, 2}, "I'm": 1, "zorb": [3]},
        saijiki=BOOK,
        sounds={"zorb": [("AO B", "Z")]},
    )
    assert lexicon.words == ("I'm", "fire", "frog", "zorb")
    assert lexicon.counts("FIRE") == {1, 2}
    assert lexicon.counts("zorb") == {3}
    assert lexicon.sounds("zorb") == (("AO B", "Z"),)
    assert lexicon.counts("i’m") == {1}
    assert "pond" not in lexicon
    with pytest.raises(KeyError, match="with_words"):
        lexicon.counts("pond")


def test_adding_and_removing() -> None:
    base = Lexicon.from_words(["frog", "pond"], saijiki=BOOK)
    more = base.with_words({"zorb": 2}, remove=["pond"])
    assert more.words == ("frog", "zorb")
    assert base.words == ("frog", "pond")
    assert more.counts("zorb") == {2}
    assert more.with_words({"zorb": 3}).counts("zorb") == {3}
    assert DEFAULT.with_words({"zorb": 2}).counts("fire") == DEFAULT.counts("fire")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: x.with_words("frog"), TypeError),
        (lambda x: x.with_words(["two words"]), ValueError),
        (lambda x: x.with_words(["frog,"]), ValueError),
        (lambda x: x.with_words({"zorb": 0}), ValueError),
        (lambda x: x.with_words({"zorb": []}), ValueError),
        (lambda x: x.with_words({"zorb": 99}), ValueError),
        (lambda x: x.with_words(["日本"]), ValueError),
        (lambda x: x.with_words(remove=["zorb"]), ValueError),
        (lambda x: x.with_words(remove="frog"), TypeError),
        (lambda x: x.with_words(["Frog", "frog"]), ValueError),
    ],
)
def test_bad_words_are_refused(call: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(Lexicon.from_words(["frog"], saijiki=BOOK))  # type: ignore[operator]


def test_the_hash_is_that_of_the_content() -> None:
    base = Lexicon.from_words({"frog": 1, "fire": {1, 2}}, saijiki=BOOK)
    same = Lexicon.from_words({"fire": {2, 1}, "frog": 1}, saijiki=BOOK)
    assert base.content_hash == same.content_hash
    others = [
        base.with_words({"fire": 1}),
        base.with_words(["pond"]),
        base.with_words(remove=["frog"]),
        Lexicon.from_words({"frog": 1, "fire": {1, 2}}, saijiki=Saijiki.from_phrases({})),
        Lexicon.from_words({"frog": 1, "fire": {1, 2}}, saijiki=BOOK, dangling=["frog"]),
        Lexicon.from_words(
            {"frog": 1, "fire": {1, 2}}, saijiki=BOOK, sounds={"frog": [("AA", "F")]}
        ),
    ]
    assert len({x.content_hash for x in [base, *others]}) == len(others) + 1
    rows = (DATA / "words.tsv").read_text(encoding="utf-8")
    assert "".join(DEFAULT.rows()) == rows


def test_a_lexicon_never_changes() -> None:
    with pytest.raises(AttributeError, match="with_words"):
        DEFAULT.words = ()  # type: ignore[misc]


def test_every_word_reads_back_as_one_word() -> None:
    for word in DEFAULT.words[::11]:
        (found,) = words(f"a\n{word},")[1:]
        assert found.text == word
        assert found.key == key_of(word)
        assert syllables(word) == DEFAULT.counts(word)
