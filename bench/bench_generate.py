"""What writing costs: masks, model steps, poems.

Each bench proves its result against a reference, then times it. Collected by run.py under
pytest-benchmark; with --benchmark-disable it proves over small work and times nothing.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from constrained_gpt import Engine, Haiku, Lexicon, generate, prompts, validate
from constrained_gpt.lattice import Lattice, compile

PROMPT, SEED = "autumn rain", 1


@lru_cache(maxsize=1)
def engine() -> Engine:
    return Engine.from_pretrained("smollm2", device="cpu")


@lru_cache(maxsize=4)
def poems(n: int, batch_size: int | None = None) -> tuple[Haiku, ...]:
    return tuple(generate(PROMPT, n, model=engine(), seed=SEED, batch_size=batch_size))


def lattice_and_paths(n: int) -> tuple[Lattice, list[tuple[int, ...]]]:
    """The lattice that `poems(n)` were written with, and their paths through it."""
    written = poems(n)
    form = written[0].report.form
    tokenizer = engine().tokenizer
    end = prompts.build(tokenizer, PROMPT, form).end
    lattice = compile(form, Lexicon.default(), tokenizer, policy="all", end=end)
    return lattice, [(*poem.tokens, end) for poem in written]


def masks(lattice: Lattice, paths: list[tuple[int, ...]]) -> list[np.ndarray]:
    """The allowed tokens before every token of every path."""
    found = []
    for path in paths:
        state = lattice.start()
        for token in path:
            found.append(lattice.allowed(state[0]))
            lattice.advance(state, np.array([token]))
    return found


def test_mask(benchmark: BenchmarkFixture) -> None:
    lattice, paths = lattice_and_paths(4)
    first = masks(lattice, paths)  # computed; from now on they come from the lattice's caches
    chosen = [token for path in paths for token in path]
    assert all(token in allowed for token, allowed in zip(chosen, first, strict=True))
    result = benchmark.pedantic(masks, (lattice, paths), rounds=30, warmup_rounds=1)
    assert all((a == b).all() for a, b in zip(result, first, strict=True))
    benchmark.extra_info.update(
        name="mask and step of the lattice, states seen before",
        unit="µs/token", work=len(chosen), rate=False, scale=1e6,
    )  # fmt: skip


@pytest.mark.parametrize("rows", [1, 8, 32])
def test_model_step(benchmark: BenchmarkFixture, rows: int) -> None:
    model, steps = engine(), 4 if benchmark.disabled else 16
    prompt = model.tokenizer.encode("Write a haiku about autumn rain.")
    token = model.tokenizer.encode(" rain")[0]

    def run(batch: int) -> np.ndarray:
        model.forget_prompts()
        cache, _ = model.prefill(prompt, batch, steps)
        for _ in range(steps):
            logits = model.decode_step(cache, np.full(batch, token))
        return logits[0]  # (n_vocab,)

    alone = run(1)
    result = benchmark.pedantic(run, (rows,), rounds=10, warmup_rounds=1)
    assert (result == alone).all(), "a row depends on the rows beside it"
    benchmark.extra_info.update(
        name=f"model alone, {rows} {'row' if rows == 1 else 'rows'}",
        unit="tokens/s", work=rows * steps, rate=True,
    )  # fmt: skip


@pytest.mark.parametrize("rows", [1, 32])
def test_write(benchmark: BenchmarkFixture, rows: int) -> None:
    n = 2 if benchmark.disabled else rows
    reference = [poem.text for poem in poems(n, batch_size=1)]
    assert all(validate(text, policy="all").valid for text in reference)

    def run() -> list[Haiku]:
        engine().forget_prompts()  # a prompt that comes again is not read again
        return generate(PROMPT, n, model=engine(), seed=SEED, batch_size=rows)

    written = benchmark.pedantic(run, rounds=10 if rows == 1 else 3, warmup_rounds=1)
    assert [poem.text for poem in written] == reference, "the batch size changes the poems"
    benchmark.extra_info.update(
        name=f"haiku, {'one at a time' if rows == 1 else f'{rows} side by side'}",
        unit="haiku/s", work=n, rate=True,
    )  # fmt: skip
