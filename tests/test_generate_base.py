"""generate() on a base model: a tiny random nanoGPT checkpoint with GPT-2's vocabulary. No weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from constrained_gpt import generate, validate
from constrained_gpt.engine import Engine
from constrained_gpt.model import GPT, GPTConfig


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """nanoGPT's padded vocabulary of 50,304: the 47 rows past GPT-2's must never be drawn."""
    torch.manual_seed(0)
    arguments = {
        "block_size": 256, "vocab_size": 50304, "n_layer": 1, "n_head": 2, "n_embd": 16,
        "bias": True, "dropout": 0.0,
    }  # fmt: skip
    model = GPT(GPTConfig(**arguments))  # type: ignore[arg-type]
    path: Path = tmp_path_factory.mktemp("nano") / "ckpt.pt"
    torch.save({"model": model.state_dict(), "model_args": arguments}, path)
    return Engine.from_pretrained(path)


@pytest.mark.parametrize("strategy", ["sample", "smc", "beam"])
def test_poems_of_a_base_model_are_valid_and_canonical(engine: Engine, strategy: str) -> None:
    poems = generate("rain", 3, model=engine, strategy=strategy, seed=1, temperature=1.0)
    assert len({poem.text for poem in poems}) == 3
    for poem in poems:
        assert validate(poem.text, poem.report.form, policy="all").valid
        assert tuple(engine.tokenizer.encode(poem.text)) == poem.tokens
        assert max(poem.tokens) < engine.tokenizer.n_vocab < engine.n_vocab


def test_a_seed_names_a_poem(engine: Engine) -> None:
    together = generate("rain", 6, model=engine, seed=2)
    alone = generate("rain", 6, model=engine, seed=2, batch_size=1)
    assert [p.text for p in together] == [p.text for p in alone]


def test_a_context_too_short_is_said(engine: Engine) -> None:
    with pytest.raises(ValueError, match="shorten the prompt"):
        generate("rain " * 180, model=engine)
