"""Prompts that are not read twice: the same bits, in bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from constrained_gpt.engine import Engine
from constrained_gpt.prefix_cache import PrefixCache, prompt_key

PROMPT = [3, 1, 4, 1, 5, 9, 2]


@pytest.fixture(params=["float32", "int8"])
def engine(request: pytest.FixtureRequest, saved: Any, tmp_path: Any, monkeypatch: Any) -> Engine:
    monkeypatch.setenv("CONSTRAINED_GPT_CACHE", str(tmp_path))
    folder, _ = saved("llama-gqa-tied")
    return Engine.from_pretrained(folder, device="cpu", dtype=request.param)


def steps(engine: Engine, prompt: list[int], rows: int, seed: int) -> list[np.ndarray]:
    """Logits of the prompt, and of rows that are stepped, dropped and forked."""
    rng = np.random.default_rng(seed)
    cache, logits = engine.prefill(prompt, rows, 6)
    found = [logits]
    for _ in range(3):
        tokens = rng.integers(0, engine.n_vocab, rows)
        found.append(engine.decode_step(cache, tokens))
        cache.select(rng.integers(0, rows, rows))
    order = rng.permutation(engine.n_vocab)[:40].astype(np.int32)
    start, extra = np.arange(rows + 1), rng.integers(0, engine.n_vocab, rows)
    tokens = rng.integers(0, engine.n_vocab, rows)
    found.extend(engine.decode_slice(cache, tokens, order, np.full(rows, 40), start, extra))
    return found


def test_a_prompt_read_before_gives_the_same_bits(engine: Engine) -> None:
    other = [*PROMPT[:-1], 7]
    asked = [(PROMPT, 1, 0), (other, 3, 1), (PROMPT, 5, 2), (PROMPT[:3], 2, 3)]
    anew = []
    for call in asked:
        engine.forget_prompts()
        anew.append(steps(engine, *call))
    engine.forget_prompts()
    for _ in range(2):
        for call, wanted in zip(asked, anew, strict=True):
            for got, right in zip(steps(engine, *call), wanted, strict=True):
                np.testing.assert_array_equal(got, right)
    assert len(engine._prefixes) == 3


@pytest.mark.parametrize("name", ["gpt2", "llama-gqa-tied", "llama-head-dim", "llama-one-kv"])
def test_what_prompts_have_in_common_is_read_once(
    name: str, saved: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the part in common is: the bits of a prompt that is read whole, and of what
    follows it."""
    monkeypatch.setenv("CONSTRAINED_GPT_CACHE", str(tmp_path))
    engine: Any = Engine.from_pretrained(saved(name)[0], device="cpu", dtype="int8")
    rng = np.random.default_rng(11)
    first = rng.integers(0, engine.n_vocab, 50).tolist()
    forward, read = engine._forward, []

    def counted(cache: Any, tokens: np.ndarray, *rest: Any) -> None:
        if rest[-2]:
            read.append(len(tokens))
        forward(cache, tokens, *rest)

    monkeypatch.setattr(engine, "_forward", counted)
    for alike in (0, 1, 16, 37, 49, 50):
        new = first[:alike] + rng.integers(0, engine.n_vocab, 56 - alike).tolist()
        new[alike] = (first[alike] + 1) % engine.n_vocab if alike < 50 else new[alike]
        for prompt, left in ((new, 56 - alike), (first[:alike], 1)):
            if not prompt:
                continue
            engine.forget_prompts()
            wanted = steps(engine, prompt, 4, alike)
            engine.forget_prompts()
            steps(engine, first, 3, 1)
            if prompt == first:
                continue  # it is held as it is
            read.clear()
            for got, right in zip(steps(engine, prompt, 4, alike), wanted, strict=True):
                np.testing.assert_array_equal(got, right)
            assert read == [left]


def test_it_is_not_read_again(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, name = (engine, "_forward") if engine.dtype == "int8" else (engine.model, "prefill")
    read, calls = getattr(reader, name), []

    def counted(*args: Any) -> Any:
        calls.append(args)
        return read(*args)

    monkeypatch.setattr(reader, name, counted)
    first, logits = engine.prefill(PROMPT, 2, 4)
    wanted = logits.copy()
    logits[:] = 0  # what a caller does with them is no matter
    second, again = engine.prefill(PROMPT, 3, 5)
    assert len(calls) == 1
    np.testing.assert_array_equal(again, wanted)
    assert (first.batch, second.batch) == (2, 3)
    assert first.prefix_length == second.prefix_length == len(PROMPT)
    engine.forget_prompts()
    engine.prefill(PROMPT, 2, 4)
    assert len(calls) == 2


def test_wrong_calls_are_refused_for_known_prompts_too(engine: Engine) -> None:
    engine.prefill(PROMPT, 1, 4)
    with pytest.raises(ValueError, match="shorten the prompt"):
        engine.prefill(PROMPT, 1, 10_000)
    with pytest.raises(ValueError, match="batch must be a positive integer"):
        engine.prefill(PROMPT, 0, 4)


def test_a_key_is_ids_and_states() -> None:
    ids, states = np.array([1, 2]), np.array([3, 4])
    keys = {
        prompt_key(ids), prompt_key(states), prompt_key(ids, states), prompt_key(states, ids),
        prompt_key(np.array([1, 2, 3, 4])), prompt_key(ids, states * 0), prompt_key(ids[:0], ids),
    }  # fmt: skip
    assert len(keys) == 7


def test_a_prompt_that_begins_alike_is_found() -> None:
    cache: PrefixCache[str] = PrefixCache()
    logits, none = np.zeros(1, np.float32), np.zeros(5, np.int64)
    ids = np.array([1, 2, 3, 4, 5])
    cache.put(prompt_key(ids[:2]), "two", logits, 1)
    cache.put(prompt_key(ids[:4]), "four", logits, 1)
    cache.put(prompt_key(ids, none), "stands", logits, 1)
    assert cache.begun(prompt_key(ids)) == ("four", 4)
    assert cache.begun(prompt_key(ids[:3])) == ("four", 3)
    assert cache.begun(prompt_key(np.array([1, 2, 9]))) in (("two", 2), ("four", 2))
    assert cache.begun(prompt_key(np.array([9, 2, 3]))) is None
    assert cache.begun(prompt_key(ids, np.array([0, 0, 7, 0, 0]))) == ("stands", 2)
    assert cache.begun(prompt_key(ids, none + 1)) is None


def test_memory_is_bounded() -> None:
    cache: PrefixCache[str] = PrefixCache(prompts=3, n_bytes=1000)
    logits = np.zeros(25, np.float32)  # 100 bytes

    def put(number: int, n_bytes: int) -> None:
        cache.put(bytes([number]), str(number), logits, n_bytes)

    def held() -> set[int]:
        return {n for n in range(10) if cache.get(bytes([n])) is not None}

    for number in range(3):
        put(number, 100)
    assert held() == {0, 1, 2}
    cache.get(bytes([0]))
    put(3, 100)
    assert held() == {0, 2, 3}  # 1 was used longest ago
    put(4, 600)
    assert held() == {3, 4}
    assert cache.nbytes() == 900
    put(5, 2000)
    assert held() == set()  # larger than all there is room for
    put(6, 100)
    put(6, 100)
    assert (held(), cache.nbytes()) == ({6}, 200)
