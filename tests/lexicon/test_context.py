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
    ("the Joneses'", {3}, {2, 4}),
    ("the 60s", {3}, {2, 4}),
    ("9 o'clock", {3}, {2, 4}),
    ("2 a.m.", {3}, {2, 4}),
    ("half past 7", {4}, {3, 5}),
    ("5 bucks", {2}, {1, 3}),
    ("Mt. Fuji", {3}, {2, 4}),
    ("St. John", {2}, {1, 3}),
    ("crème brûlée", {3}, {2, 4}),
    ("déjà vu", {3}, {2, 4}),
    ("São Paulo", {3}, {2, 5}),
    ("Des Moines", {2}, {1, 3}),
    ("auld lang syne", {3}, {2, 4}),
    ("NO PARKING", {3}, {2, 4}),
    ("DO NOT DISTURB", {4}, {3, 5}),
    ("HELP WANTED", {3}, {2, 4}),
    ("WE'RE OPEN", {3}, {2, 4}),
    ("USED CARS", {2}, {1, 3}),
    ("I LOVE YOU", {3}, {2, 4}),
    ("DON'T WALK", {2}, {1, 3}),
    ("IT IS", {2}, {1, 3}),
    ("old pond—", {2}, {1, 3}),
    ("first snow . . .", {2}, {1, 3}),
    ("“hello,” she says", {4}, {3, 5}),
    ("moon & stars", {3}, {2, 4}),
    ("spring rain 🌧️", {2}, {1, 3}),
    ("sunset / the last ferry", {6}, {5, 7}),
    ("who?—the owl asks", {4}, {3, 5}),
    ("*clink* of a teacup", {5}, {4, 6}),
    ("half-moon: half-asleep", {5}, {4, 6}),
    ("no wi-fi—just stars", {5}, {4, 6}),
    ("Sunday a.m. bells", {5}, {4, 6}),
    ("7 crows on a wire", {6, 7}, {8, 5}),
    ("🌸 petals fall 🌸", {3}, {2, 4}),
    ("“Caw!” “Caw!” “Caw!”", {3}, {2, 4}),
    ("dew-drenched... a spider", {5}, {4, 6}),
    ("his & hers tombstones", {5}, {4, 6}),
    ("mother’s day – lilacs", {5}, {4, 6}),
    ("the sea, the sea, the—", {5}, {4, 6}),
    ("(the hush)", {2}, {1, 3}),
    ("the Foxes' den", {4}, {3, 5}),
    ("the geese's wings", {4}, {2, 5}),
    ("3 a.m.", {3}, {2, 4}),
    ("12 p.m.", {3}, {2, 4}),
    ("quarter past 3", {4}, {3, 5}),
    ("6 o'clock", {3}, {2, 4}),
    ("20 min", {4}, {5}),
    ("10 to 6", {3}, {2, 4}),
    ("1/2 cup", {2, 3}, {1, 4}),
    ("Dr. Seuss", {3}, {2, 4}),
    ("too-whit too-whoo", {4}, {3, 5}),
    ("drip drip driiiip", {3}, {2, 4}),
    ("SUNDAY SALE", {3}, {2, 4}),
    ("OUT OF ORDER", {4}, {3, 5}),
    ("NO VACANCY", {4}, {3, 5}),
    ("BEWARE OF DOG", {4}, {3, 5}),
    ("WINTER SOLSTICE", {4}, {3, 5}),
    ("LOST CAT", {2}, {1, 3}),
    ("dawn; the kettle's hiss", {5}, {4, 6}),
    ("“go,” she said — “go”", {4}, {3, 5}),
    ("rain... rain... rain...", {3}, {2, 4}),
    ("night train: her reflection", {6}, {5, 7}),
    ("grandma's [empty] chair", {5}, {4, 6}),
    ("3 a.m.—rain again", {6}, {5, 7}),
    ("one crow, two crows, dusk", {5}, {4, 6}),
    ("🍂 leaf/leaf/leaf", {3}, {2, 4}),
    ("it's not 'the end'—yet", {5}, {4, 6}),
    ("ex-lover's voicemail", {5}, {4, 6}),
    ("mono no aware", {6}, {5, 7}),
    ("Mono no Aware, they say", {8}, {9, 7}),
    ("no aware reader", {5}, {4, 6}),
    ("$ 5", {3}, {2, 4}),
    ("5 €, please", {4}, {3, 5}),
    ("£ 10 or less", {4}, {3, 5}),
    ("3 ¢", {2}, {1, 3}),
    ("open Mon–Fri", {7}, {8, 6}),
    ("Ave Maria", {5}, {4, 6}),
    ("5th Ave", {4}, {3, 5}),
    ("dies irae", {4}, {3, 5}),
    ("the man dies", {3}, {2, 4}),
    ("cave canem", {4}, {3, 5}),
    ("requiescat in pace", {7}, {8, 6}),
    ("et tu, Brute?", {4}, {3, 5}),
    ("carpe diem", {4}, {3, 5}),
    ("mea culpa", {4}, {3, 5}),
    ("ad nauseam", {4}, {3, 5}),
    ("bona fide", {3, 4}, {2, 5}),
    ("I <3 you", {2}, {1, 3}),
    ("at <30 miles", {6}, {5}),
    ("drove 50km/h", {9, 10, 6}, {11, 5}),
    ("“-5° out”", {6}, {5}),
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
