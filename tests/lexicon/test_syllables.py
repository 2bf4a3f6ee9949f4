"""Readings: sets of counts, where they come from, families of words."""

from __future__ import annotations

import pytest

from constrained_gpt.lexicon import readings, syllables
from constrained_gpt.lexicon.pronunciations import entries, pronunciations, vowels
from constrained_gpt.lexicon.syllables import dictionary, reviews


def test_binary_search_finds_what_the_file_holds() -> None:
    table: dict[str, list[tuple[str, ...]]] = {}
    for word, phones in entries():
        table.setdefault(word, []).append(phones)
    assert len(table) > 120_000
    for word in [*list(table)[::17], "a", "zywicki", "sepultura", "stilted"]:
        assert pronunciations(word) == tuple(dict.fromkeys(table[word])), word
        assert pronunciations(word + "qq") == ()


@pytest.mark.parametrize("word", ["", " ", "a b", "a\nb", "#", "fire(", "é", "x" * 10_000, "\0"])
def test_odd_keys_have_no_pronunciation(word: str) -> None:
    assert pronunciations(word) == ()


def test_comments_of_the_file_are_no_phones() -> None:
    assert all("#" not in phones for _, phones in entries())
    assert pronunciations("aalborg")[0] == ("AO1", "L", "B", "AO0", "R", "G")


@pytest.mark.parametrize(
    ("word", "lacking"),
    [(w, 3) for w in ("chocolate", "evening", "diamond")]
    + [(w, 1) for w in ("poem", "tired", "flower", "power", "tower", "shower", "choir", "mirror")]
    + [("squirrel", 1)]
    + [
        (w, 2)
        for w in [
            "desire",
            "campfire",
            "bonfire",
            "memory",
            "mystery",
            "wandering",
            "whispering",
            "shimmering",
            "theater",
            "real",
            "oil",
            "blessed",
        ]
    ]
    + [("everything", 4), ("comfortable", 3)],
)
def test_readings_poets_use_and_the_dictionary_lacks(word: str, lacking: int) -> None:
    assert lacking in syllables(word)
    assert {vowels(p) for p in pronunciations(word)} <= syllables(word)


@pytest.mark.parametrize(
    ("word", "count"),
    [("us", 1), ("am", 1), ("spring", 1), ("trying", 2), ("fine", 1), ("located", 3), ("hmm", 1)],
)
def test_junk_readings_are_gone(word: str, count: int) -> None:
    assert syllables(word) == {count}


@pytest.mark.parametrize(
    "family",
    [
        ("fire", "tired", "wire", "hire", "spire"),
        ("flower", "flowers", "tower", "shower", "powers"),
        ("wildflower", "wildflowers", "sunflower", "sunflowers"),
        ("desire", "inspire", "admire", "campfire"),
        ("listening", "glistening", "darkening", "ripening"),
        ("sparkling", "rustling", "trembling", "tumbling", "twinkling"),
    ],
)
def test_families_agree(family: tuple[str, ...]) -> None:
    assert len({syllables(word) for word in family}) == 1


def test_lenient_readings_stay_behind_their_switch() -> None:
    for word in ("file", "smile", "world", "child", "curious", "heaven"):
        usual = syllables(word)
        assert usual < syllables(word, lenient=True)
        assert all(not r.lenient for r in readings(word))


def test_every_reading_names_its_source() -> None:
    assert {r.source for r in readings("fire")} == {"dictionary"}
    assert {r.source for r in readings("flower")} == {"dictionary", "rule"}
    assert {r.source for r in readings("poem")} == {"dictionary", "reviewed"}
    assert {r.source for r in readings("florbnick")} == {"estimate"}
    assert all(r.phones is None or vowels(r.phones) == r.count for r in readings("whispering"))


@pytest.mark.parametrize("word", ["日本", "🌸", "привет", "", "…", "—"])
def test_what_cannot_be_counted_has_no_count(word: str) -> None:
    assert syllables(word) == frozenset()


def test_a_word_is_a_str() -> None:
    with pytest.raises(TypeError, match="str"):
        syllables(5)  # type: ignore[arg-type]


def test_the_reviewed_list_is_tidy() -> None:
    for word, review in reviews().items():
        assert word == word.lower()
        found = {r.count for r in dictionary(word)}
        assert review.add <= found, word
        assert not review.drop & found, word
        assert not review.exact or found == review.exact, word
        assert all(vowels(p) for p in review.phones), word
        assert dictionary(word) or review.lenient, word
