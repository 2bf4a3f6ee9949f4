"""Rows that begin as others end: the same poems, whatever the width, on every kind of cache."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import toy
from small_models import DEVICE, network

from constrained_gpt.decoding.options import Options
from constrained_gpt.decoding.sampling import sample
from constrained_gpt.gpu_engine import GpuEngine
from constrained_gpt.int8_engine import Int8Engine
from constrained_gpt.kv_cache import KVCache
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lexicon import Form, validate
from constrained_gpt.lexicon.typography import Typography
from constrained_gpt.model_config import GPTConfig
from constrained_gpt.slot_cache import SlotCache, room_for_prefix
from constrained_gpt.torch_engine import TorchEngine

N = 23
TOKENIZER, LEXICON = toy.ToyTokenizer(), toy.lexicon()
FORM = Form(lines=(3, 4, 3), kigo="any", rhyme="identical")
CONFIG = GPTConfig(block_size=96, vocab_size=TOKENIZER.n_vocab + 3, n_layer=2, n_embd=40, n_head=4)
PROMPT = [7, 30, 7, 101, 7]


@pytest.fixture(scope="module")
def lattice() -> Lattice:
    typography = Typography(marks=toy.MARKS[2:], capitals="lower")
    return compile(FORM, LEXICON, TOKENIZER, typography=typography, use_cache=False)


LLAMA = GPTConfig(
    block_size=96, vocab_size=TOKENIZER.n_vocab + 3, n_layer=2, n_embd=40, n_head=4, n_kv_head=2,
    norm="rmsnorm", mlp="swiglu", rope_theta=10000.0,
)  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[
        "int8",
        "float32",
        "float32 rotary",
        "bfloat16",
        "float32 lanes",
        "bfloat16 rotary lanes",
    ],
)
def engine(request: pytest.FixtureRequest) -> Any:
    dtype, *kind = request.param.split()
    checkpoint = network(LLAMA if "rotary" in kind else CONFIG, TOKENIZER)
    if dtype == "int8":
        return Int8Engine.from_checkpoint(checkpoint)
    if "lanes" in kind:
        return GpuEngine.from_checkpoint(checkpoint, device=DEVICE, dtype=getattr(torch, dtype))
    return TorchEngine.from_checkpoint(checkpoint, dtype=getattr(torch, dtype))


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_width_changes_nothing(
    engine: Any, lattice: Lattice, weights: bool, penalty: float
) -> None:
    options = Options(temperature=1.0, min_p=None, repetition_penalty=penalty)

    def paths(rows: int | None) -> list[Any]:
        generators = [np.random.default_rng([7, i]) for i in range(N)]
        return sample(engine, lattice, PROMPT, generators, options, weights=weights, rows=rows)

    wanted = paths(None)
    assert hasattr(engine.prefill(PROMPT, 1, 1)[0], "admit")
    for rows in (1, 2, 5, 22, 40):
        got = paths(rows)
        assert [p.tokens for p in got] == [p.tokens for p in wanted]
        np.testing.assert_array_equal([p.log_q for p in got], [p.log_q for p in wanted])
        np.testing.assert_array_equal([p.weight for p in got], [p.weight for p in wanted])
        assert [p.log_mass for p in got] == [p.log_mass for p in wanted]
    assert len({len(p.tokens) for p in wanted}) > 1  # poems end at different steps
    for path in wanted:
        text = TOKENIZER.decode(path.tokens[:-1])
        assert validate(text, FORM, policy="all", lexicon=LEXICON).valid


def test_on_token_hears_every_poem(engine: Any, lattice: Lattice) -> None:
    heard: dict[int, list[int]] = {}

    def note(poem: int, tokens: list[int], lines: int) -> None:
        heard[poem] = list(tokens)

    generators = [np.random.default_rng([3, i]) for i in range(7)]
    paths = sample(
        engine, lattice, PROMPT, generators, Options(temperature=1.0), on_token=note, rows=3
    )
    assert heard == dict(enumerate(p.tokens for p in paths))


def test_slots_are_used_again() -> None:
    cache = SlotCache(room_for_prefix(2, 1, 16, 3), 4, 6)
    assert cache.part(np.arange(4))[0].tolist() == [0, 1, 2, 3]
    cache.advance()
    cache.select(np.array([1, 3]))
    cache.admit(2)
    assert cache.part(np.array([0, 0, 0, 7]))[1].tolist() == [0, 1, 2, 3]
    assert sorted(cache.slots) == [0, 1, 2, 3] and cache.lengths.tolist() == [1, 1, 0, 0]
    cache.admit(1)  # no slot is left
    assert len(set(cache.slots.tolist())) == 5 and cache.batch == 5
    assert cache.arrays.tail_k.shape[1] == 5
    cache.part(np.zeros(5, np.int64))
    cache.advance()
    assert cache.length == 2 and cache.lengths.tolist() == [2, 2, 1, 1, 1]


def test_tails_stay_with_their_rows() -> None:
    """`KVCache` against rows of lists."""
    rng = np.random.default_rng(5)
    prefix = torch.randn(2, 3, 4, 8)
    cache, rows = KVCache(prefix, prefix, 3, 20), [[], [], []]
    for step in range(20):
        if step % 3 == 1:
            parents = rng.integers(0, len(rows), rng.integers(1, 6))
            cache.select(parents)
            rows = [list(rows[i]) for i in parents]
        if step % 4 == 2:
            cache.admit(2)
            rows += [[], []]
        assert cache.batch == len(rows) and cache.lengths.tolist() == [len(r) for r in rows]
        assert cache.positions.tolist() == [4 + len(r) for r in rows]
        assert len(set(cache.slots.tolist())) == len(rows)
        keys = torch.randn(2, len(rows), 3, 8)
        for layer in range(2):
            cache.append(layer, keys[layer], -keys[layer])
        cache.advance()
        for i, row in enumerate(rows):
            row.append(keys[:, i])
        n = cache.length
        for layer in range(2):
            k, v = cache.tails(layer, n)
            for i, row in enumerate(rows):
                wanted = torch.stack([key[layer] for key in row], dim=1)  # (KV, length, d)
                assert torch.equal(k[i, :, : len(row)], wanted)
                assert torch.equal(v[i, :, : len(row)], -wanted)
    assert cache.nbytes() == 2 * 4 * (prefix.numel() + cache.tail_k.numel())


def test_rows_alike_share_a_slot_until_they_part() -> None:
    cache = SlotCache(room_for_prefix(2, 1, 16, 3), 5, 6)
    first, of = cache.part(np.array([4, 4, 9, 4, 0]))
    assert first.tolist() == [0, 2, 4] and of.tolist() == [0, 0, 1, 0, 2]
    tails = cache.arrays.tail_k
    for row in first.tolist():
        tails[:, cache.slots[row], :, 0] = row + 1
    cache.advance()
    cache.select(np.array([2, 1, 0, 3, 2]))
    first, of = cache.part(np.array([1, 1, 2, 1, 1]))  # rows 1 and 3 are alike, and 0 and 4
    assert first.tolist() == [0, 1, 2] and of.tolist() == [0, 1, 2, 1, 0]
    assert len(set(cache.slots.tolist())) == 3
    assert tails[0, cache.slots, 0, 0, 0].tolist() == [3, 1, 1, 1, 3]
    cache.advance()
    cache.select(first)
    assert cache.part(np.zeros(3, np.int64))[0].tolist() == [0, 1, 2]
