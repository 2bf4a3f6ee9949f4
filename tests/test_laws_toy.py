"""Laws 1 to 4 on the toy world, by brute force in both directions, over every rule of the form."""

from __future__ import annotations

import itertools

import laws
import pytest
import toy

from constrained_gpt.lattice import LatticeError, compile
from constrained_gpt.lexicon import Form
from constrained_gpt.lexicon.typography import Typography

TOKENIZER = toy.ToyTokenizer()
SIX = {w: toy.WORDS[w] for w in ("snow", "glow", "a", "fire", "winter", "moon")}
FOUR = {w: toy.WORDS[w] for w in ("snow", "glow", "fire", "winter")}
RULES = list(
    itertools.product(
        ("off", "any", "winter", frozenset({"winter moon"}), frozenset({"snow"})),
        ("off", "required", "forbidden"),
        ("off", "perfect", "identical"),
    )
)


def check(form: Form, words: dict[str, set[int]], typography: Typography, policy: str) -> int:
    lexicon = toy.lexicon(words)
    texts = toy.all_texts(form, words, typography)
    try:
        lattice = compile(
            form, lexicon, TOKENIZER, policy=policy, typography=typography, use_cache=False
        )
    except LatticeError:
        valid = [t for t in texts if laws.validate(t, form, policy=policy, lexicon=lexicon).valid]
        assert not valid, f"refused although {valid[:3]} are valid"
        return 0
    return laws.assert_sound_and_complete(lattice, TOKENIZER, lexicon, texts, policy)


@pytest.mark.parametrize(("number", "rules"), list(enumerate(RULES)))
def test_rules_on_two_lines(number: int, rules: tuple[str | frozenset[str], str, str]) -> None:
    kigo, kireji, rhyme = rules
    form = Form(
        lines=(1, 2),
        kigo=kigo,
        kireji=kireji,
        rhyme=rhyme,
        dangling=("off", "forbidden")[number % 2],
    )
    typography = Typography(marks=toy.MARKS[2:], capitals="lower")
    for policy in ("all", "any"):
        check(form, SIX, typography, policy)


@pytest.mark.parametrize("dangling", ["forbidden", "strict"])
def test_a_word_that_leans_ends_a_line_unless_the_form_is_strict(dangling: str) -> None:
    words = {w: {1} for w in ("snow", "a", "it", "moon")}
    typography = Typography(marks=toy.MARKS[2:], capitals="lower")
    check(Form(lines=(1, 2), dangling=dangling), words, typography, "all")


@pytest.mark.parametrize("kigo", ["off", "winter", frozenset({"snow"})])
@pytest.mark.parametrize("rhyme", ["perfect", "identical"])
def test_rules_on_three_lines(kigo: str | frozenset[str], rhyme: str) -> None:
    form = Form(lines=(1, 2, 1), kigo=kigo, kireji="required", rhyme=rhyme)
    check(form, FOUR, Typography(marks=toy.MARKS[2:], capitals="lower"), "any")


@pytest.mark.parametrize("capitals", ["consistent", "lower", "lines"])
def test_capitals_and_marks(capitals: str) -> None:
    words = {w: toy.WORDS[w] for w in ("snow", "moon", "I")}
    form = Form(lines=(1, 1, 2), rhyme="off")
    typography = Typography(marks=toy.MARKS, capitals=capitals)
    assert check(form, words, typography, "all") > 100


@pytest.mark.parametrize("kireji", ["off", "required", "forbidden"])
def test_any_policy_where_a_line_may_end_early(kireji: str) -> None:
    """A budget of several values: a mark may close the poem or stand inside its last line."""
    words = {w: toy.WORDS[w] for w in ("fire", "fireside", "moon")}
    form = Form(lines=(2, 3), kireji=kireji, rhyme="perfect")
    typography = Typography(marks=toy.MARKS, capitals="lower")
    assert check(form, words, typography, "any") > 100


def test_one_and_five_lines() -> None:
    words = {w: toy.WORDS[w] for w in ("snow", "moon", "winter")}
    typography = Typography(marks=toy.MARKS[:1], capitals="lower")
    assert check(Form(lines=(4,), kigo="winter"), words, typography, "all") > 10
    assert check(Form(lines=(1, 1, 2, 1, 1), rhyme="off"), words, typography, "all") > 10
    assert check(Form(lines=(1, 1, 2, 1, 1), rhyme="identical"), words, typography, "all") == 0
