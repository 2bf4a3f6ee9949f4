"""Does a model keep to the form for knowing where it stands? Plain against budget-aware training.

The same poems, seed, steps and batches twice, once with --budget, then `haiku evaluate` of the
untuned model and of both on the held-out poems, each asked in its own way. Runs are kept in --out
and gone on with.

    python bench/budget.py poems.jsonl --out runs --lora 16 --steps 200 --samples 500

Prints a table and, last, one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import card

from constrained_gpt.finetune.config import SCRATCH, TrainConfig
from constrained_gpt.finetune.evaluate import evaluate_files
from constrained_gpt.finetune.prepare import CARD, prepare
from constrained_gpt.finetune.run_files import BEST, CKPT
from constrained_gpt.finetune.train import train

ROWS = (
    ("loss", "held-out loss, nats a token"),
    ("poem_loss", "held-out loss, nats a poem"),
    ("z_loss", "of it taken by the mask, nats a poem"),
    ("validity", "free draws in form"),
    ("validity_error", "one standard error of that"),
    ("season", "free draws of the season asked for"),
    ("topic", "free draws that name the topic"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("poems", nargs="+", help="files that `haiku prepare` reads")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--init", default="smollm2", help="a model, or scratch")
    parser.add_argument("--lora", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--most", type=int, default=300, help="held-out poems read")
    parser.add_argument("--seed", type=int, default=1337)
    args = parser.parse_args()

    data = args.out / "data"
    if not (data / CARD).is_file():
        tokens = "gpt2" if args.init == SCRATCH else args.init
        prepare(args.poems, data, model=tokens)
    config = TrainConfig(
        data=data, out="", init=args.init, lora=args.lora, max_iters=args.steps, seed=args.seed,
        batch_size=args.batch_size, learning_rate=args.learning_rate,
        eval_interval=max(1, args.steps // 8),
    )  # fmt: skip
    models = {} if args.init == SCRATCH else {"untuned": args.init}
    for name, budget in (("plain", False), ("budget", True)):
        out = args.out / name
        resume = (out / CKPT).is_file()
        train(replace(config, out=out, budget=budget, resume=resume), log=say)
        models[name] = str(out / BEST)
    found: dict[str, dict[str, Any]] = {}
    for name, model in models.items():
        say(f"measuring {name}")
        report = evaluate_files(
            data, model=model, most=args.most, samples=args.samples, seed=args.seed
        )
        found[name] = report.to_dict()
    print("| | " + " | ".join(found) + " |\n| --- |" + " ---: |" * len(found))
    for row, label in ROWS:
        shown = ["-" if one[row] is None else f"{one[row]:.3f}" for one in found.values()]
        print(f"| {label} | " + " | ".join(shown) + " |")
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    print(json.dumps({"bench": "budget", "settings": settings, "models": found, "machine": card()}))


def say(line: str) -> None:
    """To standard error: standard output is for the table."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
