"""Phrases: words that their neighbours decide, and forms with a space inside."""

from __future__ import annotations

import pytest

from constrained_gpt.lexicon import Form, find_haiku, syllables, validate
from constrained_gpt.lexicon.context import ROMAN, roman
from constrained_gpt.lexicon.judge import Judge, totals
from constrained_gpt.lexicon.normalize import words
from constrained_gpt.lexicon.quick import verdict

# Counts that must be among those found, counts that must not.
PHRASES: list[tuple[str, set[int], set[int]]] = [
    ("Henry VIII", {4}, {3, 5}),
    ("Elizabeth II", {7}, {6}),
    ("Louis XIV's court", {6}, {4, 5}),
    ("John Paul II", {5}, {4}),
    ("George V", {3}, {2}),
    ("Henry VIII’s wives", {5}, {4}),
    ("Chapter IV", {3}, {4}),
    ("World War II", {3}, {4}),
    ("Psalm XXIII", {4}, {3}),
    ("Rocky II", {3}, {4}),
    ("Malcolm X", {3}, {4}),
    ("Mary I love", {4}, {5}),
    ("Super Bowl XX", {5}, set()),
    ("Jan 1", {5}, {2}),
    ("Oct 31", {6}, {4}),
    ("4 Dec 1999", {9}, {7}),
    ("Jan is here", {3}, {6}),
    ("Dec. 25", {6}, {4}),
    ("7 AM", {4}, {3}),
    ("I AM here", {3}, set()),
    ("Dr. Smith", {3}, {2}),
    ("Mulholland Dr.", {4}, {5}),
    ("apt. 12", {4}, {2}),
    ("Rte. 1", {2}, {3}),
    ("ext. 7", {5}, {3}),
    ("AT&T calls", {5}, {4}),
    ("E\u266d major", {4}, {3}),
    ("3 \u00d7 3", {3}, {2}),
    ("leaves of Sept", {5}, {3}),
    ("1 1/2 cups", {5}, {3, 4, 6}),
    ("2 3/4 miles", {6}, {5}),
    ("3 ½ hours", {5}, {4}),
    ("the 1/2 moon", {3}, {5}),
    ("No. 5", {3}, {2}),
    ("No. I won't", {3}, {4}),
    ("vol. 2", {3}, {2}),
    ("p. 9", {2}, set()),
    ("Fifth Ave.", {4}, {2}),
    ("80 km/h", {8}, {7}),
    ("w/ milk", {2}, {4}),
    ("w/o milk", {3}, {5}),
    ("frog(s) sing", {2}, {3}),
    ("the w(h)ole pond", {3}, {7}),
    ("1914–1918", {8, 9}, set()),
    ("7:30-8:00", {5, 6}, set()),
    ("Tues., Aug. 3", {5}, {4}),
    ("Sun. We rest", {3}, {4}),
    ("Vol. III", {3}, {2}),
    ("Rocky IV", {3}, {4}),
    ("Gen Z", {2}, {4}),
    ("Gen. Lee", {4}, {2}),
    ("AD 79", {6}, {5}),
    ("79 AD", {6}, {5}),
    ("YOU ARE IT", {3}, {4}),
    ("the wind, rain, &c.", {7}, {5}),
    ("est. 1905", {7}, {6}),
    ("w-w-wait", {3}, {7}),
    ("5 m²", {4}, {3}),
    ("5'10\" tall", {3, 4}, {2}),
    ("rock ’n’ roll", {3}, {4}),
    ("J. S. Bach", {3}, {4}),
    ("Mt. St. Helens", {4}, set()),
    ("$.50", {3}, {0, 2}),
    ("v2.0", {4}, {1}),
    ("John 3:16", {4}, set()),
    ("Mary I am told", {5}, {6}),
    ("half past 8 o'clock", {5}, set()),
]


def counts(text: str) -> frozenset[int]:
    """The totals of a line, by the full way."""
    return totals(syllables(word.said or word.text) for word in words(text))


@pytest.mark.parametrize(("text", "wanted", "barred"), PHRASES)
def test_phrases(text: str, wanted: set[int], barred: set[int]) -> None:
    assert wanted <= counts(text)
    assert not barred & counts(text)


@pytest.mark.parametrize("text", [text for text, *_ in PHRASES])
@pytest.mark.parametrize("policy", ["any", "all", "first"])
def test_the_quick_way_sees_neighbours_too(text: str, policy: str) -> None:
    for target in range(1, 10):
        form = Form(lines=(target,))
        slow = not Judge(form, policy).detail(text).reasons
        assert verdict(text, form, policy) is slow, target
        assert validate(text, form, policy=policy).valid is slow


def test_the_finder_sees_neighbours_too() -> None:
    prose = "Nobody saw him. Henry VIII came late to a pond in winter, and slept by the frogs."
    found = [f.lines for f in find_haiku(prose)]
    assert found == [("Henry VIII came", "late to a pond in winter,", "and slept by the frogs.")]


def test_roman_numbers() -> None:
    assert [roman(text) for text in ("II", "IV", "IX", "XIV", "MCMXCIX")] == [2, 4, 9, 14, 1999]
    for text in ("I", "C", "IIII", "VX", "IC", "LIVID", "ii"):
        assert not ROMAN.fullmatch(text), text
