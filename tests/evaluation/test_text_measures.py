"""Measures of a poem's text against counts made by hand."""

from __future__ import annotations

import pytest

from constrained_gpt.evaluation.text import ARTICLES, FUNCTION_WORDS, is_content, measure

POND = "An old silent pond\nA frog jumps into the pond\nSplash! Silence again"
RAIN = "the rain and the rain\nfalls on the roof of the\nhouse of rain tonight"
SNOW = "Snow.\nsnow\nthe moon at night is bright"
NIGHT = "Winter's cold moonlight\na dog barks — then nothing;\nwe sleep through the night"


# Counted with a pencil. words, lines, lines that end on a function word, articles, content words,
# words said again, lines said again, cuts, rhymes.
@pytest.mark.parametrize(
    ("text", "n_words", "lines", "ends", "articles", "content", "again", "lines_again", "cuts", "rhymes"),
    [
        (POND, 13, 3, 0, 3, 9, ("pond",), 0, ("!",), (("pond", "pond"),)),
        (RAIN, 15, 3, 1, 4, 7, ("rain", "rain"), 0, (), ()),
        (SNOW, 8, 3, 0, 1, 5, ("snow",), 1, (".",), (("Snow", "snow"),)),
        (NIGHT, 13, 3, 0, 2, 8, (), 0, ("—", ";"), (("moonlight", "night"),)),
        ("moon\nstone", 2, 2, 0, 0, 2, (), 0, (), ()),
        ("of the\n\n—\nthe", 3, 2, 2, 2, 0, (), 0, (), (("the", "the"),)),
        ("the moon's\nlight", 3, 2, 1, 1, 2, (), 0, (), ()),
        ("café\nCAFE\ncafé", 3, 3, 0, 0, 3, ("cafe", "cafe"), 2, (), None),
        ("", 0, 0, 0, 0, 0, (), 0, (), ()),
    ],
    ids=["pond", "rain", "snow", "night", "near", "articles", "possessive", "accents", "empty"],
)  # fmt: skip
def test_counts_by_hand(
    text: str, n_words: int, lines: int, ends: int, articles: int, content: int,
    again: tuple[str, ...], lines_again: int, cuts: tuple[str, ...],
    rhymes: tuple[tuple[str, str], ...] | None,
) -> None:  # fmt: skip
    found = measure(text)
    assert len(found.keys) == n_words
    assert (found.lines, found.function_ends, found.articles) == (lines, ends, articles)
    assert (found.content, found.repeated, found.repeated_lines) == (content, again, lines_again)
    assert found.cuts == cuts
    if rhymes is not None:
        assert found.rhymes == rhymes


def test_season_words_and_near_rhymes_are_the_lexicons() -> None:
    assert measure(POND).kigo == ("frog",)
    assert measure(SNOW).kigo == ("snow", "snow", "moon")
    assert measure("nothing to see here").kigo == ()
    near = measure("moon\nstone")
    assert (near.rhymes, near.near) == ((), (("moon", "stone"),))
    assert measure(NIGHT).near == ()


def test_function_words_are_words_that_carry_no_meaning_of_their_own() -> None:
    assert ARTICLES < FUNCTION_WORDS
    assert not any(map(is_content, ("the", "of", "on", "you", "not", "isn't")))
    assert all(map(is_content, ("moon", "moon's", "falls", "again", "one's")))
