"""The fused draw against its slow twin, and against the distribution it claims to draw from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from constrained_gpt.kernels import reference, sampling

OPTIONS = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.3},
    {"top_k": 3},
    {"top_k": 1},
    {"top_p": 0.5},
    {"top_p": 1e-9},
    {"min_p": 0.2},
    {"min_p": 1.0},
    {"repetition_penalty": 1.7},
    {"temperature": 1.4, "top_k": 12, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.2},
]


def draw(module: Any, logits: np.ndarray, allowed: list[np.ndarray], uniforms: np.ndarray,
         history: np.ndarray, outlook: np.ndarray | None = None, **options: float) -> tuple[np.ndarray, ...]:  # fmt: skip
    n = len(allowed)
    ids = np.concatenate(allowed).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum([len(a) for a in allowed])]).astype(np.int64)
    out = (np.zeros(n, np.int64), *(np.zeros(n) for _ in range(3)))
    settings = {
        "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0,
    } | options  # fmt: skip
    ahead = np.zeros(len(ids)) if outlook is None else outlook
    module.sample_tokens(logits, ids, indptr, ahead, history, uniforms, *settings.values(), *out)
    return out


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("ties", [False, True])
def test_equals_twin(options: dict[str, float], ties: bool) -> None:
    rng = np.random.default_rng(7)
    for trial in range(40):
        batch, vocab = int(rng.integers(1, 6)), int(rng.integers(2, 300))
        logits = (3 * rng.standard_normal((batch, vocab))).astype(np.float32)
        if ties:
            logits = np.round(logits)
        allowed = [
            np.sort(rng.choice(vocab, int(rng.integers(1, vocab + 1)), replace=False))
            for _ in range(batch)
        ]
        history = rng.integers(-1, vocab, (batch, 5))
        uniforms = rng.random(batch)
        if trial == 0:
            uniforms[:] = 0.0
        elif trial == 1:
            uniforms[:] = np.nextafter(1.0, 0.0)
        outlook = rng.choice([0.0, -3.0], sum(map(len, allowed))) if trial % 2 else None
        fast = draw(sampling, logits, allowed, uniforms, history, outlook, **options)
        slow = draw(reference, logits, allowed, uniforms, history, outlook, **options)
        np.testing.assert_array_equal(fast[0], slow[0])
        for a, b in zip(fast[1:], slow[1:], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-9)
        assert all(t in a for t, a in zip(fast[0], allowed, strict=True))


def test_draws_follow_the_distribution() -> None:
    """Over evenly spaced uniforms the frequencies are the probabilities, to the spacing."""
    rng = np.random.default_rng(3)
    logits = np.repeat(rng.standard_normal((1, 20)).astype(np.float32), 4000, axis=0)
    allowed = np.array([2, 3, 5, 7, 11, 13])
    uniforms = (np.arange(4000) + 0.5) / 4000
    history = np.full((4000, 1), -1)
    tokens, log_p, log_q, log_mass = draw(sampling, logits, [allowed] * 4000, uniforms, history)
    p = np.exp(logits[0, allowed].astype(float))
    for token, probability in zip(allowed, p / p.sum(), strict=True):
        assert abs((tokens == token).mean() - probability) < 1e-3
    np.testing.assert_allclose(log_p - log_mass, log_q, atol=1e-9)


def test_padded_tail_is_never_drawn() -> None:
    """Law 5: rows of the output layer past the vocabulary hold huge logits and change nothing."""
    logits = np.zeros((2, 40), np.float32)
    logits[:, 30:] = 50.0
    tokens, *_ = draw(
        sampling, logits, [np.arange(30)] * 2, np.array([0.1, 0.99]), np.full((2, 1), -1)
    )
    assert (tokens < 30).all()
