"""Two processes that share a run learn what one does with twice the accumulation."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from constrained_gpt.finetune.config import TrainConfig
from constrained_gpt.finetune.prepare import prepare
from constrained_gpt.finetune.train import train

# Threads of torch abort a process that ends, now and then ("terminate called without an active
# exception"); what is tested here is what it learned, so it leaves as soon as it has.
RUN = """
import os, sys, torch
from constrained_gpt.finetune.config import TrainConfig
from constrained_gpt.finetune.train import train
torch.set_num_threads(1)
data, out = sys.argv[1:]
train(TrainConfig(data=data, out=out, **{settings!r}), log=lambda line: None)
os._exit(0)
"""
SETTINGS = {
    "init": "scratch", "budget": True, "n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 64,
    "max_iters": 4, "batch_size": 3, "gradient_accumulation_steps": 4, "eval_interval": 2,
    "eval_poems": 4, "warmup_iters": 1, "learning_rate": 1e-2, "precision": "float32",
    "device": "cpu",
}  # fmt: skip


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed")
def test_two_processes_are_one_with_twice_the_accumulation(tmp_path: Path) -> None:
    fives = ["the snow on the hill", "a crow on the gate", "the moon in the well"]
    sevens = ["a dog runs over the field", "my cat sleeps under the stove"]
    poems = tmp_path / "poems.txt"
    poems.write_text(
        "\n\n".join(f"{a}\n{b}\n{c}" for a in fives for b in sevens for c in fives), "utf-8"
    )
    prepare([poems], tmp_path / "data", model="gpt2", near=1.0, val_fraction=0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = RUN.replace("{settings!r}", repr(SETTINGS))
    command = [sys.executable, "-c", code, str(tmp_path / "data"), str(tmp_path / "two")]
    crew = []
    for rank in ("0", "1"):
        environment = {
            **os.environ, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        crew.append(subprocess.Popen(command, env=environment))
    train(
        TrainConfig(data=tmp_path / "data", out=tmp_path / "one", **SETTINGS),  # type: ignore[arg-type]
        log=lambda line: None,
    )
    assert [process.wait(timeout=300) for process in crew] == [0, 0]
    one, two = (
        torch.load(tmp_path / name / "ckpt.pt", weights_only=True) for name in ("one", "two")
    )
    for name, wanted in one["model"].items():
        torch.testing.assert_close(two["model"][name], wanted, atol=1e-5, rtol=0)
    assert two["tokens"] == one["tokens"]
    assert two["best_val_loss"] == pytest.approx(one["best_val_loss"], abs=1e-5)
    assert any((one["model"][n] != one["model"][n][0]).any() for n in one["model"] if "wse" in n)
