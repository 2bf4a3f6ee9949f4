"""The real lexicon with both tokenizers: laws 1, 3 and 4, and poets' own lines are reachable."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import laws
import numpy as np
import pytest

from constrained_gpt.checkpoint import load
from constrained_gpt.kernels import boundary as kb
from constrained_gpt.lattice import Lattice, LatticeError, compile
from constrained_gpt.lexicon import HAIKU, SENRYU, TANKA, Form, Lexicon, validate
from constrained_gpt.tokenizer import Tokenizer

TASTE = {"rhyme": "identical", "dangling": "strict"}
FORMS = [
    dataclasses.replace(HAIKU, kigo="any", **TASTE),
    dataclasses.replace(HAIKU, kigo="winter", kireji="required", **TASTE),
    dataclasses.replace(HAIKU, kigo=frozenset({"first snow"}), kireji="forbidden", **TASTE),
    dataclasses.replace(SENRYU, rhyme="off"),
    dataclasses.replace(TANKA, kigo="new year", **TASTE),
    Form(lines=(1, 2, 3, 2, 1), kigo="off", rhyme="perfect"),
]


@lru_cache(maxsize=1)
def smollm2() -> Tokenizer:
    return load("smollm2").tokenizer


TOKENIZERS = [
    pytest.param(Tokenizer.gpt2, id="gpt2"),
    pytest.param(smollm2, id="smollm2", marks=pytest.mark.weights),
]


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon.default()


@pytest.mark.parametrize("make", TOKENIZERS)
@pytest.mark.parametrize("policy", ["all", "any"])
@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f.name}-{f.kigo}-{f.kireji}-{f.rhyme}")
def test_random_walks(form: Form, policy: str, make, lexicon: Lexicon) -> None:  # type: ignore[no-untyped-def]
    tokenizer = make()
    lattice = compile(form, lexicon, tokenizer, policy=policy)
    laws.assert_never_stuck(lattice, tokenizer, lexicon, policy=policy, walks=25, seed=5)


POEMS = [
    "Autumn moonlight\nshines on the quiet river\nand the heron stands",
    "the old pond is still\na frog leaps into the dark —\nwater, then silence",
    "First snow on the hill.\nThe children have not woken.\nOnly the cat knows!",
    "In the winter rain\nI walk beside my father;\nneither of us talks",
]


@pytest.mark.parametrize("make", TOKENIZERS)
def test_valid_poems_are_accepted_paths(make, lexicon: Lexicon) -> None:  # type: ignore[no-untyped-def]
    """Law 2 by example: the lattice and the validator give the same verdict."""
    tokenizer = make()
    lattice = compile(dataclasses.replace(HAIKU, kigo="any"), lexicon, tokenizer)
    verdicts = []
    for poem in POEMS:
        valid = validate(poem, lattice.form, policy="all", lexicon=lexicon).valid
        assert lattice.accepts([*tokenizer.encode(poem), lattice.end]) == valid, poem
        verdicts.append(valid)
    assert verdicts.count(True) >= 3


def test_a_base_model_ends_a_poem_with_a_line_break(lexicon: Lexicon) -> None:
    tokenizer = Tokenizer.gpt2()
    (line_break,) = tokenizer.encode("\n")
    lattice = compile(HAIKU, lexicon, tokenizer, end=line_break)
    laws.assert_never_stuck(lattice, tokenizer, lexicon, policy="all", walks=20, seed=1)


def test_the_disk_cache_gives_the_same_lattice(lexicon: Lexicon, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("CONSTRAINED_GPT_CACHE", str(tmp_path))
    form = dataclasses.replace(HAIKU, kigo="any")
    tokenizer = Tokenizer.gpt2()
    fresh = compile(form, lexicon, tokenizer)
    (stored,) = tmp_path.rglob("*.arrays")
    loaded = compile(form, lexicon, tokenizer)
    for a, b in zip(fresh._tables, loaded._tables, strict=True):
        np.testing.assert_array_equal(a, b)
    stored.write_bytes(stored.read_bytes()[:1000])  # damaged: made again, not trusted
    again = compile(form, lexicon, tokenizer)
    np.testing.assert_array_equal(again._tables.token, fresh._tables.token)


def test_a_lattice_from_the_disk_has_room(lexicon: Lexicon, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Loaded with few masks made ahead, it makes the others without writing past its arrays."""
    monkeypatch.setenv("CONSTRAINED_GPT_CACHE", str(tmp_path))
    form = dataclasses.replace(HAIKU, kigo="new year", **TASTE)
    tokenizer = Tokenizer.gpt2()
    compile(form, lexicon, tokenizer)
    lattice = compile(form, lexicon, tokenizer)
    quick = lattice._quick
    assert len(quick._position) < len(lattice.order)  # or this test tests nothing
    rng = np.random.default_rng(0)
    for _ in range(4):
        state = lattice.start()
        while not lattice.finished(state)[0]:
            masks = lattice.masks(state)
            assert quick._entries.used[kb.U_ARENA] <= len(quick._position) == len(quick._outlook)
            assert quick._entries.used[kb.U_ENTRIES] <= len(quick._bits)
            assert quick._entries.used[kb.U_BASES] <= len(quick._entries.base)
            inside = masks.position[masks.start[0] : masks.stop[0]]
            kept = lattice.order[np.setdiff1d(inside, masks.drop)]
            allowed = lattice.allowed(state[0])
            np.testing.assert_array_equal(np.union1d(kept, masks.extra_token), allowed)
            lattice.advance(state, rng.choice(allowed, 1))


@pytest.mark.parametrize(
    ("form", "words", "cure"),
    [
        (Form(lines=(1, 1)), ["winter"], "add shorter words"),
        (Form(lines=(1,), kigo="winter"), ["moon", "winter"], "loosen the season"),
        (Form(lines=(1, 1), rhyme="identical"), ["moon"], "rhyme='off'"),
        (Form(lines=(1,), kireji="required"), ["moon"], "kireji='off'"),
        (Form(lines=(1,), dangling="forbidden"), ["the"], "dangling='off'"),
    ],
)
def test_an_impossible_form_is_refused_with_the_cure(
    form: Form, words: list[str], cure: str
) -> None:
    with pytest.raises(LatticeError, match=cure):
        compile(form, Lexicon.from_words(words), Tokenizer.gpt2(), use_cache=False)


def test_words_that_know_no_capitals() -> None:
    """They begin a line as they are, spelled once."""
    tokenizer = Tokenizer.gpt2()
    lexicon = Lexicon.from_words(dict.fromkeys(("'tis", "a", "9th", "日本"), 1))
    form = Form(lines=(1, 3), rhyme="off")
    lattice = compile(form, lexicon, tokenizer, use_cache=False)
    for poem in ("日本\n'tis a 9th", "9th\n日本 'tis a", "'tis\na 日本 9th", "A\n9th 日本 a"):
        assert lattice.accepts([*tokenizer.encode(poem), tokenizer.eos])


def lattice_of(lexicon: Lexicon, **changes: object) -> Lattice:
    return compile(dataclasses.replace(HAIKU, **changes), lexicon, Tokenizer.gpt2())  # type: ignore[arg-type]


def test_words_can_be_added_and_removed(lexicon: Lexicon) -> None:
    poem = "the zyzzyva sleeps\non a leaf of the old oak\nunder the cold moon"
    tokenizer = Tokenizer.gpt2()
    path = [*tokenizer.encode(poem), tokenizer.eos]
    assert not lattice_of(lexicon).accepts(path)
    assert lattice_of(lexicon.with_words({"zyzzyva": 3})).accepts(path)
    with_word = lexicon.with_words({"zyzzyva": 3})
    assert not lattice_of(with_word.with_words(remove=["oak"])).accepts(path)
