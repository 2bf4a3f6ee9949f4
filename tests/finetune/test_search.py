"""Folds and the search for hyper-parameters; curves and boards of a run."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from few_poems import quiet, settings

from constrained_gpt.finetune import curves
from constrained_gpt.finetune.search import crossval, tune


def test_crossval_trains_each_fold_once(data: Path, tiny: Path, tmp_path: Path) -> None:
    config = settings(data, tmp_path, tiny, max_iters=2, eval_interval=1)
    said: list[str] = []
    found = crossval(config, log=said.append)
    assert found["folds"] == 3
    losses = []
    for fold in range(3):
        out = tmp_path / f"fold-{fold}"
        losses.append(json.loads((out / "result.json").read_text())["best"])
        alone = quiet(replace(config, out=tmp_path / "alone", fold=fold))
        assert alone["best"] == losses[-1]
    assert found["mean"] == pytest.approx(np.mean(losses))
    assert found["spread"] == pytest.approx(np.std(losses, ddof=1))
    count = len(said)
    assert crossval(config, log=said.append) == found
    assert len(said) == count  # nothing was trained again
    with pytest.raises(ValueError, match="another --out"):
        crossval(replace(config, seed=2), log=said.append)
    with pytest.raises(ValueError, match=r"trained with form_loss=0\.0, not 1\.0"):
        crossval(replace(config, form_loss=1.0), log=said.append)
    (tmp_path / "fold-0" / "result.json").unlink()  # one that has not come to its end
    with pytest.raises(ValueError, match="fold-0 was trained with weight_decay"):
        crossval(replace(config, weight_decay=0.2), log=said.append)


def test_crossval_that_is_ended_goes_on(data: Path, tiny: Path, tmp_path: Path) -> None:
    """A plea to end does not leave half a fold behind as a result."""
    config = settings(data, tmp_path / "whole", tiny, max_iters=4, eval_interval=2)
    whole = crossval(config, log=lambda _: None)

    def end(line: str) -> None:
        if line.startswith("step 2"):
            signal.raise_signal(signal.SIGTERM)

    config = replace(config, out=tmp_path / "parts")
    with pytest.raises(SystemExit):
        crossval(config, log=end)
    assert not (tmp_path / "parts" / "fold-1").exists()
    assert crossval(config, log=lambda _: None) == whole


def test_tune_finds_a_better_rate_and_goes_on(data: Path, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    config = settings(data, tmp_path, tiny, max_iters=4, eval_interval=2, learning_rate=1e-3)
    found = tune(config, 3, log=lambda line: None)
    assert found["trials"] == 3
    assert 1e-4 <= found["params"]["learning_rate"] <= 1e-2
    assert (Path(found["folder"]) / "best.pt").is_file()
    assert tune(config, 3, log=lambda line: None) == found  # the study is kept
    assert tune(config, 4, log=lambda line: None)["trials"] == 4


def test_curves_and_board(data: Path, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    quiet(settings(data, tmp_path, tiny, validity_poems=8))
    found = curves.read(tmp_path / "step_metrics.csv")
    assert [step for step, _ in found["val_loss"]] == [3, 6]
    assert [step for step, _ in found["train_loss"]] == [1, 2, 3, 4, 5, 6]
    curves.plot(tmp_path / "step_metrics.csv", tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().count("<path") > 20
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match="leave --tensorboard out"):
            quiet(settings(data, tmp_path, tiny, tensorboard=True))
    else:
        quiet(settings(data, tmp_path, tiny, tensorboard=True))
        assert list((tmp_path / "tensorboard").iterdir())
