"""Lexicons of any size, and the walks of poems through their lattices, for the benches.

The words are those of the project, then those of CMUdict, commonest first as far as a tokenizer
knows it: fewest tokens, then lowest ids. Knows no kernel. Called by bench_mask.py and others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from constrained_gpt.kernels.mask import Masks
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lexicon import Form, Lexicon
from constrained_gpt.lexicon.pronunciations import entries, vowels
from constrained_gpt.tokenizer import Tokenizer

ALL_RULES = Form(
    name="haiku", lines=(5, 7, 5), kigo="any", kireji="required", rhyme="identical",
    dangling="forbidden",
)  # fmt: skip
_NONE = np.zeros(0, np.int32)


@lru_cache(maxsize=1)
def _ranked() -> list[tuple[str, int]]:
    """(word, syllables) of every word that has one count alone, commonest first."""
    default = Lexicon.default()
    counts = {word: set(default.counts(word)) for word in default.words}
    known = {word.lower() for word in counts}
    for word, phones in entries():
        if word not in known and re.fullmatch("[a-z]{2,}('s)?", word) and 1 <= vowels(phones) < 13:
            counts.setdefault(word, set()).add(vowels(phones))
    sure = {word: counted for word, counted in counts.items() if len(counted) == 1}
    spelled = Tokenizer.gpt2().encode_many([f" {word}" for word in sure]).rows()
    by = sorted(zip(spelled, sure, strict=True), key=lambda pair: (len(pair[0]), *pair))
    return [(word, *sure[word]) for _, word in by]


@lru_cache(maxsize=4)
def lexicon(n_words: int) -> Lexicon:
    """The n_words commonest words, every one of which may be written whatever the policy."""
    ranked = _ranked()
    if n_words > len(ranked):
        raise SystemExit(f"no more than {len(ranked)} words are known; {n_words} were asked for")
    return Lexicon.from_words(dict(ranked[:n_words]))


def lattice(n_words: int, form: Form = ALL_RULES, *, use_cache: bool = True) -> Lattice:
    """GPT-2's lattice over so many words."""
    return compile(form, lexicon(n_words), Tokenizer.gpt2(), use_cache=use_cache)


class Step(NamedTuple):
    """A batch of poems before a token, and the token each takes: int64 (B, width), (B,)."""

    states: np.ndarray
    tokens: np.ndarray


def walk(of: Lattice, batch: int, steps: int, seed: int) -> Iterator[Step]:
    """Poems as a model writes them, `batch` at a time; where one ends another begins.

    The draw stands for a model's: a token's weight falls with its id, as its frequency does in the
    text that GPT-2's merges were learned from, times noise of its own at every step (a context
    makes few words likely), times its outlook.
    """
    rng = np.random.default_rng(seed)
    log_frequency = -np.log(10.0 + np.arange(of.n_vocab))
    states = of.start(batch)
    for _ in range(steps):
        masks = of.masks(states)
        tokens = np.empty(batch, np.int64)
        for row in range(batch):
            allowed, outlook = candidates(masks, of.order, row)
            noise = 2.0 * rng.standard_normal(len(allowed)) + rng.gumbel(size=len(allowed))
            tokens[row] = allowed[np.argmax(log_frequency[allowed] + noise + outlook)]
        yield Step(states.copy(), tokens)
        of.advance(states, tokens)
        ended = of.finished(states)
        states[ended] = of.start()


def candidates(masks: Masks, order: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    """One row of `Lattice.masks` written out: tokens, ascending, and their outlook."""
    places = masks.position[masks.start[row] : masks.stop[row]] if masks.entry[row] >= 0 else _NONE
    held = ~np.isin(places, masks.drop[masks.drop_start[row] : masks.drop_start[row + 1]])
    extras = slice(masks.extra_start[row], masks.extra_start[row + 1])
    tokens = np.concatenate([order[places[held]], masks.extra_token[extras]])
    outlook = np.concatenate(
        [masks.outlook[masks.start[row] :][: len(places)][held], masks.extra_outlook[extras]]
    )
    by_token = np.argsort(tokens)
    return tokens[by_token], outlook[by_token]
