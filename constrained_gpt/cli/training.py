"""`haiku prepare`, `finetune`, `crossval`, `tune` and `evaluate`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from .arguments import Commands, files_of, form_of, given
from .output import Bar, print_json, say

_PREPARE = (
    "model", "policy", "val_fraction", "test_fraction", "folds", "near", "column", "licence",
)  # fmt: skip


def _prepare(args: argparse.Namespace) -> int:
    from ..finetune.prepare import prepare

    options = given(args, _PREPARE)
    if args.form is not None:
        options["forms"] = [form_of(name) for name in args.form]
    with Bar(None) as bar:
        card = prepare(files_of(args.files), args.out, **options, progress=bar.update)
    print_json(card, indent=2)
    return 0


_FINETUNE = (
    "init", "budget", "lora", "lora_alpha", "max_iters", "batch_size", "block_size", "n_layer",
    "n_head", "n_embd", "dropout", "distil", "form_loss", "learning_rate", "state_lr", "min_lr",
    "warmup_iters", "lr_decay_iters", "weight_decay", "grad_clip", "gradient_accumulation_steps",
    "eval_interval", "eval_poems", "validity_poems", "patience", "fold", "precision", "compile",
    "tensorboard", "seed", "device",
)  # fmt: skip


def _config(args: argparse.Namespace, resume: bool = False) -> Any:
    from ..finetune.config import TrainConfig

    return TrainConfig(data=args.data, out=args.out, resume=resume, **given(args, _FINETUNE))


def _finetune(args: argparse.Namespace) -> int:
    from ..finetune.run_files import CKPT, METRICS
    from ..finetune.train import train

    if not args.resume and (Path(args.out) / CKPT).exists():
        raise ValueError(
            f"{args.out} holds a run already; go on with it by --resume, or give another --out"
        )
    target = None
    if args.plot is not None:
        from ..evaluation.plot import check_target

        target = check_target(args.plot)
    config = _config(args, args.resume)
    with Bar(config.max_iters, "step") as bar:

        def log(line: str) -> None:
            with bar.aside():
                print(line, file=sys.stderr, flush=True)

        result = train(config, log=log, progress=bar.update)
    if target is not None:
        from ..finetune.curves import plot

        plot(Path(args.out) / METRICS, target)
    print_json(result)
    return 0


def _crossval(args: argparse.Namespace) -> int:
    from ..finetune.search import crossval

    print_json(crossval(_config(args), log=say))
    return 0


def _tune(args: argparse.Namespace) -> int:
    from ..finetune.search import tune

    print_json(tune(_config(args), args.trials, log=say))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from ..finetune.evaluate import evaluate_files

    options = given(args, ("split", "device", "most", "samples", "seed"))
    for model in args.model or ["smollm2"]:
        print_json(evaluate_files(args.data, model=model, **options).to_dict(), flush=True)
    return 0


def add(command: Commands) -> None:
    """The commands and their arguments."""
    prepare = command("prepare", _prepare, "Turn files of poems into token files to train on.")
    prepare.add_argument(
        "files", nargs="+", metavar="FILE",
        help="text with blank lines, .jsonl, .csv, .tsv, .parquet, or a folder of them; - is "
        "standard input",
    )  # fmt: skip
    prepare.add_argument("--out", required=True, metavar="DIR", help="where the data goes")
    prepare.add_argument("--model", help="whose tokens to use (default smollm2)")
    prepare.add_argument(
        "--form", action="append", metavar="FORM",
        help="keep poems of this form: haiku (the default), tanka, ... or counts such as 3-5-3; "
        "repeat for several",
    )  # fmt: skip
    prepare.add_argument("--policy", help="readings that must fit: any (the default) or all")
    prepare.add_argument("--val-fraction", type=float, metavar="F", help="share that is held out")
    prepare.add_argument("--test-fraction", type=float, metavar="F", help="share that is set apart")
    prepare.add_argument("--folds", type=int, metavar="K", help="for `haiku crossval`")
    prepare.add_argument(
        "--near", type=float, metavar="X", help="likeness from which a poem counts as said before"
    )
    prepare.add_argument("--column", metavar="NAME", help="the field that holds the poem")
    prepare.add_argument("--licence", metavar="TEXT", help="of the poems, for the card")

    finetune = command("finetune", _finetune, "Train a model on prepared poems.")
    _training(finetune)
    finetune.add_argument("--plot", metavar="FILE", help="draw the curves: .png, .svg or .pdf")
    finetune.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --out"
    )

    crossval = command("crossval", _crossval, "Train once for each fold: mean and spread.")
    _training(crossval)
    tune = command("tune", _tune, "Search for the hyper-parameters with the lowest held-out loss.")
    _training(tune)
    tune.add_argument("--trials", type=int, default=20, metavar="N", help="runs (default 20)")

    evaluate = command("evaluate", _evaluate, "Loss and perplexity on the held-out poems.")
    evaluate.add_argument("data", metavar="DIR", help="what `haiku prepare` wrote")
    evaluate.add_argument(
        "--model", action="append",
        help="name, folder, .gguf file or ckpt.pt (default smollm2); repeat to compare",
    )  # fmt: skip
    evaluate.add_argument(
        "--samples", type=int, metavar="N",
        help="draw N poems without a mask: how many are in form, meet season and topic (default 0)",
    )  # fmt: skip
    evaluate.add_argument("--seed", type=int, help="of the draws and the tags (default 0)")
    evaluate.add_argument("--split", help="val (the default) or test")
    evaluate.add_argument("--most", type=int, metavar="N", help="read N poems of it at most")
    evaluate.add_argument("--device", help="cpu, cuda, mps")


def _training(sub: argparse.ArgumentParser) -> None:
    """The options of a training run."""
    sub.add_argument("data", metavar="DIR", help="what `haiku prepare` wrote")
    sub.add_argument("--out", required=True, metavar="DIR", help="where ckpt.pt goes")
    sub.add_argument("--init", metavar="MODEL", help="a name, a path, or scratch (default smollm2)")
    sub.add_argument(
        "--budget", action="store_true", default=None,
        help="tell the model which line it is in and how many syllables are left",
    )  # fmt: skip
    sub.add_argument(
        "--lora", type=int, metavar="R", help="train adapters of rank R, the rest stays"
    )
    sub.add_argument("--compile", action="store_true", default=None, help="torch.compile")
    sub.add_argument("--precision", help="auto, float32 or bfloat16")
    sub.add_argument("--device", help="cpu, cuda, mps")
    for name in (
        "learning-rate", "state-lr", "min-lr", "weight-decay", "grad-clip", "dropout", "distil",
        "form-loss", "lora-alpha",
    ):  # fmt: skip
        sub.add_argument(f"--{name}", type=float, metavar="X")
    for name in (
        "max-iters", "batch-size", "block-size", "n-layer", "n-head", "n-embd", "warmup-iters",
        "lr-decay-iters", "gradient-accumulation-steps", "eval-interval", "eval-poems",
        "validity-poems", "patience", "fold", "seed",
    ):  # fmt: skip
        sub.add_argument(f"--{name}", type=int, metavar="N")
    sub.add_argument(
        "--tensorboard", action="store_true", default=None, help="write OUT/tensorboard too"
    )
