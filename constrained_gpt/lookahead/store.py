"""Look-aheads by the content of the model they were learned of: learned here, or shipped.

A table belongs to one set of weights and one vocabulary and is never used with others: its name is
the hash of both. It may serve any form. Called by `generate` and by `haiku lookahead`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from constrained_gpt import cache, prompts
from constrained_gpt.decoding import Guide
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lexicon import HAIKU, Lexicon
from constrained_gpt.lexicon.function_words import is_dangling
from constrained_gpt.lexicon.typography import DEFAULT
from constrained_gpt.lookahead.collect import Walker
from constrained_gpt.lookahead.fit import fit
from constrained_gpt.lookahead.table import Lookahead

SHIPPED = Path(__file__).with_name("data")
_KIND = "lookahead"
_VERSION = 1  # of what the arrays mean

# Topics of the poems that a look-ahead is learned from, and a season to ask for; none is used in a
# bench.
TOPICS: tuple[tuple[str, str], ...] = (
    ("rain on a tin roof", ""), ("a frozen pond", "winter"), ("the first day of school", ""),
    ("cherry blossoms", "spring"), ("an empty chair", ""), ("crickets", "autumn"),
    ("a mountain path", ""), ("fireflies", "summer"), ("my father's hands", ""),
    ("stars", "winter"),
    ("the last train", ""), ("fog over the river", "autumn"), ("a cat at the window", ""),
    ("a wasp", "summer"), ("the smell of bread", ""), ("plum trees", "spring"),
    ("letters from a friend", ""), ("a garden in the heat", "summer"), ("waiting", ""),
    ("leaves", "autumn"), ("the sound of waves", ""), ("new snow", "winter"),
    ("an old photograph", ""), ("a quiet street", ""),
)  # fmt: skip
_FIRST = 8  # topics that are walked before there is a table to walk with


def key(engine: Any) -> str | None:
    """The name of an engine's look-ahead; None for an engine that does not know its weights."""
    if getattr(engine, "content_hash", None) is None:
        return None
    parts = (_VERSION, engine.content_hash, engine.tokenizer.content_hash)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def find(engine: Any) -> Lookahead | None:
    """The look-ahead learned of this engine's weights, if there is one."""
    name = key(engine)
    return None if name is None else _find(name)


@lru_cache(maxsize=4)
def _find(name: str) -> Lookahead | None:
    kept = cache.load_arrays(_KIND, name)
    if kept is not None:
        return Lookahead.from_arrays(kept)
    shipped = SHIPPED / f"{name}.npz"
    if not shipped.is_file():
        return None
    with np.load(shipped, allow_pickle=False) as arrays:
        return Lookahead.from_arrays(dict(arrays))


def guide_of(engine: Any, lattice: Lattice, temperature: float) -> Guide | None:
    """The look-ahead learned of an engine's weights, laid out for a lattice, if there is one."""
    learned = find(engine)
    return None if learned is None else _laid_out(learned, lattice, temperature)


@lru_cache(maxsize=8)
def _laid_out(learned: Lookahead, lattice: Lattice, temperature: float) -> Guide:
    return learned.guide(lattice, temperature)


def learn(
    engine: Any,
    *,
    lexicon: Lexicon | None = None,
    topics: int = len(TOPICS),
    rows: int = 16,
    probes: int = 48,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Lookahead:
    """Learn a look-ahead from poems of the engine: `rows` for each of `topics` topics, `probes`
    other words beside them at every step. Kept in the cache folder if the engine knows its weights.

    The poems are held to the syllables of a haiku alone. The first of them are drawn with the
    look-ahead made by hand, the others with what the first have taught.
    """
    if not 1 <= topics <= len(TOPICS):
        raise ValueError(f"topics={topics} is out of range; give 1 to {len(TOPICS)}")
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; give a whole number from 0 up")
    words = Lexicon.default() if lexicon is None else lexicon
    form = dataclasses.replace(HAIKU, kigo="off", rhyme="off", dangling="off")
    style = getattr(engine, "prompt_style", None)
    tokenizer = engine.tokenizer
    end = prompts.build(tokenizer, TOPICS[0][0], form, style).end
    lattice = compile(form, words, tokenizer, end=end)
    walker = Walker(engine, lattice, closers(tokenizer, end))
    texts = [tokenizer.decode([token]).strip().lower() for token in lattice.order.tolist()]
    function = np.array([is_dangling(text) for text in texts])
    rng = np.random.default_rng(seed)
    guide = None
    for number, (topic, season) in enumerate(TOPICS[:topics]):
        if number and number % _FIRST == 0:
            found = fit(walker.seen, lattice.openings, lattice.order, function)
            guide = found.guide(lattice)
        asked = dataclasses.replace(form, kigo=season or "off")
        prompt = prompts.build(tokenizer, topic, asked, style)
        walker.walk(prompt.ids, rows, probes, rng, guide)
        if progress is not None:
            progress(number + 1, topics)
    found = fit(walker.seen, lattice.openings, lattice.order, function)
    name = key(engine)
    if name is not None:
        cache.save_arrays(_KIND, name, found.arrays())
        _find.cache_clear()
    return found


def closers(tokenizer: Any, end: int) -> dict[str, list[int]]:
    """First tokens of what may close a line, the poem, or stand inside a line: see `Walker`."""
    first = {mark.text: tokenizer.encode(mark.text)[0] for mark in DEFAULT.marks}
    of = {
        "inner": [tokenizer.encode("\n")[0]] + [first[m.text] for m in DEFAULT.marks if m.end],
        "last": [end] + [first[m.text] for m in DEFAULT.marks if m.final],
        "mid": [first[m.text] for m in DEFAULT.marks if m.mid],
    }
    return {kind: sorted(set(tokens)) for kind, tokens in of.items()}


def save(engine: Any, found: Lookahead, folder: Path = SHIPPED) -> Path:
    """Write a look-ahead where `find` looks for those that come with the project."""
    name = key(engine)
    if name is None:
        raise ValueError("this engine does not know its weights; load it with from_pretrained")
    path = folder / f"{name}.npz"
    with cache.written_whole(path) as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, **found.arrays())  # type: ignore[arg-type]
    return path
