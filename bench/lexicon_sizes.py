"""What a larger lexicon costs: masks and draws, whole decoding, building a lattice and loading it.

A token costs as much as it has candidates: tokens, not words, and the vocabulary bounds them.
Per token: 64 poems side by side, all rules on: masks and draw alone on random logits of the slice,
then whole poems by the int8 engine on random GPT-2s of two layers and of twelve (124M), whose
output layer computes the slice alone. Building and loading: fresh processes, kernels compiled
before, the lexicon in memory.
Proved first: every poem is valid, and a loaded lattice has the masks of the built one.

    python bench/lexicon_sizes.py [--smoke]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lexicons
import machine
import numpy as np

from constrained_gpt.decoding.options import Options
from constrained_gpt.decoding.sampling import sample
from constrained_gpt.int8_engine import Int8Engine
from constrained_gpt.kernels._team import shared_team
from constrained_gpt.kernels.sampling import sample_masked
from constrained_gpt.lattice import Lattice
from constrained_gpt.lexicon import validate
from constrained_gpt.tokenizer import Tokenizer

SIZES, SMALL = (10_000, 50_000, 120_000), (1_000, 2_000)
MOST_COSTLIER = 1.10  # a token at the largest lexicon, over one at the smallest
ROWS, REFILLS = 64, 4
LAYERS = (2, 12)  # of GPT-2's width; 12 are GPT-2 124M
BUILD = """
import json, sys, time
from pathlib import Path
import numpy as np
import lexicons
from constrained_gpt.lattice import compile
from constrained_gpt.lexicon import Lexicon
from constrained_gpt.tokenizer import Tokenizer

lexicon = Lexicon.from_rows(Path(sys.argv[1]).read_text("utf-8"))
lexicon.content_hash
tokenizer = Tokenizer.gpt2()
tokenizer.encode("warm")
began = time.perf_counter()
lattice = compile(lexicons.ALL_RULES, lexicon, tokenizer)
seconds = time.perf_counter() - began
masks = lattice.masks(lattice.start())
print(json.dumps([seconds, int(masks.prefix[0]), int(masks.stop[0] - masks.start[0])]))
"""


def random_engine(n_layer: int) -> Int8Engine:
    """GPT-2's width with few layers and random weights, on bytes."""
    import torch

    from constrained_gpt.checkpoint_common import Checkpoint
    from constrained_gpt.model import GPT
    from constrained_gpt.model_config import GPTConfig

    torch.manual_seed(0)
    config = GPTConfig(vocab_size=50257, n_layer=n_layer, mlp="gelu_tanh")
    return Int8Engine.from_checkpoint(
        Checkpoint(config, GPT(config).state_dict(), Tokenizer.gpt2(), "random")
    )


def mask_and_draw(lattice: Lattice, n_steps: int) -> tuple[float, float, float]:
    """Microseconds a token of step and mask, and of the draw; candidates a row."""
    new = list(lexicons.walk(lattice, ROWS, n_steps, 1))
    rng = np.random.default_rng(0)
    order, team = lattice.order, shared_team()
    logits = rng.gumbel(size=(ROWS, len(order))).astype(np.float32)
    rank = lattice.rank
    norm, history = np.full(ROWS, np.nan), np.zeros((ROWS, 0), np.int64)
    scratch = np.empty((team.threads, 2, lattice.n_vocab + 1024), np.float32)
    out = (np.zeros(ROWS, np.int64), *(np.empty(ROWS) for _ in range(4)))
    masking, drawing, candidates = [], [], []
    for again in range(2):  # the first round compiles, and fills caches
        for step in new:
            states = step.states.copy()
            began = time.perf_counter()
            lattice.advance(states, step.tokens)
            masks = lattice.masks(states)
            between = time.perf_counter()
            extra = np.zeros(len(masks.extra_token), np.float32)
            uniforms = rng.random(ROWS)
            drawn = time.perf_counter()
            team.run(
                sample_masked, logits, np.arange(ROWS), extra, False, order, rank, masks, norm,
                history, uniforms, 0.9, 0, 0.9, 0.0, 1.0, True, np.zeros((1, 1), np.float32),
                np.full(ROWS, -1), scratch, *out,
            )  # fmt: skip
            ended = time.perf_counter()
            if again:
                masking.append(between - began)
                drawing.append(ended - drawn)
                candidates.append((masks.stop - masks.start + np.diff(masks.extra_start)).mean())
    per_token = 1e6 / ROWS
    return (
        per_token * statistics.median(masking),
        per_token * statistics.fmean(drawing),
        float(np.mean(candidates)),
    )


def decoding(
    engine: Int8Engine, lattices: dict[int, Lattice], rounds: int
) -> dict[int, list[float]]:
    """Microseconds a token of whole poems by lexicon, the lexicons taking turns; the next poem
    begins as soon as one ends. Every poem of the round before is proved valid."""
    taken: dict[int, list[float]] = {n_words: [] for n_words in lattices}
    for number in range(rounds + 1):
        for n_words, lattice in lattices.items():
            generators = [np.random.default_rng([number, i]) for i in range(REFILLS * ROWS)]
            began = time.perf_counter()
            paths = sample(
                engine, lattice, [464], generators, Options(top_p=0.9, min_p=None), weights=False,
                rows=ROWS,
            )  # fmt: skip
            seconds = time.perf_counter() - began
            if number:
                taken[n_words].append(1e6 * seconds / sum(len(path.tokens) for path in paths))
                continue
            known = lexicons.lexicon(n_words)
            for path in paths:
                text = engine.tokenizer.decode(path.tokens[:-1])
                if not validate(text, lattice.form, policy="all", lexicon=known).valid:
                    raise SystemExit(f"not valid, so there is no time to tell:\n{text}")
    return taken


def build_and_load(n_words: int, loads: int) -> tuple[float, list[float]]:
    """Seconds of compiling a lattice that nobody has compiled, and of each load after that."""
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "words.tsv"
        words.write_text("".join(lexicons.lexicon(n_words).rows()), "utf-8")
        environment = {
            **os.environ, "CONSTRAINED_GPT_CACHE": folder,
            "PYTHONPATH": str(Path(__file__).resolve().parent),
        }  # fmt: skip
        found = []
        for _ in range(loads + 1):
            run = subprocess.run(
                [sys.executable, "-c", BUILD, str(words)], env=environment, capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            if run.returncode:
                raise SystemExit(f"building a lattice failed: {run.stderr.strip()}")
            found.append(json.loads(run.stdout))
    if len({(prefix, size) for _, prefix, size in found}) != 1:
        raise SystemExit("a loaded lattice has other masks than the built one")
    return found[0][0], [seconds for seconds, *_ in found[1:]]


def measure(smoke: bool) -> list[dict[str, Any]]:
    """Rows for the results."""
    sizes, n_steps, rounds, loads = (SMALL, 3, 1, 1) if smoke else (SIZES, 80, 3, 5)
    rows: list[dict[str, Any]] = []

    def add(name: str, unit: str, taken: list[float], **more: Any) -> None:
        low, middle, high = statistics.quantiles(taken, n=4) if len(taken) > 1 else (taken[0],) * 3
        rows.append(
            {
                "name": name, "unit": unit, "median": middle, "low": low, "high": high,
                "rounds": len(taken), **more,
            }
        )  # fmt: skip

    lattices = {n_words: lexicons.lattice(n_words) for n_words in sizes}
    more: dict[int, dict[str, float]] = {}
    for n_words, lattice in lattices.items():
        masking, drawing, candidates = mask_and_draw(lattice, n_steps)
        more[n_words] = {"candidates": candidates, "order": len(lattice.order)}
        of = f"{n_words:,} words, {ROWS} rows"
        add(f"step and mask, {of}", "µs/token", [masking], **more[n_words])
        add(f"draw with top-p, {of}", "µs/token", [drawing], **more[n_words])
    for layers in LAYERS[:1] if smoke else LAYERS:
        for n_words, taken in decoding(random_engine(layers), lattices, rounds).items():
            add(f"decoding, {layers} layers, int8, {n_words:,} words, {ROWS} rows", "µs/token",
                taken, **more[n_words])  # fmt: skip
    n_words = sizes[1]
    built, loaded = build_and_load(n_words, loads)
    add(f"lattice of {n_words:,} words, built", "ms", [1000 * built], wanted=1000)
    add(f"lattice of {n_words:,} words, from the cache", "ms",
        [1000 * seconds for seconds in loaded], wanted=10)  # fmt: skip
    return rows


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Largest lexicon over smallest, by what was measured."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["unit"] == "µs/token":
            kind = row["name"].rsplit(", ", 2)[0]
            found.setdefault(kind, []).append(row["median"])
    return {kind: figures[-1] / figures[0] for kind, figures in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="small work")
    smoke = parser.parse_args().smoke
    rows = measure(smoke)
    for row in rows:
        more = f"  {row['candidates']:,.0f} candidates a row" if "candidates" in row else ""
        print(f"{row['name']:<52} {row['median']:9.2f} {row['unit']}{more}")
    for kind, ratio in ratios(rows).items():
        print(f"{kind}: {ratio:.2f} times from the smallest to the largest lexicon; at most "
              f"{MOST_COSTLIER} wanted")  # fmt: skip
    print(json.dumps({"machine": machine.card(), "rows": rows, "smoke": smoke}))


if __name__ == "__main__":
    main()
