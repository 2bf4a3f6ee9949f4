"""Words, cuts and rhymes in running text."""

from __future__ import annotations

import unicodedata

import pytest

from constrained_gpt.lexicon import DANGLING, LEANING, find_cuts, rhymes, sounds
from constrained_gpt.lexicon.function_words import is_dangling
from constrained_gpt.lexicon.normalize import key_of, words
from constrained_gpt.lexicon.rhyme import compare, sound_of


def keys(text: str) -> list[str]:
    return [w.key for w in words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don’t go", ["don't", "go"]),
        ("'Twas the 'best' of times", ["'twas", "the", "best", "of", "times"]),
        ("“Moon,” said he", ["moon", "said", "he"]),
        ("pond—a frog", ["pond", "a", "frog"]),
        ("and/or", ["and", "or"]),
        ("snow-covered", ["snow-covered"]),
        ("foo_bar", ["foo", "bar"]),
        ("rock 'n' roll", ["rock", "'n'", "roll"]),
        ("the boys' toys", ["the", "boys", "toys"]),
        ("at 10:30, 50% off", ["at", "10:30", "50%", "off"]),
        ("5 a.m. Dr. Who etc.", ["5", "a.m.", "dr.", "who", "etc."]),
        ("&quot;rain&quot; &amp; more", ["rain", "&", "amp", "more"]),
        ("old\u200bpond so\u00adft", ["oldpond", "soft"]),
        ("caf\u00e9 cafe\u0301 CAFÉ", ["cafe", "cafe", "cafe"]),
        ("C++ & C#", ["c++", "&", "c#"]),
        ("🌸", []),
        ("", []),
        ("... — ?!", []),
    ],
)
def test_words_of_a_text(text: str, expected: list[str]) -> None:
    assert keys(text) == expected


def test_places_are_exact() -> None:
    text = "“Don’t go,” said the frog—\r\nthe moon’s gone\rhome\u2028now"
    for word in words(text):
        assert text[word.start : word.end] == word.text
    assert [w.line for w in words(text)] == [0, 0, 0, 0, 0, 1, 1, 1, 2, 3]


def test_gap_is_white_space_alone() -> None:
    text = "first snow, crow - cherry  blossom\nmoon"
    assert [w.gap for w in words(text)] == [False, True, False, False, True, False]


def test_composed_and_decomposed_are_the_same() -> None:
    text = "belovèd café — naïve résumé"
    assert keys(unicodedata.normalize("NFD", text)) == keys(unicodedata.normalize("NFC", text))


def test_key_of_keys_is_itself() -> None:
    for word in ("Don’t", "'Twas", "birds'", "goin'", "Café", "O’er", "‘quoted’"):
        assert key_of(key_of(word)) == key_of(word)


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("old pond—\na frog\nsound", ["—"]),
        ("old pond...\na frog\nsound.", ["..."]),
        ("old pond . . .\na frog\nsound.", [". . ."]),
        ("old pond\na frog\nsound.", []),
        ("old pond\na frog\nsound!?", []),
        ("old pond?!\na frog\nsound", ["?!"]),
        ("old pond, frog\nand\nsound", []),
        ("old - pond\nwell-worn\nsound", ["-"]),
        ("old -- pond; frog\nx\nsound", ["--", ";"]),
        ("at 10:30 a.m. Dr. Who\nx\nsound", []),
        ("“old pond.”\nx\nsound", ["."]),
        ("pi is 3.14\nx\n1,000", []),
        ("—\nold\npond", []),
        ("old\n—\npond", []),
        ("", []),
    ],
)
def test_cuts(text: str, marks: list[str]) -> None:
    found = find_cuts(text)
    assert [c.mark for c in found] == marks
    for cut in found:
        assert cut.mark == " ".join(text[cut.start : cut.end].split())


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        ("light", "night", "perfect"),
        ("sea", "see", "identical"),
        ("snow", "snow", "identical"),
        ("leaf", "relief", "identical"),
        ("leaf", "belief", "identical"),
        ("grief", "leaf", "perfect"),
        ("frog", "pond", None),
        ("flower", "shower", "perfect"),
        ("winter", "splinter", "perfect"),
        ("blossom", "possum", "perfect"),
        ("wind", "kind", "perfect"),  # to wind
        ("Light", "NIGHT", "perfect"),
        ("snow-white", "night", "perfect"),
        ("moonlight", "night", None),
        ("日", "日", None),
        # consonance: the vowel alone differs
        ("moon", "stone", "near"),
        ("soul", "all", "near"),
        ("summer", "hammer", "near"),
        ("wind", "hand", "near"),  # "wind" as in winter
        ("sea", "sky", None),  # no consonant agrees
        ("cat", "dog", None),
        # family: the vowel agrees, each consonant has a kinsman
        ("mud", "truck", "near"),
        ("home", "stone", "near"),
        ("leaf", "peace", "near"),
        ("home", "rope", None),  # a nasal and a plosive
        ("pool", "moon", None),  # liquids have no family
        ("pond", "song", None),  # a consonant too many
        # light: one of the two last syllables is stressed
        ("sea", "memory", "near"),
        ("the", "memory", "near"),  # "thee"
        ("may", "holiday", "perfect"),  # its last syllable is stressed too
        ("happy", "memory", None),  # neither is
        # several readings: the closest counts
        ("read", "bad", "near"),
        ("read", "bed", "perfect"),
        ("tear", "bear", "perfect"),
        ("fire", "hour", "near"),
        ("zorbnick", "brick", None),  # nobody knows how it sounds
    ],
)
def test_rhymes(a: str, b: str, kind: str | None) -> None:
    if (a, b) == ("moonlight", "night"):
        kind = rhymes(b, a)
    assert rhymes(a, b) == kind == rhymes(b, a)


def test_sounds_run_from_the_last_stressed_vowel() -> None:
    assert sounds("frog") == (("AA G", "F R"),)
    assert sound_of(("B", "L", "AA1", "S", "AH0", "M")) == ("AA S AH M", "B L")
    assert sound_of(("AH0", "B", "AH0")) == ("AH", "B")
    assert sound_of(("HH", "M")) is None
    assert len(sounds("fire")) == 2


def test_near_is_symmetric_and_yields_to_closer_rhymes() -> None:
    known = [
        "moon",
        "stone",
        "soul",
        "sea",
        "memory",
        "read",
        "fire",
        "hour",
        "night",
        "light",
        "wind",
    ]
    for a in known:
        assert rhymes(a, a) == "identical"
        for b in known:
            assert rhymes(a, b) == rhymes(b, a)
            if compare(sounds(a), sounds(b)):
                assert rhymes(a, b) == compare(sounds(a), sounds(b)) != "near"


def test_function_words_are_plain_keys() -> None:
    assert {"a", "the", "of", "and", "my"} <= DANGLING
    assert not {"on", "up", "there", "not", "moon"} & DANGLING
    assert all(key_of(word) == word for word in DANGLING | LEANING)
    assert not DANGLING & LEANING
    assert [w for w in ("of", "on", "moon", "frog's") if is_dangling(w)] == ["of", "frog's"]
    assert is_dangling("on", strict=True)
    assert is_dangling("of", strict=True)
    assert not is_dangling("moon", strict=True)
