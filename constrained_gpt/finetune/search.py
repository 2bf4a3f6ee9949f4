"""Many runs of the trainer: cross-validation over folds, and a search for hyper-parameters.

Knows configurations and what a run returns; trains nothing itself. Called by `haiku crossval` and
`haiku tune`. Both go on where they were stopped.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..cache import written_whole
from ..checkpoint_nanogpt import read_file
from .config import TrainConfig, said
from .prepare import read_card
from .run_files import CKPT
from .train import train

RESULT = "result.json"
_MAY_DIFFER = ("out", "resume", "device", "tensorboard")  # they decide nothing that is learned
Log = Callable[[str], None]


def crossval(config: TrainConfig, *, log: Log = print) -> dict[str, Any]:
    """Train once for each fold of the prepared data, that fold held out: mean and spread.

    Each run has a folder `fold-K` below `config.out`; one that is finished is not trained again.
    """
    folds = read_card(config.data)["folds"]
    if not folds:
        raise ValueError(f"{config.data} has no folds; run `haiku prepare` with --folds 5")
    losses, validity = [], []
    for fold in range(folds):
        out = Path(config.out) / f"fold-{fold}"
        _check_same(out, replace(config, out=out, fold=fold))
        said = _finished(out)
        if said is None:
            log(f"fold {fold + 1} of {folds}")
            resume = (out / CKPT).is_file()
            said = train(replace(config, out=out, fold=fold, resume=resume), log=log)
            with written_whole(out / RESULT) as scratch:
                scratch.write_text(json.dumps(said) + "\n", "utf-8")
        losses.append(said["best"])
        validity.append(said["validity"])
    return {
        "folds": folds,
        "best": losses,
        "mean": statistics.fmean(losses),
        "spread": statistics.stdev(losses),
        "validity": None if math.isnan(validity[0]) else statistics.fmean(validity),
    }


def _check_same(out: Path, config: TrainConfig) -> None:
    """A run that was begun in this folder must have been of this very configuration."""
    if not (out / CKPT).is_file():
        return
    kept = read_file(out / CKPT).get("config", {})
    usual = {field.name: field.default for field in fields(config)}  # of what is newer than it
    for name, value in said(config).items():
        was = kept.get(name, usual[name])
        if name not in _MAY_DIFFER and was != value:
            raise ValueError(
                f"{out} was trained with {name}={was}, not {value}; choose another --out"
            )


def _finished(out: Path) -> dict[str, Any] | None:
    """What a run said that was taken to its end."""
    if not (out / RESULT).is_file() or not (out / CKPT).is_file():
        return None
    found: dict[str, Any] = json.loads((out / RESULT).read_text("utf-8"))
    return found


def tune(config: TrainConfig, trials: int, *, log: Log = print) -> dict[str, Any]:
    """Search for the hyper-parameters with the lowest held-out loss, by Optuna's sampler; trials
    that fall behind are cut short. The study is kept in `config.out`/tune.db and goes on from
    there. Each trial has a folder of its own with a checkpoint.
    """
    try:
        import optuna
    except ImportError:
        raise ValueError(
            "the search needs Optuna: pip install 'constrained-gpt[tune]'; or choose by hand"
        ) from None
    if trials < 1:
        raise ValueError(f"trials={trials} is not positive; use e.g. 20")
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="tune",
        storage=f"sqlite:///{(out / 'tune.db').resolve()}",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=config.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    )

    def objective(trial: Any) -> float:
        chosen = _chosen(trial, config)
        log(f"trial {trial.number}: " + ", ".join(f"{k}={v:.3g}" for k, v in chosen.items()))

        def watch(step: int, val_loss: float) -> None:
            trial.report(val_loss, step // config.eval_interval)
            if trial.should_prune():
                raise optuna.TrialPruned

        run = replace(config, out=out / f"trial-{trial.number}", **chosen)
        try:
            return float(train(run, log=log, watch=watch)["best"])
        except ValueError as error:
            if "no longer finite" in str(error):  # a learning rate too high
                raise optuna.TrialPruned from None
            raise

    done = sum(trial.state.is_finished() for trial in study.trials)
    study.optimize(objective, n_trials=max(0, trials - done))
    complete = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    if not complete:
        raise ValueError("no trial came to its end; lower the learning rate or add trials")
    return {
        "trials": len(study.trials),
        "complete": len(complete),
        "best": study.best_value,
        "params": study.best_params,
        "folder": str(out / f"trial-{study.best_trial.number}"),
    }


def _chosen(trial: Any, config: TrainConfig) -> dict[str, Any]:
    """A point near the configuration: rates within a factor of 10 of it."""
    low, high = config.lr / 10, config.lr * 10
    found = {
        "learning_rate": trial.suggest_float("learning_rate", low, high, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-3, 0.3, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
    }
    if config.budget:
        found["state_lr"] = trial.suggest_float("state_lr", 3e-4, 3e-2, log=True)
    return found
