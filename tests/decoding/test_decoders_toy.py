"""The decoders on a model that can be enumerated: laws 6, 7 and 8, and that weights mean what they say."""

from __future__ import annotations

import math

import laws
import numpy as np
import pytest
import toy

from constrained_gpt.decoding import STRATEGIES, Options, beam, sample, smc
from constrained_gpt.decoding.options import GENTLEST, HARSHEST
from constrained_gpt.kernels.reference import log_sum_exp
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lexicon import Form, validate
from constrained_gpt.lexicon.typography import Typography

TOKENIZER = toy.ToyTokenizer()
ENGINE = toy.ToyEngine(TOKENIZER, spread=0.5)
PROMPT = [7, 7, 7]
FORM = Form(lines=(1, 2), kigo="any", rhyme="identical")
PLAIN = Options(temperature=1.0, min_p=None, lookahead=False)


@pytest.fixture(scope="module")
def lattice() -> Lattice:
    typography = Typography(marks=toy.MARKS[2:], capitals="lower")
    return compile(FORM, toy.lexicon(), TOKENIZER, typography=typography, use_cache=False)


@pytest.fixture(scope="module")
def truth(lattice: Lattice) -> dict[tuple[int, ...], float]:
    """Every poem of the form with its log-probability under the model: the exact answer."""
    exact = {}
    for path in laws.paths(lattice):
        total, history = 0.0, list(PROMPT)
        for token in path:
            logits = ENGINE.logits(history)
            total += float(logits[token]) - log_sum_exp(logits)
            history.append(token)
        exact[tuple(path)] = total
    assert len(exact) > 50
    return exact


def generators(seeds: range) -> list[np.random.Generator]:
    return [np.random.default_rng([1, s]) for s in seeds]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_poems_are_valid_and_log_p_is_the_models(
    strategy: str, lattice: Lattice, truth: dict[tuple[int, ...], float]
) -> None:
    decode = STRATEGIES[strategy]
    paths = decode(ENGINE, lattice, PROMPT, generators(range(20)), Options())
    assert len(paths) == 20
    for path in paths:
        text = TOKENIZER.decode(path.tokens)
        assert validate(text, FORM, policy="all", lexicon=toy.lexicon()).valid
        assert path.log_p == pytest.approx(truth[tuple(path.tokens)], abs=1e-6)


def test_weights_of_plain_samples_estimate_the_mass_of_the_form(
    lattice: Lattice, truth: dict[tuple[int, ...], float]
) -> None:
    z = sum(math.exp(p) for p in truth.values())
    paths = sample(ENGINE, lattice, PROMPT, generators(range(6000)), PLAIN)
    weights = np.array([math.exp(p.weight) for p in paths])
    error = weights.std() / math.sqrt(len(weights))
    assert abs(weights.mean() - z) < 4 * error
    assert error < 0.1 * z
    for path in paths[:50]:  # at temperature 1 without truncation the weight is the masks' mass
        assert path.weight == pytest.approx(sum(path.log_mass), abs=1e-5)


def test_smc_is_properly_weighted(lattice: Lattice, truth: dict[tuple[int, ...], float]) -> None:
    """Law 7: the estimate of the target's mass is unbiased, whatever the proposals are."""
    for options in (
        Options(temperature=1.0, min_p=None, lookahead=False, particles=4),
        Options(temperature=1.1, min_p=None, particles=16, lookahead=True),
    ):
        z = sum(math.exp(p / options.temperature) for p in truth.values())
        paths = smc(ENGINE, lattice, PROMPT, generators(range(1500)), options)
        estimates = np.array([math.exp(p.weight) for p in paths])
        error = estimates.std() / math.sqrt(len(estimates))
        assert abs(estimates.mean() - z) < 4 * error
        assert error < 0.15 * z


def test_smc_comes_nearer_to_the_model_than_masks_alone(
    lattice: Lattice, truth: dict[tuple[int, ...], float]
) -> None:
    """Total variation to p(poem | form), estimated from equally many poems."""
    z = sum(math.exp(p) for p in truth.values())

    def distance(paths: list) -> float:  # type: ignore[type-arg]
        share = dict.fromkeys(truth, 0.0)
        for path in paths:
            share[tuple(path.tokens)] += 1 / len(paths)
        return sum(abs(share[t] - math.exp(p) / z) for t, p in truth.items()) / 2

    local = distance(sample(ENGINE, lattice, PROMPT, generators(range(1500)), PLAIN))
    particles = Options(temperature=1.0, min_p=None, lookahead=False, particles=16)
    better = distance(smc(ENGINE, lattice, PROMPT, generators(range(1500)), particles))
    assert better < 0.6 * local


def test_beam_finds_the_likeliest(lattice: Lattice, truth: dict[tuple[int, ...], float]) -> None:
    wide = beam(ENGINE, lattice, PROMPT, generators(range(5)), Options(beams=2000))
    best = sorted(truth.values(), reverse=True)[:5]
    assert [p.log_p for p in wide] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("strategy", ["sample", "smc"])
def test_a_seed_names_a_poem(strategy: str, lattice: Lattice) -> None:
    """Laws 6 and 8: the company a poem is written in changes nothing."""
    decode = STRATEGIES[strategy]
    together = decode(ENGINE, lattice, PROMPT, generators(range(9)), Options())
    alone = [
        decode(ENGINE, lattice, PROMPT, generators(range(i, i + 1)), Options())[0] for i in range(9)
    ]
    assert [p.tokens for p in together] == [p.tokens for p in alone]
    assert [p.weight for p in together] == [p.weight for p in alone]


def test_greedy_takes_the_likeliest_token(lattice: Lattice) -> None:
    (path,) = sample(ENGINE, lattice, PROMPT, generators(range(1)), Options(temperature=0.0))
    state = lattice.start()
    for i, token in enumerate(path.tokens):
        allowed = lattice.allowed(state[0])
        logits = ENGINE.logits([*PROMPT, *path.tokens[:i]])
        assert token == allowed[np.argmax(logits[allowed])]
        lattice.advance(state, np.array([token]))


def test_a_model_of_another_vocabulary_is_refused(lattice: Lattice) -> None:
    small = toy.ToyEngine(TOKENIZER, padding=-5)
    with pytest.raises(ValueError, match="with this model's own tokenizer"):
        sample(small, lattice, PROMPT, generators(range(1)), Options())


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({"temperature": -1}, "0 takes the likeliest"),
        ({"temperature": math.nan}, "finite"),
        ({"temperature": math.inf}, "finite"),
        ({"temperature": 1e300}, "give 0 for the likeliest word, or 1e-09 to 1e\\+09"),
        ({"temperature": 5e-324}, "give 0 for the likeliest word"),
        ({"repetition_penalty": 1e300}, "of which 1 means none"),
        ({"repetition_penalty": 1e-300}, "of which 1 means none"),
        ({"temperature": "hot"}, "give one such as 0.8"),
        ({"temperature": True}, "not a number"),
        ({"top_p": 0}, "leave it out"),
        ({"top_p": 1.5}, "leave it out"),
        ({"min_p": -0.1}, "leave it out"),
        ({"top_k": -1}, "positive"),
        ({"top_k": 2.5}, "whole number"),
        ({"particles": 0}, "positive"),
        ({"repetition_penalty": 0}, "1 means none"),
    ],
)
def test_options_say_what_is_wrong(arguments: dict[str, object], cure: str) -> None:
    with pytest.raises((ValueError, TypeError), match=cure):
        Options(**arguments)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("temperature", [GENTLEST, HARSHEST])
@pytest.mark.parametrize("penalty", [GENTLEST, 1.0, HARSHEST])
def test_options_at_their_ends(
    strategy: str, temperature: float, penalty: float, lattice: Lattice
) -> None:
    """What is let through is drawn with: nothing overflows, no number is too wide for a kernel."""
    options = Options(temperature=temperature, repetition_penalty=penalty, top_k=10**30)
    paths = STRATEGIES[strategy](ENGINE, lattice, PROMPT, generators(range(20)), options)
    for path in paths:
        text = TOKENIZER.decode(path.tokens)
        assert validate(text, FORM, policy="all", lexicon=toy.lexicon()).valid
