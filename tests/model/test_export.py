"""What is exported is read back as it was, and by transformers with equal logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from constrained_gpt.checkpoint import Checkpoint, CheckpointError, load
from constrained_gpt.checkpoint_adapter import save_adapter
from constrained_gpt.export import export, to_folder
from constrained_gpt.model import GPT, GPTConfig
from constrained_gpt.tokenizer import Tokenizer

IDS = [464, 1468, 16723, 11, 198, 50256]


def random_checkpoint(**changes: Any) -> Checkpoint:
    config = GPTConfig(64, 50304, 2, 2, 16, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = GPT(config)
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.2)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return Checkpoint(config, arrays, Tokenizer.gpt2(), "random", "tags")


@torch.no_grad()
def ours(checkpoint: Checkpoint) -> np.ndarray:
    model = GPT(checkpoint.config).eval()
    model.load_state_dict(dict(checkpoint.state_dict))
    return model(torch.tensor([IDS]))[0].numpy()


@torch.no_grad()
def theirs(model: Any) -> np.ndarray:
    return model.eval()(torch.tensor([IDS])).logits[0].float().numpy()


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    assert a.config == b.config
    assert a.prompt_style == b.prompt_style
    assert a.tokenizer.content_hash == b.tokenizer.content_hash
    assert a.state_dict.keys() == b.state_dict.keys()
    assert all(torch.equal(a.state_dict[n], b.state_dict[n]) for n in a.state_dict)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": False},
        {"mlp": "gelu_tanh", "tied": False},
        {"state_lines": 3, "state_left": 5, "bias": False},
    ],
    ids=str,
)
def test_gpt2_in_a_folder(changes: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    made = random_checkpoint(**changes)
    to_folder(made, tmp_path)
    assert_same(made, load(tmp_path))
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    np.testing.assert_allclose(theirs(model), ours(made), atol=1e-4)
    spelled = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "An old silent pond...\nit's 1686 — a frog!"
    assert spelled(text)["input_ids"] == made.tokenizer.encode(text)
    assert spelled.decode(made.tokenizer.encode(text)) == text
    assert spelled.eos_token_id == made.tokenizer.eos


@pytest.mark.parametrize("changes", [{}, {"bias": False, "state_lines": 2, "state_left": 9}], ids=str)  # fmt: skip
def test_nanogpt_and_back_through_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    """ckpt.pt -> folder -> transformers -> folder of theirs -> ckpt.pt."""
    transformers = pytest.importorskip("transformers")
    made = random_checkpoint(**changes)
    to_folder(made, tmp_path / "a")
    path = export(tmp_path / "a", tmp_path / "ckpt.pt")
    assert_same(replace(load(path), name="x"), made)
    if not changes:
        kept = torch.load(path, weights_only=True)
        assert set(kept["model_args"]) == {
            "n_layer", "n_head", "n_embd", "block_size", "bias", "vocab_size", "dropout",
        }  # fmt: skip
    export(path, tmp_path / "b")
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "b")
    model.save_pretrained(tmp_path / "c")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "c" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    again = load(export(tmp_path / "c", tmp_path / "again.pt"))
    np.testing.assert_allclose(ours(again), theirs(model), atol=1e-4)


def test_llama_in_a_folder(saved: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    for name in ("llama-gqa-untied", "llama-gqa-tied", "llama-head-dim"):
        folder, model = saved(name)
        made = load(folder)
        export(folder, tmp_path / name)
        assert_same(made, load(tmp_path / name))
        other = transformers.LlamaForCausalLM.from_pretrained(tmp_path / name).eval()
        ids = torch.tensor([[5, 9, 200, 31]])
        with torch.no_grad():
            torch.testing.assert_close(other(ids).logits, model(ids).logits)


def test_half_precision_is_half_the_file(tmp_path: Path) -> None:
    made = random_checkpoint()
    to_folder(made, tmp_path / "a")
    to_folder(made, tmp_path / "b", torch.float16)
    sizes = [(tmp_path / x / "model.safetensors").stat().st_size for x in "ab"]
    assert sizes[1] < 0.52 * sizes[0]
    np.testing.assert_allclose(ours(load(tmp_path / "b")), ours(made), atol=3e-2)


def test_an_adapter_is_its_base_and_the_change(tmp_path: Path) -> None:
    base = random_checkpoint()
    to_folder(base, tmp_path / "base")
    generator = torch.Generator().manual_seed(1)
    name = "transformer.h.1.mlp.c_fc"
    a, b = torch.randn(3, 16, generator=generator), torch.randn(64, 3, generator=generator)
    wse = torch.randn(2 + 3 + 1, 16, generator=generator)
    learned = {f"{name}.lora_a": a, f"{name}.lora_b": b, "transformer.wse.weight": wse}
    said = {"base": str(tmp_path / "base"), "alpha": 6.0, "prompt_style": "tags"}
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, learned, {**said, "state_lines": 2, "state_left": 3}, torch.float32)
    found = load(path)
    assert found.prompt_style == "tags"
    assert found.config == replace(base.config, state_lines=2, state_left=3)
    torch.testing.assert_close(
        found.state_dict[f"{name}.weight"], base.state_dict[f"{name}.weight"] + 2.0 * b @ a
    )
    assert torch.equal(found.state_dict["transformer.wse.weight"], wse)
    untouched = "transformer.h.0.mlp.c_fc.weight"
    assert torch.equal(found.state_dict[untouched], base.state_dict[untouched])
    save_adapter(path, {f"{name}.lora_a": a[:, :5], f"{name}.lora_b": b}, said, torch.float32)
    with pytest.raises(CheckpointError, match="the adapter of this model"):
        load(path)


def test_mistakes_end_with_the_cure(
    saved: Callable[[str], tuple[Path, Any]], tmp_path: Path
) -> None:
    folder, _ = saved("gpt2")
    with pytest.raises(ValueError, match="export it to a folder"):
        export(folder, tmp_path / "x.pt")  # not GPT-2's tokens
    with pytest.raises(ValueError, match="a run with --lora"):
        export(folder, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="use one of"):
        export(folder, tmp_path / "x", dtype="int4")


def test_merges_are_gpt2s() -> None:
    from constrained_gpt.tokenizer import gpt2_merges, to_bytes

    wanted = [(to_bytes(a), to_bytes(b)) for a, b in gpt2_merges()]
    assert Tokenizer.gpt2().merges() == wanted
