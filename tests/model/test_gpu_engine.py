"""The engine in steps of fixed shape: its numbers, its lanes, and on a GPU its graphs.

Without a GPU the same step runs on the processor. The laws are in `test_laws_paths`.
"""

from __future__ import annotations

import gc
import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_models import DEVICE, network

from constrained_gpt import Engine, generate
from constrained_gpt.engine import INT8
from constrained_gpt.gpu_engine import GpuEngine
from constrained_gpt.lanes import FEW, KEPT, POSITIONS, TILE, LanePool, Lanes
from constrained_gpt.lexicon import HAIKU, validate
from constrained_gpt.model_config import GPTConfig
from constrained_gpt.torch_engine import TorchEngine

GPT2 = GPTConfig(block_size=64, vocab_size=400, n_layer=2, n_head=4, n_embd=32)
ODD = replace(GPT2, n_head=3, n_embd=33)  # heads of eleven
LLAMA = replace(
    GPT2, n_kv_head=2, n_inner=40, norm="rmsnorm", mlp="swiglu", rope_theta=1e4, bias=False,
    tied=False,
)  # fmt: skip
PROMPT = [5, 3, 399]
on_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")


@pytest.fixture(params=[GPT2, ODD, LLAMA], ids=["gpt2", "odd", "llama"])
def pair(request: pytest.FixtureRequest) -> tuple[GpuEngine, TorchEngine]:
    checkpoint = network(request.param)
    return GpuEngine.from_checkpoint(checkpoint, device=DEVICE), TorchEngine.from_checkpoint(
        checkpoint
    )


@pytest.mark.parametrize("rows", [1, FEW, FEW + 1, TILE + 1])
def test_logits_are_those_of_the_engine_launch_by_launch(pair: Any, rows: int) -> None:
    rng = np.random.default_rng(rows)
    caches = []
    for engine in pair:
        cache, first = engine.prefill(PROMPT, rows, 12)
        caches.append((cache, first))
    np.testing.assert_allclose(caches[0][1], caches[1][1], atol=2e-4)
    for _ in range(12):
        tokens = rng.integers(0, 400, rows)
        got, wanted = (e.decode_step(c, tokens) for e, (c, _) in zip(pair, caches, strict=True))
        np.testing.assert_allclose(got, wanted, atol=2e-4)


def test_rows_that_begin_late_find_the_prompt(pair: Any) -> None:
    """What lanes without a row write meanwhile must not lie where a prompt does."""
    engine = pair[0]
    rng = np.random.default_rng(0)
    late, _ = engine.prefill(PROMPT, 2, 9)
    for _ in range(3):
        engine.decode_step(late, rng.integers(0, 400, 2))
    late.select(np.array([1]))
    late.admit(FEW)  # lanes that were never used, one that was, and more than there were
    alone, _ = engine.prefill(PROMPT, 1, 9)
    got = engine.decode_step(late, np.full(FEW + 1, 7))
    wanted = engine.decode_step(alone, np.array([7]))[0]
    for row in got[1:]:
        np.testing.assert_array_equal(row, wanted)
    assert not (got[0] == wanted).all()


def test_lanes_are_taken_by_one_cache_at_a_time_and_used_again(pair: Any) -> None:
    engine = pair[0]
    one, _ = engine.prefill(PROMPT, 2, 9)
    other, _ = engine.prefill(PROMPT, 2, 9)
    assert one.lanes is not other.lanes
    was = one.lanes
    engine.decode_step(one, np.array([1, 2]))
    del one
    gc.collect()
    again, _ = engine.prefill([*PROMPT, 9], 3, 4)
    assert again.lanes is was
    fresh, _ = pair[1].prefill([*PROMPT, 9], 3, 4)
    tokens = np.array([4, 5, 6])
    np.testing.assert_allclose(
        engine.decode_step(again, tokens), pair[1].decode_step(fresh, tokens), atol=2e-4
    )


def test_a_pool_keeps_few_lanes_of_fitting_size() -> None:
    pool = LanePool(GpuEngine.from_checkpoint(network(GPT2), device=DEVICE).model)
    with torch.inference_mode():
        made = [pool.take(rows, positions) for rows, positions in ((1, 1), (8, 32), (9, 33))]
    assert [(lanes.size, lanes.room) for lanes in made] == [
        (FEW, POSITIONS), (FEW, POSITIONS), (TILE, 2 * POSITIONS),
    ]  # fmt: skip
    assert pool.take(TILE + 1, 10**6).room == GPT2.block_size  # the engine refuses what is longer
    for lanes in made:
        pool.give_back(lanes)
    assert pool.take(3, 3) is made[1] and pool.take(3, 3) is made[0]
    with torch.inference_mode():
        more = [pool.take(1, 1) for _ in range(KEPT)]
    for lanes in more:
        pool.give_back(lanes)
    assert pool.take(64, 64) is not made[2]  # which had waited longest


def test_caches_may_be_collected_while_lanes_are_taken(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collection calls back in whatever thread allocates, here in the one that takes."""
    engine = pair[0]

    def cyclic() -> None:
        cache, _ = engine.prefill(PROMPT, 1, 3)
        cache.itself = cache

    made = Lanes.__init__

    def collecting(self: Lanes, *args: Any) -> None:
        gc.collect()
        made(self, *args)

    monkeypatch.setattr(Lanes, "__init__", collecting)
    gc.disable()
    try:
        for _ in range(KEPT + 2):
            cyclic()
        engine.prefill(PROMPT, 1, 3)
    finally:
        gc.enable()


def test_what_is_no_number_is_not_left_behind(pair: Any) -> None:
    """An overflow of float16, say: neither for who takes the lanes next nor for rows that begin."""
    engine = pair[0]
    wanted, _ = engine.prefill(PROMPT, 1, 9)
    expected = engine.decode_step(wanted, np.array([7]))
    cache, _ = engine.prefill(PROMPT, 2, 9)
    engine.decode_step(cache, np.array([1, 2]))
    with torch.inference_mode():
        cache.tail_k.fill_(math.nan)
        cache.tail_v.fill_(math.nan)
    cache.select(np.array([1]))
    cache.admit(1)
    got = engine.decode_step(cache, np.array([7, 7]))
    assert np.isnan(got[0]).all()
    np.testing.assert_array_equal(got[1], expected[0])
    lanes = cache.lanes
    del cache
    gc.collect()
    again, _ = engine.prefill(PROMPT, 1, 9)
    assert again.lanes is lanes
    np.testing.assert_array_equal(engine.decode_step(again, np.array([7])), expected)


def test_threads_that_need_more_lanes_do_not_meet(pair: Any) -> None:
    engine = pair[0]
    found: dict[int, Any] = {}

    def write(number: int) -> None:
        cache, _ = engine.prefill(PROMPT, 1, 9)
        for step, rows in enumerate((1, FEW + 1, TILE + 1, 2)):
            cache.select(np.arange(rows) % cache.batch)
            found[number] = engine.decode_step(cache, np.full(rows, number + step))[0]

    for number in range(4):
        write(number)
    alone = dict(found)
    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        np.testing.assert_array_equal(found[number], alone[number])


@pytest.mark.parametrize("which", [0, 1])
def test_a_cache_of_another_engine_is_refused(pair: Any, which: int) -> None:
    cache, _ = pair[1 - which].prefill(PROMPT, 1, 3)
    with pytest.raises(ValueError, match="prefill with this engine"):
        pair[which].decode_step(cache, np.array([1]))


def test_the_last_position_there_is_can_be_read(pair: Any) -> None:
    engine, twin = pair
    prompt = list(range(60))
    (cache, _), (slow, _) = engine.prefill(prompt, 1, 4), twin.prefill(prompt, 1, 4)
    for token in range(4):
        got = engine.decode_step(cache, np.array([token]))
        np.testing.assert_allclose(got, twin.decode_step(slow, np.array([token])), atol=2e-4)
    with pytest.raises(ValueError, match="larger max_new"):
        engine.decode_step(cache, np.array([1]))


def test_a_token_that_is_refused_costs_no_position(pair: Any) -> None:
    engine = pair[0]
    cache, _ = engine.prefill(PROMPT, 1, 2)
    for wrong in ([400], [-1], [1, 2], [0.5]):
        with pytest.raises(ValueError):
            engine.decode_step(cache, np.array(wrong))
    engine.decode_step(cache, np.array([1]))
    engine.decode_step(cache, np.array([1]))


@on_gpu
def test_a_step_is_one_graph() -> None:
    engine = GpuEngine.from_checkpoint(network(GPT2), device=DEVICE)
    cache, _ = engine.prefill(PROMPT, 1, 4)
    assert isinstance(cache.lanes._graph, torch.cuda.CUDAGraph)


@on_gpu
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16", "float16"])
def test_haiku_on_a_gpu(dtype: str) -> None:
    """The model that comes with the package: poems in form, the same at every batch size."""
    engine = Engine.from_pretrained("haiku-nano", dtype=dtype)
    assert isinstance(engine, GpuEngine) and engine.device.type == "cuda"
    poems = [
        generate("autumn rain", 9, model=engine, season="autumn", seed=3, batch_size=size)
        for size in (9, 2, None)
    ]
    assert len({tuple(p.text for p in batch) for batch in poems}) == 1
    for poem in poems[0]:
        assert poem.report.valid and validate(poem.text, HAIKU, policy="all").valid


@on_gpu
def test_bytes_stay_on_the_processor() -> None:
    with pytest.raises(ValueError, match="runs on a processor"):
        Engine.from_pretrained("haiku-nano", device="cuda", dtype=INT8)
