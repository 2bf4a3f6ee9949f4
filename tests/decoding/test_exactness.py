"""Decoders against the exact conditional of a toy language: how far each is, and what weights estimate."""

from __future__ import annotations

import math

import exactness as world
import numpy as np
import pytest

from constrained_gpt.decoding import Guide, Options, Scorer, WordScore, best_of, sample, smc
from constrained_gpt.decoding.score import word_bonus
from constrained_gpt.kernels.reference import log_sum_exp

Poem = tuple[int, ...]


@pytest.fixture(scope="module")
def truth() -> dict[Poem, float]:
    return world.conditional(world.log_model())


@pytest.fixture(scope="module")
def guide() -> Guide:
    return world.learned().guide(world.lattice())


def generators(n: int, seed: int = 1) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, i]) for i in range(n)]


def test_enumerated_draws_are_what_is_drawn(truth: dict[Poem, float]) -> None:
    exact = world.drawn(world.BARE)
    assert set(exact) == set(truth)
    assert sum(exact.values()) == pytest.approx(1.0, abs=1e-5)
    paths = sample(world.ENGINE, world.lattice(), world.PROMPT, generators(4000), world.BARE)
    likeliest = max(exact, key=exact.__getitem__)
    share = np.mean([tuple(path.tokens) == likeliest for path in paths])
    assert abs(share - exact[likeliest]) < 4 * math.sqrt(exact[likeliest] / 4000)
    for path in paths[:20]:
        assert math.exp(path.log_q) == pytest.approx(exact[tuple(path.tokens)], rel=1e-4)


def test_look_ahead_and_smc_come_near(truth: dict[Poem, float], guide: Guide) -> None:
    """The learned look-ahead alone is nearer than local masks; with SMC of 16 ten times and more;
    and SMC of 256 cannot be told from the truth."""
    local = world.exact_distance(truth, world.drawn(world.BARE))
    ahead = world.exact_distance(truth, world.drawn(world.AHEAD, guide))
    assert ahead.kl < 0.7 * local.kl

    def of(particles: int, runs: int) -> world.Distance:
        options = Options(1.0, min_p=None, particles=particles)
        return world.counted_distance(truth, world.populations(options, runs, guide)[0])

    some = of(16, 1500)
    assert some.kl + 3 * some.kl_error < local.kl / 10
    many = of(256, 400)
    assert abs(many.kl) < 3 * many.kl_error + 0.01
    assert many.tv < 0.1


TARGETS = [
    Options(1.0, min_p=None, lookahead=False, particles=8),
    Options(1.0, min_p=None, particles=8, resample="line"),
    Options(1.0, min_p=None, particles=8, resample="never"),
    Options(1.3, min_p=None, particles=8),
    Options(1.0, min_p=None, particles=8, repetition_penalty=1.5),
    Options(1.0, min_p=None, top_p=0.8, lookahead=False, particles=8),
    Options(0.9, min_p=0.05, particles=8),
]


@pytest.mark.parametrize("options", TARGETS, ids=str)
@pytest.mark.parametrize("scored", [False, True])
def test_the_estimate_of_z_is_unbiased(options: Options, scored: bool, guide: Guide) -> None:
    """Law 7, for every option that changes the target: E[estimate] is its mass on the poems that
    the draws can reach."""
    log_p = world.log_model(options.repetition_penalty)
    score = WordScore({"moon": 1.0, "snow": -0.5})
    scorer = Scorer(score, world.TOKENIZER.decode) if scored else None
    led = guide if options.lookahead else None
    if scored and led is not None:
        bonus = word_bonus(score, world.lattice(), world.TOKENIZER.decode)
        assert bonus is not None and bonus.max() == 1.0
        led = led.plus(bonus)
    reached = [*world.drawn(options, led)] if options.top_p or options.min_p else [*log_p]
    target = [
        log_p[poem] / options.temperature
        + (score(world.TOKENIZER.decode(list(poem[:-1]))) if scored else 0.0)
        for poem in reached
    ]
    log_z = log_sum_exp(np.array(target))
    paths = smc(
        world.ENGINE, world.lattice(), world.PROMPT, generators(1200), options, guide=led,
        scorer=scorer,
    )  # fmt: skip
    ratio = np.exp(np.array([path.weight for path in paths]) - log_z)
    error = ratio.std(ddof=1) / math.sqrt(len(ratio))
    assert abs(ratio.mean() - 1.0) < 4 * error
    assert error < 0.2


def test_weights_of_plain_draws_have_the_same_target(guide: Guide) -> None:
    options = Options(1.2, min_p=None, repetition_penalty=1.3)
    log_p = world.log_model(1.3)
    paths = sample(
        world.ENGINE, world.lattice(), world.PROMPT, generators(50), options, guide=guide
    )
    for path in paths:
        target = log_p[tuple(path.tokens)] / 1.2
        assert path.weight == pytest.approx(target - path.log_q, abs=1e-4)


def test_a_score_moves_probability_as_it_says(truth: dict[Poem, float]) -> None:
    """With a score of any kind, SMC draws from p(poem) exp(score) on the form."""

    def score(text: str) -> float:
        return -1.5 if text.startswith("moon") else 0.0

    moved = {
        poem: math.log(p) + score(world.TOKENIZER.decode(list(poem[:-1])))
        for poem, p in truth.items()
    }
    wanted = world.conditional(moved)
    paths = smc(
        world.ENGINE, world.lattice(), world.PROMPT, generators(400),
        Options(1.0, min_p=None, lookahead=False, particles=128),
        scorer=Scorer(score, world.TOKENIZER.decode),
    )  # fmt: skip
    found = [tuple(path.tokens) for path in paths]
    near = world.counted_distance(wanted, found)
    assert near.kl < 0.05 + 3 * near.kl_error
    assert near.kl < world.counted_distance(truth, found).kl


def test_the_error_of_one_population_is_about_right(guide: Guide) -> None:
    options = Options(1.0, min_p=None, particles=64)
    paths = smc(world.ENGINE, world.lattice(), world.PROMPT, generators(300), options, guide=guide)
    spread = float(np.std([path.weight for path in paths]))
    said = [path.weight_error for path in paths if math.isfinite(path.weight_error)]
    assert len(said) > 100
    assert 0.4 * spread < float(np.median(said)) < 3 * spread


def test_best_of_keeps_the_best() -> None:
    options = Options(1.0, min_p=None, particles=6)

    def liked(text: str) -> float:
        return float(text.count("o"))

    scorer = Scorer(liked, world.TOKENIZER.decode)
    best = best_of(
        world.ENGINE, world.lattice(), world.PROMPT, generators(40), options, scorer=scorer
    )
    plain = sample(world.ENGINE, world.lattice(), world.PROMPT, generators(40), options)
    texts = [world.TOKENIZER.decode(path.tokens) for path in plain]
    assert np.mean([path.score for path in best]) > np.mean([liked(text) for text in texts])
    assert all(math.isnan(path.weight) for path in best)
