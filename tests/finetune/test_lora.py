"""Adapters: they change nothing at first, learn on every layer and on tokens, and can be added in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import network

from constrained_gpt.checkpoint import load
from constrained_gpt.checkpoint_adapter import save_adapter
from constrained_gpt.export import to_folder
from constrained_gpt.finetune import lora
from constrained_gpt.finetune.train import build
from constrained_gpt.model_config import GPTConfig

ALPHA = 6.0


@pytest.mark.parametrize("tied", [True, False])
def test_added_in_an_adapted_model_is_a_plain_one(tied: bool, tmp_path: Path) -> None:
    config = GPTConfig(64, 50304, 2, 2, 16, tied=tied)
    to_folder(network(config), tmp_path / "base")
    model, _ = build(tmp_path / "base")
    ids = torch.arange(12).reshape(2, 6)
    before = model(ids)
    lora.adapt(model, 3, ALPHA, seed=1)
    assert torch.equal(model(ids), before)
    model(ids).square().sum().backward()
    learning = {n for n, p in model.named_parameters() if p.grad is not None}
    assert learning == {n for n in dict(model.named_parameters()) if "lora" in n}
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora_b"):
                parameter.normal_(0, 0.02, generator=generator)
    adapted = model(ids)
    assert not torch.allclose(adapted, before, atol=1e-2)

    plain, _ = build(tmp_path / "base")
    plain.load_state_dict(lora.merged(model.state_dict(), ALPHA))
    torch.testing.assert_close(plain(ids), adapted, atol=1e-5, rtol=1e-5)

    said = {"base": str(tmp_path / "base"), "alpha": ALPHA, "prompt_style": "tags"}
    learned = lora.adapter(model.state_dict())
    save_adapter(tmp_path / "adapter.safetensors", learned, said, torch.float32)
    read, _ = build(tmp_path / "adapter.safetensors")
    torch.testing.assert_close(read(ids), adapted, atol=1e-5, rtol=1e-5)
    found = load(tmp_path / "adapter.safetensors").state_dict
    changed = "transformer.wte" if tied else "lm_head"
    assert f"{changed}.lora_a" in learned
    base = load(tmp_path / "base").state_dict
    assert not torch.equal(found[f"{changed}.weight"], base[f"{changed}.weight"])
