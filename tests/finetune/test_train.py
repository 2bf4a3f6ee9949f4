"""The trainer's recipe and its files, batches and held-out figures."""

from __future__ import annotations

import csv
import math
import pickle
import shutil
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from few_poems import quiet, settings, weights
from torch.nn import functional as F

from constrained_gpt.finetune import run_files
from constrained_gpt.finetune.batches import Poems
from constrained_gpt.finetune.config import TrainConfig, lr_at
from constrained_gpt.finetune.evaluate import evaluate, evaluate_files
from constrained_gpt.finetune.prepare import prepare
from constrained_gpt.finetune.train import build, optimizer_of, train
from constrained_gpt.lattice.budget import LEFT, LINES
from constrained_gpt.model import GPT
from constrained_gpt.model_config import GPTConfig
from constrained_gpt.tokenizer import Tokenizer

# evaluate


def test_evaluate_is_the_mean_loss(data: Path, tiny: Path, roomy: Path) -> None:
    model, checkpoint = build(tiny)
    held = Poems(data, "val", checkpoint.tokenizer)
    total, count = 0.0, 0
    for index in range(len(held)):
        batch = held.held_out([index], 0)
        with torch.no_grad():
            logits = model.eval()(batch.x)[0]
        for t in range(batch.x.shape[1]):
            if batch.counts[0, t]:
                total -= F.log_softmax(logits[t], -1)[batch.y[0, t]].item()
                count += 1
        poem = batch.y[0][batch.counts[0]].tolist()
        assert poem == held.poem(index)[0].tolist()  # the poem and its end, nothing of the tags
    result = evaluate(model, held, 0)
    assert result.tokens == count == held.lengths.sum()
    assert result.loss == pytest.approx(total / count, abs=1e-5)
    assert result.poem_loss == pytest.approx(total / len(held), abs=1e-3)
    assert result.perplexity == pytest.approx(math.exp(result.loss))
    whole = evaluate_files(data, model=str(roomy), device="cpu", samples=4)
    assert 0 <= whole.z_loss < whole.poem_loss
    assert whole.z_poems == len(held)
    assert whole.validity == 0  # random weights write no haiku
    assert whole.tokens > 0  # asked in its own way, on a page, not by tags


# batches


@pytest.mark.parametrize(
    ("name", "content", "cure"),
    [
        ("card.json", b"", "is damaged"),
        ("card.json", b"[]", "is damaged"),
        ("card.json", b"\xff", "is damaged"),
        ("card.json", b'{"schema": 2}', "lacks 'tokenizer'"),
        ("val_tokens.npy", b"", "cannot be read"),
        ("val_tokens.npy", b"cos\nsystem\n(S'true'\ntR.", "cannot be read"),
        ("val_tokens.npy", np.uint16(60_000), "holds a token that"),
        ("val_mask.npy", np.uint8(0), "without tokens"),
        ("val_states.npy", np.zeros((1, 1), np.uint16), "not what its card says"),
        ("val_tags.jsonl", b"", "line 1 is damaged"),
        ("val_tags.jsonl", b"{\n" * 99, "line 1 is damaged"),
        ("val_tags.jsonl", b"\xff\n" * 99, "line 1 is damaged"),
    ],
    ids=str,
)
def test_damaged_data_is_named(
    name: str, content: Any, cure: str, data: Path, roomy: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "data"
    shutil.copytree(data, damaged)
    if isinstance(content, bytes):
        (damaged / name).write_bytes(content)
    else:
        whole = np.load(damaged / name)
        np.save(damaged / name, content if content.ndim else np.full_like(whole, content))
    with pytest.raises(ValueError, match=cure) as caught:
        evaluate_files(damaged, model=str(roomy))
    assert "haiku prepare" in str(caught.value)


def test_every_poem_once_an_epoch_whatever_the_batch(data: Path) -> None:
    poems = Poems(data, "train", Tokenizer.gpt2())
    n = len(poems)
    for size in (1, 3, n):
        seen = [i for step in range(-(-n // size)) for _, i in poems._places(5, step, size)]
        assert sorted(seen[:n]) == list(range(n))
    whole = poems.step(5, 1, 4, 0, 1)
    halves = [poems.step(5, 1, 2, micro, 2) for micro in (0, 1)]
    for name in ("x", "y", "states", "counts"):
        for row in range(4):
            want = getattr(whole, name)[row]
            found = getattr(halves[row // 2], name)[row % 2]
            size = min(len(want), len(found))
            assert torch.equal(want[:size], found[:size])
    assert poems.counted(5, 1, 4) == int(whole.counts.sum())


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


def test_weight_decay_spares_biases_norms_and_the_state_table() -> None:
    model = GPT(GPTConfig(16, 40, 1, 1, 4, state_lines=LINES, state_left=LEFT))
    decayed, spared, state = optimizer_of(model, TrainConfig(data="", out="")).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"], state["weight_decay"]) == (0.1, 0, 0)
    assert all(p.dim() >= 2 for p in decayed["params"])
    assert all(p.dim() < 2 for p in spared["params"])
    assert [p.shape[0] for p in state["params"]] == [LINES + LEFT + 1]
    assert (decayed["scale"], spared["scale"]) == (1.0, 1.0)
    assert state["scale"] == pytest.approx(100.0)
    total = sum(len(g["params"]) for g in (decayed, spared, state))
    assert total == len(list(model.parameters()))


def test_training_learns_and_leaves_its_files(data: Path, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = settings(
        data, out, tiny, max_iters=16, eval_interval=8, learning_rate=5e-2, validity_poems=8
    )
    model, checkpoint = build(tiny)
    before = evaluate(model, Poems(data, "val", checkpoint.tokenizer), 0).loss
    lines: list[str] = []
    result = train(config, log=lines.append)
    assert result["step"] == 16
    assert result["val_loss"] < before - 0.5
    assert len(lines) == 3

    with (out / "step_metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 17))
    assert [bool(row["val_loss"]) for row in rows].count(True) == 2
    assert [bool(row["validity"]) for row in rows].count(True) == 2
    assert float(rows[-1]["train_loss"]) == pytest.approx(result["loss"])
    assert int(rows[-1]["tokens"]) == sum(
        Poems(data, "train", Tokenizer.gpt2()).counted(1337, step, 2) for step in range(16)
    )

    state = weights(out / "ckpt.pt")
    assert {"model", "optimizer", "model_args", "iter_num", "best_val_loss", "config"} <= set(state)
    assert state["iter_num"] == 16
    assert {p.name for p in out.iterdir()} == {"ckpt.pt", "best.pt", "step_metrics.csv"}
    # what was written can be loaded and loses what the trainer said
    for name in ("ckpt.pt", "best.pt"):
        model, checkpoint = build(out / name)
        assert checkpoint.prompt_style == "tags"
        held = Poems(data, "val", checkpoint.tokenizer)
        assert evaluate(model, held, 1337, most=4).loss == pytest.approx(result["best"])


@pytest.mark.parametrize("kind", [{}, {"budget": True, "dropout": 0.2}, {"lora": 2, "budget": True}], ids=str)  # fmt: skip
def test_interrupted_and_resumed_is_uninterrupted(
    data: Path, tiny: Path, tmp_path: Path, kind: dict[str, Any]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    quiet(settings(data, whole, tiny, **kind))
    quiet(settings(data, parts, tiny, max_iters=3, lr_decay_iters=6, **kind))
    with (parts / "step_metrics.csv").open("a") as file:
        file.write("4,9.9,,0.1,1.0,1.0\r\n")  # a step whose checkpoint was never written
    # what the model is goes on, whatever is asked now
    again = settings(data, parts, tiny, resume=True, init="smollm2", dropout=kind.get("dropout", 0))
    quiet(again)
    a, b = weights(whole / "ckpt.pt"), weights(parts / "ckpt.pt")
    assert a["iter_num"] == b["iter_num"] == 6
    assert a["config"]["model"] == b["config"]["model"] == str(tiny.resolve())
    for part in ("model", "lora"):
        mine, other = a.get(part, {}), b.get(part, {})
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert ("lora" in a) == ("lora" in kind)
    moments = [s["optimizer"]["state"] for s in (a, b)]
    for mine, other in zip(moments[0].values(), moments[1].values(), strict=True):
        assert all(torch.equal(mine[k], other[k]) for k in mine)
    assert a["tokens"] == b["tokens"]
    with (parts / "step_metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == list("123456")


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_signals_keep_the_steps_done(
    data: Path,
    tiny: Path,
    tmp_path: Path,
    number: signal.Signals,
    ends: type[BaseException],
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    quiet(settings(data, whole, tiny))

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            signal.raise_signal(number)

    with pytest.raises(ends) as stopped:  # and not as if the run had come to its end
        train(settings(data, parts, tiny), log=lambda _: None, progress=interrupt)
    assert getattr(stopped.value, "code", 143) == 143
    assert weights(parts / "ckpt.pt")["iter_num"] == 2
    quiet(settings(data, parts, tiny, resume=True))
    a, b = weights(whole / "ckpt.pt"), weights(parts / "ckpt.pt")
    assert all(torch.equal(a["model"][name], b["model"][name]) for name in a["model"])


def test_a_run_that_is_done_stays_as_it_is(data: Path, tiny: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path, tiny, max_iters=3)
    quiet(config)
    assert quiet(replace(config, resume=True))["step"] == 3
    assert weights(tmp_path / "ckpt.pt")["iter_num"] == 3


@pytest.mark.parametrize("damage", ["cut", "empty", "pickle", "keys"])
def test_a_damaged_checkpoint_is_not_gone_on_from(
    data: Path, tiny: Path, tmp_path: Path, damage: str
) -> None:
    config = settings(data, tmp_path, tiny, max_iters=3)
    quiet(config)
    path = tmp_path / "ckpt.pt"
    whole = path.read_bytes()
    if damage == "keys":
        state = weights(path)
        del state["stale"], state["config"]
        torch.save(state, path)
    else:
        path.write_bytes({
            "cut": whole[:-1000], "empty": b"",
            "pickle": pickle.dumps(Path("x"), protocol=5),  # torch would warn of the protocol too
        }[damage])  # fmt: skip
    kept = path.read_bytes()
    cures = {"keys": "start from it with --init", "pickle": "would run code"}
    said = cures.get(damage, "damaged or truncated")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=said):
            quiet(replace(config, resume=True, max_iters=4))
    assert path.read_bytes() == kept


def test_a_full_disk_keeps_the_checkpoint_before(
    data: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    saved = torch.save

    def full(state: dict[str, Any], path: Path) -> None:
        if state["iter_num"] > 3:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        saved(state, path)

    monkeypatch.setattr(run_files.torch, "save", full)
    with pytest.raises(ValueError, match="go on with --resume"):
        quiet(settings(data, out, tiny))
    assert weights(out / "ckpt.pt")["iter_num"] == 3
    assert {p.name for p in out.iterdir()} == {"ckpt.pt", "best.pt", "step_metrics.csv"}


def test_accumulation_is_a_larger_batch(data: Path, tiny: Path, tmp_path: Path) -> None:
    one = quiet(settings(data, tmp_path / "a", tiny, max_iters=1, batch_size=4))
    two = quiet(settings(data, tmp_path / "b", tiny, max_iters=1, gradient_accumulation_steps=2))
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
    assert one["val_loss"] == pytest.approx(two["val_loss"], abs=1e-4)


def test_from_scratch_the_seed_names_the_model(data: Path, tiny: Path, tmp_path: Path) -> None:
    shape = {"init": "scratch", "n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 64}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        quiet(settings(data, tmp_path / name, tiny, max_iters=2, seed=seed, **shape))
    a, b, c = (weights(tmp_path / name / "ckpt.pt")["model"] for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["transformer.wte.weight"], c["transformer.wte.weight"])


def test_early_stopping(data: Path, tiny: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path, tiny, max_iters=40, eval_interval=2, patience=2)
    config = replace(config, learning_rate=1.0)  # no better after a while
    assert quiet(config)["step"] < 40


def test_without_held_out_poems_patience_waits(poems: Path, tiny: Path, tmp_path: Path) -> None:
    prepare([poems], tmp_path / "data", model="gpt2", near=1.0, val_fraction=0.0)
    config = settings(tmp_path / "data", tmp_path / "out", tiny, max_iters=6, eval_interval=1)
    assert quiet(replace(config, patience=2))["step"] == 6


def test_decay_and_rates_are_those_asked_for_when_going_on(
    data: Path, tiny: Path, tmp_path: Path
) -> None:
    config = settings(data, tmp_path, tiny, max_iters=1, budget=True, weight_decay=0.1)
    quiet(config)
    quiet(replace(config, max_iters=2, weight_decay=0.3, state_lr=1e-2, resume=True))
    groups = weights(tmp_path / "ckpt.pt")["optimizer"]["param_groups"]
    assert groups[0]["weight_decay"] == 0.3
    assert groups[-1]["scale"] == pytest.approx(1e-2 / config.lr)


@pytest.mark.parametrize(
    ("changes", "cure"),
    [
        ({"batch_size": 0}, "use 1 or more"),
        ({"learning_rate": 0.0}, "use e.g. 3e-5"),
        ({"learning_rate": math.nan}, "use e.g. 3e-5"),
        ({"min_lr": 1.0}, "lower it"),
        ({"grad_clip": -1.0}, "a number from 0 up"),
        ({"form_loss": math.inf}, "a number from 0 up"),
        ({"init": "scratch", "block_size": 8}, "raise block_size"),
        ({"resume": True}, "leave out --resume"),
        ({"device": "toaster"}, "use auto"),
        ({"device": "meta"}, "use auto"),
        ({"device": "cuda:99"}, "sees no device"),
        ({"device": "mps:7"}, "sees no device"),
        ({"learning_rate": 1e300}, "use e.g. 3e-5"),
        ({"state_lr": math.nan}, "use e.g. 3e-3"),
        ({"lora_alpha": math.nan}, "twice the rank"),
        ({"lr_decay_iters": -1}, "use 1 or more"),
        ({"lora": 10**8}, "more than the 8"),
        ({"seed": -1}, "from 0"),
        ({"seed": 1 << 64}, "from 0"),
        ({"fold": 9}, "choose another"),
        ({"precision": "int3"}, "use one of"),
    ],
    ids=str,
)
def test_mistakes_end_with_the_cure(
    data: Path, tiny: Path, tmp_path: Path, changes: dict[str, Any], cure: str
) -> None:
    with pytest.raises(ValueError, match=cure):
        quiet(settings(data, tmp_path / "out", tiny, **changes))


def test_a_loss_that_explodes_is_said(data: Path, tiny: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path / "out", tiny, learning_rate=1e30, grad_clip=0.0)
    with pytest.raises(ValueError, match="lower learning_rate"):
        quiet(config)
