"""Fine-tuning: token files, the trainer's recipe and its files, held-out loss."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from constrained_gpt.finetune.evaluate import evaluate, evaluate_files, windows
from constrained_gpt.finetune.prepare import prepare, read_card, read_tokens
from constrained_gpt.finetune.train import TrainConfig, build, lr_at, optimizer_of, train
from constrained_gpt.model import GPT, GPTConfig
from constrained_gpt.tokenizer import Tokenizer

LINES = ["old pond", "a frog leaps in", "first snow", "on the bamboo", "autumn rain", "the moon"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on models this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def poems(tmp_path: Path) -> Path:
    path = tmp_path / "poems.txt"
    texts = [f"{a}\n{b}\n{c}" for a in LINES for b in LINES for c in LINES if a < b]
    path.write_text("\n\n".join([*texts, texts[0]]), "utf-8")
    return path


@pytest.fixture
def data(poems: Path, tmp_path: Path) -> Path:
    prepare([poems], tmp_path / "data", model="gpt2")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 as nanoGPT saves it."""
    config = GPTConfig(block_size=32, vocab_size=50257, n_layer=2, n_head=2, n_embd=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT(config)
    names = ("block_size", "vocab_size", "n_layer", "n_head", "n_embd", "bias", "dropout")
    path = tmp_path_factory.mktemp("tiny") / "ckpt.pt"
    args = {name: asdict(config)[name] for name in names}
    torch.save({"model": model.state_dict(), "model_args": args, "iter_num": 0}, path)
    return path


def settings(data: Path, out: Path, tiny: Path, **changes: Any) -> TrainConfig:
    config = TrainConfig(
        data=data, out=out, model=str(tiny), max_iters=6, batch_size=2, block_size=8,
        eval_interval=3, eval_batches=4, warmup_iters=2, learning_rate=1e-2, device="cpu",
    )  # fmt: skip
    return replace(config, **changes)


# prepare


def test_prepare_round_trips(poems: Path, data: Path) -> None:
    tokenizer = Tokenizer.gpt2()
    card = read_card(data)
    texts = []
    for split in ("train", "val"):
        tokens = read_tokens(data, split, tokenizer)
        assert len(tokens) == card[split]["tokens"]
        found = tokenizer.decode([int(t) for t in tokens]).split("<|endoftext|>")
        assert found.pop() == ""
        assert len(found) == card[split]["poems"] > 0
        texts += found
    expected = list(dict.fromkeys(poems.read_text("utf-8").split("\n\n")))  # the double once
    assert sorted(texts) == sorted(expected)
    assert not list(data.glob("*.tmp")) + list(data.glob("*.part"))


def test_held_out_poems_stay_held_out_when_poems_are_added(
    poems: Path, data: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"text": "one more poem"}) + "\n", "utf-8")
    prepare([poems, more], tmp_path / "again", model="gpt2")
    tokenizer = Tokenizer.gpt2()
    old = tokenizer.decode([int(t) for t in read_tokens(data, "val", tokenizer)])
    new = tokenizer.decode([int(t) for t in read_tokens(tmp_path / "again", "val", tokenizer)])
    assert set(old.split("<|endoftext|>")) <= set(new.split("<|endoftext|>"))


def test_prepare_refuses_with_the_cure(poems: Path, data: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n", "utf-8")
    with pytest.raises(ValueError, match="separate poems by blank lines"):
        prepare([empty], tmp_path / "x", model="gpt2")
    with pytest.raises(ValueError, match=r"use e\.g\. 0\.1"):
        prepare([poems], tmp_path / "x", model="gpt2", val_fraction=1.0)
    with pytest.raises(ValueError, match="name at least one"):
        prepare([], tmp_path / "x", model="gpt2")
    with pytest.raises(ValueError, match="haiku prepare"):
        read_card(tmp_path / "x")

    tokenizer = Tokenizer.gpt2()
    (data / "val.bin").write_bytes(b"\0")
    with pytest.raises(ValueError, match="run `haiku prepare` again"):
        read_tokens(data, "val", tokenizer)
    card = json.loads((data / "card.json").read_text("utf-8"))
    (data / "card.json").write_text(json.dumps({**card, "tokenizer_hash": "another"}), "utf-8")
    with pytest.raises(ValueError, match="same --model"):
        read_tokens(data, "train", tokenizer)


# evaluate


@pytest.mark.parametrize("block", [1, 3, 8, 100])
def test_windows_predict_every_token_once(block: int) -> None:
    tokens = np.arange(20, dtype=np.uint16)
    targets = [int(t) for _, y in windows(tokens, block) for t in y]
    assert targets == list(range(1, 20))
    assert all((x + 1 == y).all() for x, y in windows(tokens, block))


def test_evaluate_is_the_mean_loss(data: Path, tiny: Path) -> None:
    model, checkpoint = build(tiny)
    tokens = read_tokens(data, "val", checkpoint.tokenizer)[:40]
    total = 0.0
    for x, y in windows(tokens, 8):
        with torch.no_grad():
            logits = model.eval()(torch.tensor(x)[None])[0]
        for t, target in enumerate(y):
            total -= F.log_softmax(logits[t], -1)[target].item()
    result = evaluate(model, tokens, 8)
    assert result.tokens == 39
    assert result.loss == pytest.approx(total / 39, abs=1e-5)
    assert result.perplexity == pytest.approx(math.exp(result.loss))
    whole = evaluate_files(data, model=str(tiny), block_size=8, device="cpu")
    assert whole["tokens"] == read_card(data)["val"]["tokens"] - 1
    with pytest.raises(ValueError, match="prepare more poems"):
        evaluate(model, tokens[:1], 8)


# train


def test_learning_rate_warms_up_and_decays() -> None:
    config = TrainConfig(
        data="", out="", max_iters=100, warmup_iters=10, learning_rate=1.0, min_lr=0.1
    )
    rates = [lr_at(step, config) for step in range(120)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.55)
    assert rates[10:100] == sorted(rates[10:100], reverse=True)
    assert rates[100:] == [0.1] * 20


def test_weight_decay_spares_biases_and_norms(tiny: Path) -> None:
    model, _ = build(tiny)
    decayed, spared = optimizer_of(model, TrainConfig(data="", out="")).param_groups
    assert decayed["weight_decay"] == 0.1
    assert spared["weight_decay"] == 0.0
    assert all(p.dim() >= 2 for p in decayed["params"])
    assert all(p.dim() < 2 for p in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


def test_training_learns_and_leaves_its_files(data: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = settings(data, out, tiny, max_iters=16, eval_interval=8, learning_rate=5e-2)
    before = evaluate_files(data, model=str(tiny), block_size=8, device="cpu")["loss"]
    lines: list[str] = []
    result = train(config, log=lines.append)
    assert result["step"] == 16
    assert result["val_loss"] < before - 0.5
    assert len(lines) == 3

    with (out / "step_metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 17))
    assert [bool(row["val_loss"]) for row in rows].count(True) == 2
    assert float(rows[-1]["loss"]) == pytest.approx(result["loss"])

    state = torch.load(out / "ckpt.pt", weights_only=True)
    assert {"model", "optimizer", "model_args", "iter_num", "best_val_loss", "config"} <= set(state)
    assert state["iter_num"] == 16
    assert not [
        p for p in out.iterdir() if p.name not in ("ckpt.pt", "best.pt", "step_metrics.csv")
    ]
    # what was written can be loaded and loses what the trainer said
    for name in ("ckpt.pt", "best.pt"):
        model, checkpoint = build(out / name)
        held = read_tokens(data, "val", checkpoint.tokenizer)
        assert evaluate(model, held, 8, max_windows=4).loss == pytest.approx(result["best"])


def test_interrupted_and_resumed_is_uninterrupted(data: Path, tiny: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(settings(data, whole, tiny), log=lambda _: None)
    train(settings(data, parts, tiny, max_iters=3, lr_decay_iters=6), log=lambda _: None)
    with (parts / "step_metrics.csv").open("a") as file:
        file.write("4,9.9,,0.1,1.0,1.0\r\n")  # a step whose checkpoint was never written
    again = settings(data, parts, tiny, resume=True, model="smollm2")  # not asked for: it goes on
    train(again, log=lambda _: None)
    a = torch.load(whole / "ckpt.pt", weights_only=True)
    b = torch.load(parts / "ckpt.pt", weights_only=True)
    assert a["iter_num"] == b["iter_num"] == 6
    assert a["config"]["model"] == b["config"]["model"] == str(tiny.resolve())
    assert a["model"].keys() == b["model"].keys()
    assert all(torch.equal(a["model"][name], b["model"][name]) for name in a["model"])
    with (parts / "step_metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == list("123456")


def test_accumulation_is_a_larger_batch(data: Path, tiny: Path, tmp_path: Path) -> None:
    one = train(settings(data, tmp_path / "a", tiny, max_iters=1, batch_size=4), log=lambda _: None)
    two = train(
        settings(data, tmp_path / "b", tiny, max_iters=1, gradient_accumulation_steps=2),
        log=lambda _: None,
    )
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
    assert one["val_loss"] == pytest.approx(two["val_loss"], abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "cure"),
    [
        ({"batch_size": 0}, "use 1 or more"),
        ({"learning_rate": 0.0}, "use e.g. 3e-5"),
        ({"learning_rate": math.nan}, "use e.g. 3e-5"),
        ({"min_lr": 1.0}, "lower it"),
        ({"grad_clip": -1.0}, "use 0 or more"),
        ({"block_size": 64}, "lower it"),
        ({"resume": True}, "leave out --resume"),
        ({"device": "toaster"}, "use auto"),
    ],
    ids=str,
)
def test_mistakes_end_with_the_cure(
    data: Path, tiny: Path, tmp_path: Path, changes: dict[str, Any], cure: str
) -> None:
    with pytest.raises(ValueError, match=cure):
        train(settings(data, tmp_path / "out", tiny, **changes), log=lambda _: None)


def test_a_loss_that_explodes_is_said(data: Path, tiny: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path / "out", tiny, learning_rate=1e30, grad_clip=0.0)
    with pytest.raises(ValueError, match="lower learning_rate"):
        train(config, log=lambda _: None)
