"""generate() on the real model: validity, seeds, batches, first lines, and what it refuses."""

from __future__ import annotations

import json
import math
from itertools import product
from typing import Any

import pronouncing
import pytest

from constrained_gpt import Haiku, Lexicon, generate, stream, validate
from constrained_gpt.engine import Engine
from constrained_gpt.lexicon import SENRYU, TANKA, Form, find_kigo

pytestmark = pytest.mark.weights

PROMPTS = {
    "autumn rain": "autumn", "first snow": "winter", "a frog": "spring", "fireflies": "summer",
    "the new year": "new year", "my father's hands": None, "the old temple bell": None,
    "a train at night": None, "loneliness": "autumn", "cherry blossoms": "spring", "heat": "summer",
    "the sea": None, "an empty house": "winter", "crows": None, "a letter": "spring",
    "coffee": "winter", "the city": "summer", "a wedding": None, "mountains": "autumn",
    "debugging": None, "grandmother's garden": "summer", "war": None, "a child asleep": "winter",
    "the river": "spring", "nothing at all": None,
}  # fmt: skip

# Readings that raw CMUdict lists and this project drops. These are all the words of one count in the
# vocabulary where the two differ, found by comparing them and judged by hand; so the count below is
# independent of the project for every word but these.
JUNK = {
    "am": {2}, "cod": {3}, "us": {2},  # the letters A.M., C.O.D., U.S.
    "didn't": {1}, "fine": {2}, "located": {2}, "mete": {2}, "scientists": {2}, "spring": {2},
    "springs": {2}, "trying": {1}, "turret": {1}, "anemone": {3}, "solely": {3},
}  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.from_pretrained("smollm2")


def raw_counts(word: str) -> set[int]:
    """Syllables by the `pronouncing` package: stressed symbols of every CMUdict pronunciation."""
    word = word.lower().strip(".,;:!?—")
    phones = pronouncing.phones_for_word(word)
    if not phones and word.endswith("'s"):
        phones = pronouncing.phones_for_word(word[:-2])
        sibilant = {p.split()[-1] for p in phones} & {"S", "Z", "SH", "ZH", "CH", "JH"}
        return {pronouncing.syllable_count(p) + bool(sibilant) for p in phones}
    return {pronouncing.syllable_count(p) for p in phones} - JUNK.get(word, set())


def independent_totals(line: str) -> set[int] | None:
    """None if CMUdict lacks a word of the line (rainswept, ukiyo)."""
    counts = [raw_counts(w) for w in line.split() if any(ch.isalpha() for ch in w)]
    return {sum(each) for each in product(*counts)} if all(counts) else None


def test_five_hundred_haiku(engine: Engine) -> None:
    """All valid under every reading, by two counts; distinct; a kigo in each, of the season asked."""
    poems: list[Haiku] = []
    for number, (prompt, season) in enumerate(PROMPTS.items()):
        poems += generate(
            prompt, 20, model=engine, season=season, temperature=1.0, min_p=None, seed=number,
            strategy="sample", batch_size=20,
        )  # fmt: skip
    assert len(poems) == 500
    seasons = [season for season in PROMPTS.values() for _ in range(20)]
    recounted = 0
    for poem, season in zip(poems, seasons, strict=True):
        assert validate(poem.text, poem.report.form, policy="all").valid
        for line, wanted in zip(poem.lines, (5, 7, 5), strict=True):
            totals = independent_totals(line)
            assert totals in (None, {wanted}), poem.text
            recounted += totals is not None
        assert [sum(line) for line in poem.syllables] == [5, 7, 5]
        kigo = find_kigo(poem.text)
        assert kigo and (season is None or any(season in k.seasons for k in kigo)), poem.text
        parts = [
            {pronouncing.rhyming_part(p) for p in pronouncing.phones_for_word(w)}
            for w in (line.split()[-1].lower().strip(".,;:!?—") for line in poem.lines)
        ]
        assert not (parts[0] & parts[1] or parts[1] & parts[2] or parts[0] & parts[2]), poem.text
    assert recounted >= 0.9 * 1500
    assert len({poem.text for poem in poems}) >= 495


@pytest.mark.parametrize("strategy", ["sample", "smc"])
def test_a_seed_names_a_poem_at_every_batch_size(engine: Engine, strategy: str) -> None:
    """Laws 6 and 8 on the real model."""
    options: dict[str, Any] = {"model": engine, "seed": 11, "strategy": strategy}
    poems = {
        size: [p.text for p in generate("rain", 5, batch_size=size, **options)]
        for size in (1, 2, 5, 32)
    }
    assert len({tuple(texts) for texts in poems.values()}) == 1
    assert len(set(poems[1])) == 5
    assert [p.text for p in generate("rain", 2, **options)] == poems[1][:2]


def test_the_number_of_threads_changes_nothing(engine: Engine) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        texts = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            engine.forget_prompts()
            texts.append([p.text for p in generate("rain", 3, model=engine, seed=5)])
            assert torch.get_num_threads() == threads  # nothing else sets them
    finally:
        torch.set_num_threads(before)
    assert texts[0] == texts[1]


def test_a_poem_says_how_it_came_about(engine: Engine) -> None:
    (poem,) = generate(
        "first snow", model=engine, season="winter", seed=3, strategy="sample", return_weights=True
    )
    assert str(poem) == poem.text == "\n".join(poem.lines)
    assert poem.season == "winter" and poem.kigo and poem.report.valid
    assert poem.logprob < 0 and math.isfinite(poem.weight) and poem.weight < 0
    assert engine.tokenizer.decode(list(poem.tokens)) == poem.text
    assert "seed=3" in repr(poem)
    record = json.loads(json.dumps(poem.to_dict()))
    assert record["lines"] == list(poem.lines) and record["seed"] == 3


def test_stream_yields_the_lines_of_generate(engine: Engine) -> None:
    lines = list(stream("rain", 2, model=engine, seed=4))
    assert [(p, i) for p, i, _ in lines] == [(p, i) for p in range(2) for i in range(3)]
    poems = generate("rain", 2, model=engine, seed=4, strategy="sample", unique=False)
    assert [text for _, _, text in lines] == [line for poem in poems for line in poem.lines]


@pytest.mark.parametrize("first_line", ["autumn moonlight, the", "so much depends on"])
def test_a_first_line_may_hang_but_none_that_follows(engine: Engine, first_line: str) -> None:
    """What the caller writes is the caller's, unless the rule was asked for."""
    for poem in generate("a pond", 4, model=engine, first_line=first_line, seed=2):
        assert poem.lines[0] == first_line
        rest = "\n".join(poem.lines[1:])
        assert validate(rest, Form(lines=(7, 5), dangling="strict"), policy="all").valid
    with pytest.raises(ValueError, match="pass dangling='off'"):
        generate("a pond", model=engine, first_line=first_line, dangling="strict")


@pytest.mark.parametrize(
    "first_line",
    ["An old silent pond", "winter rain again —", "Kubernetes weeps", "first snow, and then moon!"],
)
def test_a_first_line_is_kept_and_gone_on_from(engine: Engine, first_line: str) -> None:
    poems = generate("a pond", 2, model=engine, first_line=first_line, seed=1, policy="any")
    for poem in poems:
        assert poem.lines[0] == first_line and len(poem.lines) == 3
        assert validate(poem.text, poem.report.form, policy="any").valid


@pytest.mark.parametrize(
    "arguments",
    [
        {"form": TANKA},
        {"form": SENRYU},
        {"kireji": "required", "season": "autumn"},
        {"kigo": ["first snow", "icicle"]},
        {"strategy": "beam", "n": 3},
        {"temperature": 0},
        {"policy": "any", "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.2},
        {"lexicon": Lexicon.default().with_words({"zyzzyva": 3}, remove=["snow"])},
    ],
    ids=str,
)
def test_every_way_of_asking(engine: Engine, arguments: dict[str, Any]) -> None:
    arguments = {"n": 1, "seed": 2} | arguments
    poems = generate("winter evening", model=engine, **arguments)
    assert len(poems) == arguments["n"] == len({p.text for p in poems})
    for poem in poems:
        lexicon = arguments.get("lexicon")
        policy = arguments.get("policy", "all")
        assert validate(poem.text, poem.report.form, policy=policy, lexicon=lexicon).valid
        if "kigo" in arguments:
            assert set(poem.kigo) & set(arguments["kigo"])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "prompt is empty"),
    ({"prompt": " \n\u200b"}, "prompt is empty"),
    ({"prompt": None}, "topic such as"),
    ({"prompt": "snow " * 500}, "at most 1,000"),
    ({"prompt": "\ud800"}, "surrogate"),
    ({"n": 0}, "from 1 up"),
    ({"n": -3}, "from 1 up"),
    ({"n": 1.5}, "whole number"),
    ({"n": True}, "whole number"),
    ({"season": "monsoon"}, "use one of spring"),
    ({"season": "winter", "kigo": "frog"}, "give one"),
    ({"kigo": "frogg"}, "did you mean frog"),
    ({"kigo": ["frog", "qqq"]}, "not a season word"),
    ({"kigo": []}, "empty set"),
    ({"kigo": 7}, "give e.g."),
    ({"first_line": "An old silent pond here"}, "6"),
    ({"first_line": ""}, "first_line is empty"),
    ({"first_line": "an old\nsilent pond"}, "alone"),
    ({"temperature": -0.1}, "negative"),
    ({"temperature": math.nan}, "finite"),
    ({"temperature": "warm"}, "not a number"),
    ({"strategy": "magic"}, "use one of"),
    ({"seed": -1}, "from 0 up"),
    ({"seed": "x"}, "whole number"),
    ({"policy": "most"}, "all or any"),
    ({"kireji": "maybe"}, "use one of"),
    ({"form": (5, 7, 5)}, "Form"),
    ({"batch_size": 0}, "from 1 up"),
    ({"lexicon": ["frog"]}, "with_words"),
]


@pytest.mark.parametrize(("arguments", "cure"), BAD, ids=lambda value: str(value)[:50])
def test_wrong_arguments_say_what_to_do(
    engine: Engine, arguments: dict[str, Any], cure: str
) -> None:
    arguments = {"prompt": "rain"} | arguments
    with pytest.raises((ValueError, TypeError), match=cure) as caught:
        generate(arguments.pop("prompt"), model=engine, **arguments)
    assert "\n" not in str(caught.value)
