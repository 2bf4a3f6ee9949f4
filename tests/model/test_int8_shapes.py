"""The engine on bytes in odd shapes, and with damaged weights: nothing divides anything here."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from small_models import network

from constrained_gpt.checkpoint_common import Checkpoint
from constrained_gpt.engine import Engine
from constrained_gpt.int8_engine import Int8Engine
from constrained_gpt.kernels import reference_decoder
from constrained_gpt.model import GPTConfig
from constrained_gpt.torch_engine import TorchEngine

SHAPES: dict[str, dict[str, Any]] = {
    "one-of-everything": {"n_layer": 1, "n_head": 1, "n_embd": 1, "vocab_size": 2, "n_inner": 1},
    "one-head-of-33": {"n_layer": 1, "n_head": 1, "n_embd": 33},
    "heads-of-5": {"n_head": 7, "n_embd": 35},
    "heads-of-17-and-one-for-all": {"n_head": 3, "n_kv_head": 1, "n_embd": 51},
    "heads-wider-than-the-model": {"n_head": 2, "n_kv_head": 1, "head_dim": 70, "n_embd": 20},
    "heads-narrower": {"n_head": 3, "head_dim": 2, "n_embd": 130},
    "even-and-large": {"n_head": 2, "n_embd": 128, "n_inner": 256, "vocab_size": 128},
    "one-past-a-panel": {"n_head": 5, "n_embd": 65, "n_inner": 129, "vocab_size": 193},
    "groups-of-three": {"n_head": 6, "n_kv_head": 2, "n_embd": 66, "n_inner": 31},
}
KINDS: list[dict[str, Any]] = [
    {"norm": norm, "mlp": mlp, "rope_theta": rope, "bias": bias, "tied": tied}
    for norm, mlp, rope, bias, tied in [
        ("layernorm", "gelu", None, True, True),
        ("layernorm", "gelu_tanh", None, False, False),
        ("rmsnorm", "swiglu", 1e4, False, True),
        ("layernorm", "swiglu", 100.0, True, False),
        ("rmsnorm", "gelu", None, False, True),
        ("rmsnorm", "gelu_tanh", 500.0, False, False),
    ]
]


def config_of(shape: str, kind: dict[str, Any]) -> GPTConfig:
    sizes = {"block_size": 40, "vocab_size": 77, "n_layer": 2, **SHAPES[shape]}
    width = sizes.get("head_dim") or sizes["n_embd"] // sizes["n_head"]
    if kind["rope_theta"] is not None and width % 2:  # rotary positions turn pairs
        sizes["head_dim"] = width + 1
    return GPTConfig(**{**sizes, **kind})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k['norm']}-{k['mlp']}-{k['rope_theta']}")
def test_any_shape_is_its_slow_twin(shape: str, kind: dict[str, Any]) -> None:
    """Logits after a prompt of every length up to a block of lanes and over, and step by step."""
    checkpoint = network(config_of(shape, kind))
    engine = Int8Engine.from_checkpoint(checkpoint)
    model, vocab = engine.model, engine.n_vocab
    ids = np.random.default_rng(1).integers(0, vocab, 37).tolist()
    hidden = reference_decoder.hidden(model.shape, model.weights, np.array(ids))
    wanted = reference_decoder.logits(hidden, model.head, model.head_scales)[:, :vocab]
    largest = max(np.abs(wanted).max(), 1e-6)  # one channel, its mean taken off: all are 0
    got = []
    for cut in (1, 15, 16, 17, 33, 36):
        cache, logits = engine.prefill(ids[:cut], 2, len(ids) - cut)
        rows = [logits]
        rows += [engine.decode_step(cache, np.array([t, t]))[1] for t in ids[cut:]]
        got.append(np.abs(np.stack(rows) - wanted[cut - 1 :]) / largest)
    # a sum rounded otherwise may tip a byte, worth a part in 4,000
    errors = np.concatenate(got)
    assert errors.max() < 3e-2
    assert np.median(errors) < 2e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_keeps_its_rows(shape: str) -> None:
    """Law 6 to the bit, in any company and number of threads; and slices."""
    for kind in KINDS[1:3]:
        checkpoint = network(config_of(shape, kind))
        results = []
        for rows, threads in itertools.product((1, 9, 17), (1, 2)):
            engine = Int8Engine.from_checkpoint(checkpoint, threads=threads)
            vocab = engine.n_vocab
            cache, first = engine.prefill([1, 0, 1], rows, 4)
            out = [first]
            rng = np.random.default_rng(rows)
            order = np.random.default_rng(4).permutation(vocab).astype(np.int32)
            for token in (1, 0, 1):
                tokens = rng.integers(0, vocab, rows)
                tokens[rows // 2] = token
                part, single = engine.decode_slice(
                    cache, tokens, order, np.full(rows, vocab), np.arange(rows + 1),
                    np.full(rows, vocab - 1),
                )  # fmt: skip
                mine = np.empty(vocab, np.float32)
                mine[order] = part[rows // 2, :vocab]
                assert mine[-1] == single[rows // 2]
                out.append(mine)
            results.append(np.stack(out))
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])


def test_a_layer_too_wide_is_said() -> None:
    config = GPTConfig(block_size=4, vocab_size=4, n_layer=1, n_head=1, n_embd=4, n_inner=9000)
    with pytest.raises(ValueError, match="too many for int8; use dtype='bfloat16'"):
        Int8Engine.from_checkpoint(network(config))


CONFIG = GPTConfig(block_size=20, vocab_size=30, n_layer=1, n_head=1, n_embd=8)


def damaged(name: str, value: float) -> Checkpoint:
    good = network(CONFIG)
    state = {n: t.copy() for n, t in good.arrays.items()}
    state[name].reshape(-1)[3] = value
    if name == "transformer.wte.weight":
        state["lm_head.weight"] = state[name]
    return Checkpoint(good.config, state, good.tokenizer, good.name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", sorted(network(CONFIG).arrays))
def test_a_weight_that_is_no_number_is_named(name: str, value: float) -> None:
    if name == "lm_head.weight":
        pytest.skip("tied: never read")
    for engine in (Int8Engine, TorchEngine):
        with pytest.raises(ValueError, match="not finite") as caught:
            engine.from_checkpoint(damaged(name, value))
        assert name in str(caught.value)
        assert "fetch it again" in str(caught.value)


@pytest.mark.parametrize("value", [0.0, 1e-42, 1e30])
def test_weights_of_any_size_are_quantised(value: float) -> None:
    """A column of zeros or of the smallest numbers is zeros; a huge weight is only a large one."""
    good = network(CONFIG)
    state = {n: t.copy() for n, t in good.arrays.items()}
    state["transformer.h.0.mlp.c_fc.weight"][2] = value
    engine = Int8Engine.from_checkpoint(Checkpoint(CONFIG, state, good.tokenizer, "odd"))
    exact = TorchEngine.from_checkpoint(Checkpoint(CONFIG, state, good.tokenizer, "odd"))
    for made in (engine, exact):
        cache, logits = made.prefill([1, 2], 1, 2)
        assert np.isfinite(logits).all()
        assert np.isfinite(made.decode_step(cache, np.array([3]))).all()


@pytest.mark.parametrize("dtype", ["int4", "INT8", "", "float64", None, 8, torch.float32, ["int8"]])
def test_a_precision_that_is_none_is_named(dtype: Any, tmp_path: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="dtype must be one of float32, ") as caught:
        Engine.from_pretrained(tmp_path, dtype=dtype)
    assert "\n" not in str(caught.value)
