"""Models side by side on topics that no corpus has seen: form unasked, form's cost, speed, poems.

    python bench/small_models.py smollm2 smollm2-haiku run/best.pt --out poems

For each model: the share of poems in form when no mask helps (temperature 1, drawn by torch), the
nats a poem that the mask takes when it does (temperature 1, no look-ahead, syllables alone), haiku
per second as `generate` writes by default, with one season asked, and how many of those poems say
the season that was asked, without the mask asking it. The poems go to --out, one file a model, for
`haiku eval`. Every masked poem is validated before a figure is printed. Last line JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from constrained_gpt import Engine, generate, prompts, validate
from constrained_gpt.corpus import plan
from constrained_gpt.decoding import Options, sample
from constrained_gpt.finetune.prepare import bare
from constrained_gpt.finetune.train import build
from constrained_gpt.finetune.validity import free_samples
from constrained_gpt.lattice import compile
from constrained_gpt.lexicon import HAIKU, Lexicon, find_kigo

SEASONS = ("spring", "summer", "autumn", "winter")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--topics", type=int, default=12)
    parser.add_argument("--each", type=int, default=8, help="poems a topic and measure")
    parser.add_argument("--out", type=Path, default=Path("poems"))
    args = parser.parse_args()
    topics = plan.held_out()[: args.topics]
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in args.models:
        row = {"model": name, **_free(name, topics, args.each), **_masked(name, topics, args)}
        rows.append(row)
        print(", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}"
                        for k, v in row.items()), flush=True)  # fmt: skip
    print(json.dumps(rows))


def _free(name: str, topics: list[str], each: int) -> dict[str, Any]:
    """Without a mask: share in form, share whose season words have the season of the prompt."""
    model, checkpoint = build(name)
    tokenizer, style = checkpoint.tokenizer, checkpoint.prompt_style
    valid = seasonal = count = 0
    for number, topic in enumerate(topics):
        season = SEASONS[number % 4]
        form = dataclasses.replace(HAIKU, kigo=season)
        asking = prompts.build(tokenizer, topic, form, style)
        lattice = compile(bare(HAIKU), Lexicon.default(), tokenizer, policy="all", end=asking.end)
        draws = [np.random.default_rng([575, number, i]) for i in range(each)]
        texts = free_samples(model, tokenizer, asking.ids, asking.end, lattice, draws)
        for text in texts:
            valid += validate(text, bare(HAIKU), policy="any").valid
            seasonal += any(season in kigo.seasons for kigo in find_kigo(text))
            count += 1
    return {"free_poems": count, "valid_free": valid / count, "season_free": seasonal / count}


def _masked(name: str, topics: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """With the mask: what it costs, and how fast poems come."""
    engine = Engine.from_pretrained(name, dtype="auto")
    loss: list[float] = []
    for number, topic in enumerate(topics):
        form = dataclasses.replace(bare(HAIKU))
        style = getattr(engine, "prompt_style", None)
        asking = prompts.build(engine.tokenizer, topic, form, style)
        lattice = compile(form, Lexicon.default(), engine.tokenizer, policy="all", end=asking.end)
        draws = [np.random.default_rng([575, number, i]) for i in range(args.each)]
        plain = Options(temperature=1.0, min_p=None, lookahead=False)
        loss += [-sum(path.log_mass) for path in sample(engine, lattice, asking.ids, draws, plain)]
    generate("warm up", model=engine, season="autumn", seed=0)
    poems = []
    seconds = 0.0
    for number, topic in enumerate(topics):
        generate("warm up", model=engine, season=SEASONS[number % 4], seed=0)  # its lattice
        begun = time.perf_counter()
        poems += generate(topic, args.each, model=engine, season=SEASONS[number % 4], seed=2025)
        seconds += time.perf_counter() - begun
    for poem in poems:
        if not validate(poem.text, poem.report.form, policy="all").valid:
            raise SystemExit(f"not valid, so not measured: {poem.text!r}")
    path = args.out / f"{Path(name).name if Path(name).exists() else name}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(poem.to_dict(), ensure_ascii=False) + "\n" for poem in poems)
    error = float(np.std(loss, ddof=1) / np.sqrt(len(loss)))
    return {
        "z_loss": float(np.mean(loss)), "z_loss_error": error, "poems": len(poems),
        "haiku_per_second": len(poems) / seconds, "threads": torch.get_num_threads(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
