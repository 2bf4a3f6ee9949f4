"""Law 5 for whole batches: masks and bitmasks are what `Lattice.candidates` says, row by row.

On the toy world over every reachable state of every combination of rules; on GPT-2's tokens over
batches of poems that are forked and dropped as the decoders do it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import laws
import numpy as np
import pytest
import toy

from constrained_gpt.kernels._team import Team
from constrained_gpt.kernels.mask import allocate_token_bitmask
from constrained_gpt.lattice import Lattice, LatticeError, boundary, compile
from constrained_gpt.lexicon import HAIKU, Form, Lexicon
from constrained_gpt.lexicon.typography import Typography
from constrained_gpt.tokenizer import Tokenizer

TOKENIZER = toy.ToyTokenizer()
WORDS = {w: toy.WORDS[w] for w in ("snow", "glow", "a", "fire", "winter", "moon")}
MARKS = Typography(marks=toy.MARKS[1:], capitals="consistent")
RULES = list(
    itertools.product(
        ("off", "any", "winter", frozenset({"winter moon"}), frozenset({"snow"})),
        ("off", "required", "forbidden"),
        ("off", "perfect", "identical"),
        ("off", "forbidden"),
    )
)
STRICT = Form(lines=(2, 3, 2), kigo="any", kireji="required", rhyme="identical")


def toy_lattice(form: Form, policy: str = "all", end: int | None = None) -> Lattice:
    return compile(
        form, toy.lexicon(WORDS), TOKENIZER, policy=policy, typography=MARKS, end=end,
        use_cache=False,
    )  # fmt: skip


def reachable(lattice: Lattice, most: int) -> np.ndarray:
    """States that paths reach, the nearest first: int64 (at most `most`, width)."""
    seen = {lattice.start()[0].tobytes(): lattice.start()[0]}
    waiting = list(seen.values())
    for state in waiting:
        for token in lattice.allowed(state):
            following = state[None].copy()
            lattice.advance(following, np.array([token]))
            if following.tobytes() not in seen and len(seen) < most:
                seen[following.tobytes()] = following[0]
                waiting.append(following[0])
    return np.array(waiting)


@pytest.mark.parametrize("policy", ["all", "any"])
@pytest.mark.parametrize("kireji", ["off", "required", "forbidden"])
@pytest.mark.parametrize("rhyme", ["off", "perfect", "identical"])
def test_every_state_of_every_rule(kireji: str, rhyme: str, policy: str) -> None:
    compared = 0
    for kigo, _, _, dangling in (r for r in RULES if r[1:3] == (kireji, rhyme)):
        form = Form(lines=(1, 2), kigo=kigo, kireji=kireji, rhyme=rhyme, dangling=dangling)
        try:
            lattice = toy_lattice(form, policy)
        except LatticeError:
            continue
        states = reachable(lattice, 70)
        compared += laws.assert_masks_are_slow_twins(lattice, states)
    assert compared > 200


def forked(lattice: Lattice, rows: int, steps: int, seed: int) -> int:
    """Masks all along a batch whose rows are forked, dropped and begun anew; how many."""
    rng = np.random.default_rng(seed)
    states = lattice.start(rows)
    compared = 0
    for _ in range(steps):
        compared += laws.assert_masks_are_slow_twins(lattice, states)
        tokens = np.array([rng.choice(lattice.allowed(row)) for row in states], np.int64)
        lattice.advance(states, tokens)
        compared += laws.assert_masks_are_slow_twins(lattice, states)  # the finished among them
        states = states[~lattice.finished(states)]
        kept = rng.integers(0, len(states), rng.integers(1, rows + 1)) if len(states) else []
        states = np.concatenate([states[kept], lattice.start(max(1, rows - len(kept)))])
    return compared


@pytest.mark.parametrize("policy", ["all", "any"])
@pytest.mark.parametrize("base_model", [False, True])
def test_forked_and_dropped_rows(policy: str, base_model: bool) -> None:
    end = TOKENIZER.encode("\n")[0] if base_model else None
    lattice = toy_lattice(STRICT, policy, end)
    assert (lattice.end == TOKENIZER.encode("\n")[0]) == base_model
    assert forked(lattice, 12, 30, seed=4) > 500


def test_the_same_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries, lines and patches are forgotten again and again; nobody notices."""
    for name, most in (("_BASES", 3), ("_LINES", 3), ("_PATCHES", 4), ("_DROPS", 1)):
        monkeypatch.setattr(boundary, name, most)
    monkeypatch.setattr(boundary, "_EXTRAS", 1)
    assert forked(toy_lattice(STRICT, "any"), 9, 30, seed=5) > 400


def test_masks_given_out_stay_as_they_are() -> None:
    lattice = toy_lattice(STRICT)
    states = lattice.start(3)
    masks = lattice.masks(states)
    before = [np.array(field) for field in masks]
    forked(lattice, 9, 20, seed=6)
    lattice.forget()
    for name, field, copy in zip(masks._fields, masks, before, strict=True):
        of = masks.stop.max() if name in ("position", "outlook") else None  # the arena may grow
        np.testing.assert_array_equal(field[:of], copy[:of])
    laws.assert_masks_are_slow_twins(lattice, states)


def test_bitmasks_are_written_over_and_padded() -> None:
    lattice = toy_lattice(STRICT)
    states = lattice.start(2)
    bitmask = allocate_token_bitmask(2, lattice.n_vocab + 100)
    bitmask[:] = -1
    lattice.fill_next_token_bitmask(states, bitmask)
    for row in bitmask:
        bits = np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little"))
        np.testing.assert_array_equal(bits, lattice.allowed(states[0]))
    with pytest.raises(ValueError, match="allocate_token_bitmask"):
        lattice.fill_next_token_bitmask(states, bitmask[:1])


@pytest.fixture(scope="module")
def some_words() -> Lexicon:
    """Every fourteenth word, and a user's own."""
    default = Lexicon.default()
    short = [
        "a",
        "an",
        "the",
        "first",
        "of",
        "in",
        "on",
        "snow",
        "moon",
        "rain",
        "now",
        "know",
        "so",
        "see",
    ]
    chosen = sorted({*default.words[::14], *short})
    lexicon = Lexicon.from_words({word: default.counts(word) for word in chosen})
    return lexicon.with_words({"zyzzyva": 3, "glamour": {2, 3}, "O": 1}, remove=["an"])


@pytest.mark.parametrize(
    ("rules", "policy"),
    [
        ({"kigo": "any", "kireji": "required", "rhyme": "identical"}, "all"),
        ({"kigo": "any", "kireji": "required", "rhyme": "perfect"}, "any"),
        ({"kigo": "winter", "kireji": "off", "rhyme": "identical"}, "any"),
        ({"kigo": frozenset({"first snow"}), "kireji": "forbidden", "rhyme": "perfect"}, "all"),
        ({"kigo": "off", "kireji": "off", "rhyme": "off"}, "all"),
    ],
    ids=str,
)
def test_users_words_on_real_tokens(
    rules: dict[str, str], policy: str, some_words: Lexicon
) -> None:
    tokenizer = Tokenizer.gpt2()
    form = Form(lines=HAIKU.lines, dangling="forbidden", **rules)
    end = tokenizer.encode("\n")[0] if policy == "any" else None
    lattice = compile(form, some_words, tokenizer, policy=policy, end=end, use_cache=False)
    assert forked(lattice, 16, 20, seed=7) > 500


def test_after_a_first_line_from_outside(some_words: Lexicon) -> None:
    """Sounds no word of the lexicon has, or that many have."""
    form = Form(lines=HAIKU.lines, kigo="any", rhyme="identical", dangling="strict")
    lattice = compile(form, some_words, Tokenizer.gpt2(), use_cache=False)
    rng = np.random.default_rng(8)
    common = tuple((part, "K") for part in ("OW", "IY", "AY", "EY", "UW", "AO R", "IH NG"))
    for sounds in ((("OW", "N"),), (("IY", "S"), ("OW", "")), (("=qq", ""),), common):
        row = lattice.start_after_line(done=False, cut=0, sounds=sounds, form=1, new_sentence=False)
        states = np.repeat(row, 16, axis=0)
        while not lattice.finished(states).all():
            laws.assert_masks_are_slow_twins(lattice, states)
            tokens = np.array([rng.choice(lattice.allowed(state)) for state in states], np.int64)
            lattice.advance(states, tokens)
            states = states[~lattice.finished(states)]
            if not len(states):
                break


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("patches", [8, boundary._PATCHES])
def test_threads_share_bitmasks(
    threads: int, patches: int, some_words: Lexicon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every thread a share, whatever is still missing and however little is kept: the bitmasks are
    those of one thread."""
    team, shared = Team(threads), [0]

    def run(function: Callable[..., None], *args: Any) -> None:
        Team.run(team, function, *args)
        shared[0] += 1

    monkeypatch.setattr(boundary, "_PATCHES", patches)
    monkeypatch.setattr(boundary, "_MANY", 2)
    form = Form(lines=HAIKU.lines, kigo="any", kireji="required", rhyme="identical")
    alone, together = (
        compile(form, some_words, Tokenizer.gpt2(), use_cache=False) for _ in range(2)
    )
    monkeypatch.setattr(boundary, "shared_team", lambda: team)
    together._quick = boundary.Boundary(together._quick._compiled, together._quick._alive)
    monkeypatch.setattr(team, "awake", lambda: True)
    monkeypatch.setattr(team, "run", run)
    rng = np.random.default_rng(9)
    states = alone.start(37)
    bitmasks = [allocate_token_bitmask(37, alone.n_vocab) for _ in range(2)]
    for _ in range(60):
        alone.fill_next_token_bitmask(states, bitmasks[0])
        for _ in range(2):  # as it is met for the first time, and again
            bitmasks[1][:] = -1
            together.fill_next_token_bitmask(states, bitmasks[1])
            assert np.array_equal(*bitmasks)
        tokens = np.array([rng.choice(alone.allowed(state)) for state in states], np.int64)
        alone.advance(states, tokens)
        states[alone.finished(states)] = alone.start()
    assert shared[0] == 120
