"""Logits equal transformers' on the same weights, read by the project's own code."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import MODELS

from constrained_gpt.checkpoint import load
from constrained_gpt.checkpoint_common import expected_shapes
from constrained_gpt.engine import Engine
from constrained_gpt.model import GPT, GPTConfig

TEXT = "An old silent pond, a frog jumps into the pond: splash! Silence again. 1686\n"


@torch.no_grad()
def theirs(model: Any, ids: list[int]) -> np.ndarray:
    return model(torch.tensor([ids])).logits[0].float().numpy()  # type: ignore[no-any-return]


@torch.no_grad()
def plain(path: str | Path, ids: list[int]) -> np.ndarray:
    """Logits of every position by the module alone, without an engine."""
    checkpoint = load(path)
    model = GPT(checkpoint.config).eval()
    model.load_state_dict(dict(checkpoint.state_dict))
    return model(torch.tensor([ids]))[0].numpy()  # type: ignore[no-any-return]


def engine_logits(engine: Engine, ids: list[int], cut: int) -> np.ndarray:
    """Logits of positions cut-1 .. end, the first from prefill, the others step by step."""
    cache, first = engine.prefill(ids[:cut], 1, len(ids) - cut)
    rows = [first] + [engine.decode_step(cache, np.array([i]))[0] for i in ids[cut:]]
    return np.stack(rows)


@pytest.mark.parametrize("name", MODELS)
def test_expected_shapes_are_those_of_the_module(
    name: str, saved: Callable[[str], tuple[Path, Any]]
) -> None:
    config = load(saved(name)[0]).config
    for bias in (False, True):
        for tied in (False, True):
            changed = dataclasses.replace(config, bias=bias, tied=tied)
            with torch.device("meta"):
                state = GPT(changed).state_dict()
            wanted = {n: tuple(t.shape) for n, t in state.items()}
            if tied:
                del wanted["lm_head.weight"]
            assert expected_shapes(changed) == wanted


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_other_types(
    dtype: torch.dtype, tmp_path: Path, saved: Callable[[str], tuple[Path, Any]]
) -> None:
    folder, _ = saved("llama-gqa-tied")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    tensors = {n: t.to(dtype) for n, t in load_file(folder / "model.safetensors").items()}
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    exact, got = load(folder).arrays, load(tmp_path).arrays
    assert {array.dtype for array in got.values()} == {np.dtype(np.float32)}
    for name, array in exact.items():
        wanted = torch.from_numpy(array).to(dtype).float().numpy()
        np.testing.assert_array_equal(got[name], wanted)


@pytest.mark.parametrize("name", MODELS)
def test_random_models(name: str, saved: Callable[[str], tuple[Path, Any]]) -> None:
    folder, model = saved(name)
    ids = np.random.default_rng(3).integers(0, 300, 40).tolist()
    expected = theirs(model, ids)
    np.testing.assert_allclose(plain(folder, ids), expected, atol=1e-4, rtol=1e-4)
    engine = Engine.from_pretrained(folder, device="cpu")
    for cut in (1, 7, 39):
        got = engine_logits(engine, ids, cut)
        np.testing.assert_allclose(got, expected[cut - 1 :], atol=1e-4, rtol=1e-4)
        assert (got.argmax(1) == expected[cut - 1 :].argmax(1)).all()


def test_sharded_weights(tmp_path: Path, saved: Callable[[str], tuple[Path, Any]]) -> None:
    folder, model = saved("llama-gqa-untied")
    for name in ("config.json", "vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({n: tensors[n] for n in part}, tmp_path / shard)
    weight_map = {n: shard for shard, part in shards.items() for n in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    ids = [5, 9, 200, 31]
    np.testing.assert_allclose(plain(tmp_path, ids), theirs(model, ids), atol=1e-4)


@pytest.mark.weights
def test_smollm2_equals_transformers_on_the_same_file(smollm2: Engine) -> None:
    """transformers reads the same GGUF with its own code: names, rotary order and dequantisation."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    from constrained_gpt.registry import locate

    path = str(locate("smollm2"))
    fields = load_gguf_checkpoint(path)["config"]
    with torch.device("meta"):
        oracle = transformers.LlamaForCausalLM(transformers.LlamaConfig(**fields))
    tensors = load_gguf_checkpoint(path, return_tensors=True, model_to_load=oracle)["tensors"]
    oracle = transformers.LlamaForCausalLM(transformers.LlamaConfig(**fields)).eval()
    lacking, surplus = oracle.load_state_dict(tensors, strict=False)
    assert set(lacking) <= {"lm_head.weight"}  # tied
    assert not surplus
    # In float64, where rounding cannot hide a difference; float32 itself is off by 1e-4 here
    # (transformers by 0.9e-4, the engine by 1.5e-4), so the engine is held to twice that.
    ids = smollm2.tokenizer.encode(TEXT)
    checkpoint = load("smollm2")
    model = GPT(checkpoint.config)
    model.load_state_dict(dict(checkpoint.state_dict))
    with torch.inference_mode():
        exact = oracle.double()(torch.tensor([ids])).logits[0].numpy()
        ours = model.eval().double()(torch.tensor([ids]))[0].numpy()
    np.testing.assert_allclose(ours, exact, atol=1e-4, rtol=0)
    got = engine_logits(smollm2, ids, 9)
    np.testing.assert_allclose(got, exact[8:], atol=3e-4, rtol=0)
    assert (got.argmax(1) == exact[8:].argmax(1)).all()


@pytest.mark.weights
def test_smollm2_speaks_english(smollm2: Engine) -> None:
    """The best next tokens of a sentence nobody doubts."""
    ids = smollm2.tokenizer.encode("The capital of France is")
    _, logits = smollm2.prefill(ids, 1, 1)
    assert smollm2.tokenizer.decode([int(logits.argmax())]) == " Paris"


def test_nanogpt_forward_trains() -> None:
    """The module learns: gradients reach every parameter, and the loss of one batch falls."""
    generator = torch.Generator().manual_seed(0)
    for extra in (
        {},
        {"norm": "rmsnorm", "mlp": "swiglu", "rope_theta": 1e4, "n_kv_head": 2, "bias": False},
    ):
        config = GPTConfig(block_size=16, vocab_size=40, n_layer=2, n_head=4, n_embd=32, **extra)  # type: ignore[arg-type]
        torch.manual_seed(0)
        model = GPT(config)
        idx = torch.randint(40, (4, 17), generator=generator)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        losses = []
        for _ in range(8):
            logits = model(idx[:, :-1])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), idx[:, 1:].flatten())
            loss.backward()
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(np.log(40), abs=0.3)
        assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layer": 0}, "n_layer"),
        ({"n_embd": 30}, "multiple of n_head"),
        ({"n_kv_head": 3}, "multiple of n_kv_head"),
        ({"norm": "batch"}, "norm must be"),
        ({"mlp": "relu"}, "mlp must be"),
        ({"norm_eps": 0.0}, "norm_eps"),
        ({"rope_theta": -1.0}, "rotary"),
        ({"rope_theta": "big"}, "rope_theta"),
        ({"vocab_size": True}, "vocab_size"),
    ],
)
def test_impossible_configurations(changes: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 8}
    with pytest.raises(ValueError, match=message):
        GPTConfig(**{**fields, **changes})
