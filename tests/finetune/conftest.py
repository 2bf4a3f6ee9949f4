"""A few poems, prepared once, and a small model: what the tests of fine-tuning share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from few_poems import FIVES, SEVENS

from constrained_gpt.finetune.prepare import prepare
from constrained_gpt.model import GPT
from constrained_gpt.model_config import GPTConfig


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def poems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("poems") / "poems.txt"
    texts = [f"{a}\n{b}\n{c}" for a in FIVES for b in SEVENS for c in FIVES if a != c]
    path.write_text("\n\n".join([*texts, texts[0], "no haiku at all"]), "utf-8")
    return path


@pytest.fixture(scope="session")
def data(poems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    prepare([poems], out, model="gpt2", near=1.0, val_fraction=0.2, folds=3, licence="MIT")
    return out


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 as nanoGPT saves it."""
    return small(tmp_path_factory, 64)


@pytest.fixture(scope="session")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that can hold the page that a model without tags is asked with."""
    return small(tmp_path_factory, 256)


def small(tmp_path_factory: pytest.TempPathFactory, block_size: int) -> Path:
    config = GPTConfig(block_size=block_size, vocab_size=50257, n_layer=2, n_head=2, n_embd=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT(config)
    names = ("block_size", "vocab_size", "n_layer", "n_head", "n_embd", "bias", "dropout")
    path = tmp_path_factory.mktemp("tiny") / "ckpt.pt"
    args = {name: asdict(config)[name] for name in names}
    torch.save({"model": model.state_dict(), "model_args": args, "iter_num": 0}, path)
    return path
