"""Some logits are those of all, to the bit: the torch engine's slices, forks and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_models import DEVICE, network

from constrained_gpt.gpu_engine import GpuEngine
from constrained_gpt.int8_engine import Int8Engine
from constrained_gpt.kernels import reference
from constrained_gpt.kernels.log_norm import log_sum_exp, sequence
from constrained_gpt.model import GPTConfig
from constrained_gpt.torch_engine import _BLOCK, TorchEngine

VOCAB = 2 * _BLOCK + 905
CONFIG = GPTConfig(
    block_size=64, vocab_size=VOCAB, n_layer=2, n_head=3, n_embd=48, n_kv_head=1, norm="rmsnorm",
    mlp="swiglu", rope_theta=1e4, n_inner=72, bias=False,
)  # fmt: skip
PROMPT = [5, 3, VOCAB - 1]


@pytest.fixture(
    scope="module", params=["float32", "bfloat16", "int8", "lanes float32", "lanes bfloat16"]
)
def engine(request: pytest.FixtureRequest) -> Any:
    checkpoint = network(CONFIG)
    if request.param == "int8":
        return Int8Engine.from_checkpoint(checkpoint)
    *lanes, dtype = request.param.split()
    if lanes:
        return GpuEngine.from_checkpoint(checkpoint, device=DEVICE, dtype=getattr(torch, dtype))
    return TorchEngine.from_checkpoint(checkpoint, dtype=getattr(torch, dtype))


def asked(
    rng: np.random.Generator, rows: int, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prefixes of every kind, and extras of every number, with repetitions."""
    prefix = rng.integers(0, len(order) + 1, rows)
    prefix[rng.random(rows) < 0.3] = 0
    start = np.concatenate([[0], np.cumsum(rng.integers(0, 40, rows))])
    return prefix, start, rng.integers(0, VOCAB, start[-1])


@pytest.mark.parametrize("size", [1, 70, _BLOCK, VOCAB])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_slices_are_the_whole_to_the_bit(engine: Any, rows: int, size: int) -> None:
    rng = np.random.default_rng(rows + size)
    order = rng.permutation(VOCAB)[:size].astype(np.int32)
    whole_cache, _ = engine.prefill(PROMPT, rows, 3)
    slice_cache, _ = engine.prefill(PROMPT, rows, 3)
    for step in range(3):
        tokens = rng.integers(0, VOCAB, rows)
        whole = engine.decode_step(whole_cache, tokens)
        prefix, start, extra = asked(rng, rows, order)
        if step == 1:
            prefix[:] = 0
        part, single = engine.decode_slice(slice_cache, tokens, order, prefix, start, extra)
        for row, many in enumerate(prefix):
            np.testing.assert_array_equal(part[row, :many], whole[row, order[:many]])
        owner = np.repeat(np.arange(rows), np.diff(start))
        np.testing.assert_array_equal(single, whole[owner, extra])


def test_where_blocks_differ_all_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor whose products of blocks are other numbers."""
    engine = TorchEngine.from_checkpoint(network(CONFIG))
    monkeypatch.setattr(TorchEngine, "_agree", lambda self, order: False)
    test_slices_are_the_whole_to_the_bit(engine, 7, 70)


def test_forks_and_drops(engine: Any) -> None:
    """Any selection of rows goes on as a row of its own history would, to the bit."""
    rng = np.random.default_rng(2)
    cache, _ = engine.prefill(PROMPT, 3, 9)
    histories: list[list[int]] = [[], [], []]
    for parents in ([2, 2, 0, 1, 0], [4, 1, 1], [0], [0] * 9, [8, 3], [1, 0], [0, 1, 1, 0]):
        cache.select(np.array(parents))
        histories = [list(histories[p]) for p in parents]
        tokens = rng.integers(0, VOCAB, len(parents))
        for history, token in zip(histories, tokens.tolist(), strict=True):
            history.append(token)
        logits = engine.decode_step(cache, tokens)
    for row, history in enumerate(histories):
        alone, _ = engine.prefill(PROMPT, 1, 9)
        for token in history:
            wanted = engine.decode_step(alone, np.array([token]))[0]
        np.testing.assert_array_equal(logits[row], wanted)


@pytest.mark.parametrize("size", [0, 70, VOCAB])
def test_norms_are_those_of_all_logits(engine: Any, size: int) -> None:
    """On bytes to the bit, whatever is asked for beside them and in whatever company, rows alike in it."""
    if not hasattr(engine, "decode_weighed"):
        pytest.skip("sums no logits that it does not write out")
    rng = np.random.default_rng(size)
    order = rng.permutation(VOCAB)[:size].astype(np.int32)
    every = sequence(order, VOCAB)
    assert sorted(every) == list(range(VOCAB)) and (every[:size] == order).all()
    rows = 24
    whole_cache, _ = engine.prefill(PROMPT, rows, 4)
    part_cache, _ = engine.prefill(PROMPT, rows, 4)
    for _ in range(3):
        tokens = rng.integers(0, 4, rows)  # few: some rows stay alike
        whole = engine.decode_step(whole_cache, tokens)
        prefix, start, extra = asked(rng, rows, order)
        part, single, norms = engine.decode_weighed(part_cache, tokens, order, prefix, start, extra)
        for row, many in enumerate(prefix):
            np.testing.assert_array_equal(part[row, :many], whole[row, order[:many]])
            if isinstance(engine, Int8Engine):
                assert norms[row] == log_sum_exp(np.ascontiguousarray(whole[row, every]))
            assert norms[row] == pytest.approx(reference.log_sum_exp(whole[row]), abs=1e-5)
        np.testing.assert_array_equal(
            single, whole[np.repeat(np.arange(rows), np.diff(start)), extra]
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": [VOCAB]}, "token ids must lie in"),
        ({"order": [-1]}, "token ids must lie in"),
        ({"order": [0.5]}, "order must be integers"),
        ({"order": [[1, 2]]}, "order must be integers"),
        ({"prefix": [1, 4]}, r"prefix must lie in 0\.\.3"),
        ({"prefix": [-1, 1]}, "prefix must lie in"),
        ({"prefix": [1]}, "prefix must be 2 integers"),
        ({"extra_start": [0, 2]}, "extra_start must be 3 integers"),
        ({"extra_start": [0, 2, 1]}, "ascend"),
        ({"extra_start": [0, 3, 2]}, "ascend"),
        ({"extra_start": [1, 1, 2]}, "ascend"),
        ({"extra_token": [1, VOCAB]}, "token ids must lie in"),
        ({"extra_token": [1, -2]}, "token ids must lie in"),
        ({"extra_token": ["a", "b"]}, "extra_token must be integers"),
        ({"tokens": [1, VOCAB]}, "token ids must lie in"),
        ({"tokens": []}, "2 integers"),
    ],
)
def test_what_a_slice_is_asked_is_checked(
    engine: Any, changes: dict[str, Any], message: str
) -> None:
    """What would read past an array is refused, in one line, and the cache is as it was."""
    cache, _ = engine.prefill(PROMPT, 2, 2)
    right: dict[str, Any] = {
        "tokens": [1, 2], "order": [4, 0, 9], "prefix": [3, 0], "extra_start": [0, 1, 2],
        "extra_token": [7, 7],
    }  # fmt: skip
    arguments = {name: np.array(value) for name, value in (right | changes).items()}
    with pytest.raises(ValueError, match=message) as caught:
        engine.decode_slice(cache, *arguments.values())
    assert "\n" not in str(caught.value)
    assert cache.length == 0
    engine.decode_slice(cache, *(np.array(value) for value in right.values()))
    assert cache.length == 1


def test_a_cache_of_another_model_is_refused(engine: Any) -> None:
    """Its arrays have other sizes: nothing may be read or written there."""
    other = type(engine).from_checkpoint(
        network(GPTConfig(block_size=64, vocab_size=VOCAB, n_layer=3, n_head=1, n_embd=16))
    )
    cache, _ = other.prefill(PROMPT, 2, 2)
    with pytest.raises(ValueError, match="prefill with this engine"):
        engine.decode_step(cache, np.array([1, 2]))
    if type(engine) is TorchEngine:
        return  # a twin's cache has the same sizes
    cache = TorchEngine.from_checkpoint(network(CONFIG)).prefill(PROMPT, 2, 2)[0]
    with pytest.raises(ValueError, match="prefill with this engine"):
        engine.decode_step(cache, np.array([1, 2]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 1, 1), "non-empty"),
        (([0.5], 1, 1), "non-empty"),
        (([[1]], 1, 1), "non-empty"),
        (([-1], 1, 1), "token ids"),
        (([10**20], 1, 1), "non-empty"),
        (([1], 0, 1), "batch must be a positive integer"),
        (([1], -1, 1), "batch must be a positive integer"),
        (([1], 1.0, 1), "batch must be a positive integer"),
        (([1], True, 1), "batch must be a positive integer"),
        (([1], 1, 0), "max_new must be a positive integer"),
        (([1], 1, "9"), "max_new must be a positive integer"),
        (([1], 1, 10**9), "shorten the prompt"),
        (([1] * 64, 1, 1), "shorten the prompt"),
        (([1] * 10**6, 1, 1), "shorten the prompt"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_what_prefill_is_asked_is_checked(
    engine: Any, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        engine.prefill(*arguments)
    assert "\n" not in str(caught.value)
