"""From a file of poems to poems, by the commands of the README."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from constrained_gpt import generate
from constrained_gpt.cli import main


def test_prepare_finetune_evaluate_export_write(
    poems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, folder = (str(tmp_path / name) for name in ("data", "run", "folder"))
    small = "--n-layer 1 --n-head 2 --n-embd 32 --block-size 160 --batch-size 8 --device cpu"
    rates = "--max-iters 40 --eval-interval 20 --learning-rate 1e-2 --warmup-iters 4"
    whose = "--model gpt2 --near 1 --val-fraction 0.2 --licence MIT"
    assert main(["prepare", str(poems), "--out", data, *whose.split()]) == 0
    assert json.loads(capsys.readouterr().out)["train"]["poems"] > 20
    options = ["--init", "scratch", "--budget", "--validity-poems", "8"]
    trained = ["finetune", data, "--out", run, *options, *small.split(), *rates.split()]
    assert main(trained) == 0
    said = json.loads(capsys.readouterr().out)
    with (tmp_path / "run" / "step_metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"]) - 2  # 10.8 at first
    assert said["best"] < 9
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert main(trained) != 0  # a run is not written over
    assert "go on with it by --resume, or give another --out" in capsys.readouterr().err
    assert kept == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    best = str(tmp_path / "run" / "best.pt")
    assert main(["evaluate", data, "--model", best, "--samples", "10"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["z_poems"] > 0
    assert 0 <= found["validity"] <= 1
    assert found["loss"] == pytest.approx(said["best"], abs=0.5)  # under other tags
    assert main(["export", best, folder]) == 0
    written = [
        [poem.text for poem in generate("rain", 2, model=model, seed=1, dtype="float32")]
        for model in (best, folder)
    ]
    assert written[0] == written[1]
    assert main(["write", "rain", "--model", best, "--seed", "1", "-n", "2"]) == 0  # in bytes
    assert len(capsys.readouterr().out.strip().split("\n\n")) == 2
