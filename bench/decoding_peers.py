"""Decoding side by side: tokens and valid haiku a second of engines on one model, in one run.

    python bench/decoding_peers.py                     GPT-2 124M, random weights
    python bench/decoding_peers.py --model 355M        or smollm2, the real one
    python bench/decoding_peers.py --batches 1 --engines constrained CTranslate2
    python bench/decoding_peers.py --cpu               processor time, for a busy machine; not kept
    python bench/decoding_peers.py --device cuda       on a GPU, bfloat16 in place of int8
    python bench/decoding_peers.py --smoke             a tiny model, a round, no figures kept

Every engine has the same weights, prompt (16 tokens) and threads. Free: 24 tokens a row, drawn at
temperature 1 from the whole vocabulary; ours takes the same loop and kernels as for poems, with
the whole output layer and every token allowed. Poems: haiku in 5-7-5 with a season word, no
rhyme and no function word at the end of a line, drawn at temperature 1 under the mask alone, until
all have ended; ours writes four batches of them, the next poem in a row as soon as one ends.

Proved first: the likeliest tokens of a float32 engine are those of the float32 model that reads
the whole text at once (regret: how much less than its best it likes a token, in nats), those of an
int8 engine nearly so; what an engine draws has the model's probabilities (z, see `drawn`); the
likeliest poem of float32 engines is one and the same. Every poem that is timed is validated.

Rounds are interleaved, engine by engine. Figures: the median, the lowest, the highest. Ratios are
taken within rounds. A peer's haiku a second, where it writes none, are its tokens a second over
the mean number of tokens of our poems of that round. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import decoding_engines as de
import engine_tables
import machine
import model_twins
import numpy as np
import torch
import torch_decoding
from figures import keep
from tqdm import tqdm

from constrained_gpt.checkpoint import load
from constrained_gpt.lattice import compile
from constrained_gpt.lexicon import HAIKU, Lexicon, validate

MODELS = (*model_twins.SHAPES, "smollm2")
FORM = dataclasses.replace(HAIKU, kigo="any", rhyme="identical", dangling="forbidden")
PROMPT = "All day the autumn rain has fallen on the roofs of this town, and the river goes on"
PROMPT_TOKENS, NEW, BATCHES, ROUNDS = 16, 24, (1, 8, 64), 4
SPENT = 10.0  # seconds, after which an engine has no further rounds at a batch
REST = 0.25  # seconds between engines: OpenMP's threads go on spinning for a while
INT8, FLOAT32 = "constrained-gpt int8", "constrained-gpt float32"
HALF = f"constrained-gpt {de.HALF}"
OTHERS = {  # engine -> what it does, and how many times its haiku a second ours (int8) are to be
    "CTranslate2 int8": ("free", {1: 1.5, 8: 2.0, 64: 2.0}),
    "llama.cpp Q8_0": ("free", {1: 1.0}),
    "transformers float32": ("poems", {8: 5.0, 64: 5.0}),
    f"transformers {de.HALF}": ("poems", {}),
}
SHARE = 0.80  # constrained time per token over free time per token, at most
REGRET = {True: 1e-3, False: 0.2}  # of exact engines the largest; of others the mean
Z = 4.5


# -- proofs --------------------------------------------------------------------------------------
class Reference:
    """The float32 model, reading whole texts at once."""

    def __init__(self, task: de.Task) -> None:
        self._model, self._prompt = torch_decoding.loaded(task.checkpoint), task.prompt

    @torch.inference_mode()
    def log_p(self, rows: np.ndarray) -> torch.Tensor:
        """Log-probabilities of every token at every place of rows (B, T): (B, T, V)."""
        texts = torch.tensor([[*self._prompt, *row] for row in rows.tolist()])
        hidden = self._model.hidden(texts)[:, len(self._prompt) - 1 : -1]
        return self._model.lm_head(hidden).log_softmax(-1)

    def regret(self, row: np.ndarray) -> np.ndarray:
        """How far each token is from the model's likeliest, nats: (T,)."""
        log_p = self.log_p(row[None])[0]
        own = log_p.gather(-1, torch.tensor(row)[:, None])[:, 0]
        return (log_p.max(-1).values - own).numpy()

    def drawn(self, rows: np.ndarray) -> float:
        """Standard deviations between the log-probability of all these tokens and what the model
        would come to on average after the same beginnings."""
        log_p = self.log_p(rows)
        own = log_p.gather(-1, torch.tensor(rows)[..., None])[..., 0]
        p = log_p.exp()
        mean = (p * log_p).sum(-1)
        variance = (p * log_p**2).sum(-1) - mean**2
        return float((own - mean).sum() / variance.sum().sqrt())


def prove(engines: Sequence[de.DecodingEngine], task: de.Task) -> list[dict[str, Any]]:
    """What holds of each engine; SystemExit if it does not write what the model says."""
    reference, proofs = Reference(task), []
    best: dict[str, list[int]] = {}
    for engine in engines:
        likeliest = engine.write(2, NEW, 0, 0.0)
        regret = reference.regret(likeliest[0])
        z = reference.drawn(engine.write(8, NEW, 1, 1.0))
        off = float(regret.max() if engine.exact else regret.mean())
        if off > REGRET[engine.exact] or abs(z) > Z or (likeliest[0] != likeliest[1]).any():
            raise SystemExit(
                f"{engine.name} does not write what the model says: regret {off:.3g} nats, "
                f"z {z:.2f}; no time is told for another result"
            )
        poet = hasattr(engine, "poems")
        if poet:
            greedy = engine.poems(2, 0, 0.0)
            check_poems([*greedy, *engine.poems(2, 1, 1.0)], task)
            if engine.exact:
                best[engine.name] = greedy[0]
        proofs.append({
            "engine": engine.name, "version": engine.version, "exact": engine.exact,
            "regret_mean": float(regret.mean()), "regret_max": float(regret.max()), "z": z,
            "distinct": len(set(likeliest[0].tolist())), "poems": poet,
        })  # fmt: skip
    if len({tuple(tokens) for tokens in best.values()}) > 1:
        raise SystemExit(f"the likeliest poems differ between {', '.join(best)}")
    return proofs


def check_poems(poems: Sequence[Sequence[int]], task: de.Task) -> None:
    """Every poem is finished, and valid for the validator, which knows no lattice."""
    for tokens in poems:
        text = task.checkpoint.tokenizer.decode(tokens[:-1])
        report = validate(text, FORM, policy="all", lexicon=Lexicon.default())
        if tokens[-1] != task.lattice.end or not report.valid:
            raise SystemExit(f"no valid haiku: {text!r}: {'; '.join(report.reasons)}")


def check_free(tokens: np.ndarray, rows: int, task: de.Task) -> None:
    """As many tokens as asked for."""
    known = task.checkpoint.config.vocab_size
    if tokens.shape != (rows, NEW) or tokens.min() < 0 or tokens.max() >= known:
        raise SystemExit(f"{tokens.shape} tokens in place of {(rows, NEW)}")


# -- times ---------------------------------------------------------------------------------------
@dataclasses.dataclass
class Series:
    """What one engine did at one batch, round by round."""

    engine: str
    mode: str  # "free" or "poems"
    batch: int
    run: Callable[[int], Any] = dataclasses.field(repr=False)  # seed -> what was written
    seconds: list[float] = dataclasses.field(default_factory=list)
    tokens: list[int] = dataclasses.field(default_factory=list)
    poems: list[int] = dataclasses.field(default_factory=list)  # or rows of free tokens
    steps: list[int] = dataclasses.field(default_factory=list)  # of the longest row

    def rates(self) -> list[float]:
        """Tokens a second, by round."""
        return [n / s for n, s in zip(self.tokens, self.seconds, strict=True)]

    def haiku(self) -> list[float]:
        """Poems a second, by round."""
        return [n / s for n, s in zip(self.poems, self.seconds, strict=True)]


def series_of(engines: Sequence[de.DecodingEngine], batches: Sequence[int]) -> list[Series]:
    """What is to be timed, in order."""
    found = []
    for batch in batches:
        for engine in engines:
            found.append(
                Series(engine.name, "free", batch,
                       lambda seed, e=engine, b=batch: e.write(b, NEW, seed, 1.0))
            )  # fmt: skip
            if hasattr(engine, "poems"):
                found.append(
                    Series(engine.name, "poems", batch,
                           lambda seed, e=engine, b=batch: e.poems(b, seed, 1.0))
                )  # fmt: skip
    return found


def take(
    series: Sequence[Series], task: de.Task, rounds: int, smoke: bool, clock: Callable[[], float]
) -> None:
    """Time everything, round by round; each thing runs once before, where that is not long, and
    has no further round after SPENT seconds."""
    for batch in dict.fromkeys(one.batch for one in series):
        side_by_side = [one for one in series if one.batch == batch]
        bar = tqdm(
            total=len(side_by_side) * (rounds + (not smoke)), desc=f"batch {batch}", leave=False
        )
        for turn in range(0 if smoke else -1, rounds):
            for one in side_by_side:
                bar.set_postfix_str(f"{one.engine}, {one.mode}")
                bar.update()
                if sum(one.seconds) > SPENT:
                    continue
                time.sleep(0 if smoke else REST)
                began = clock()
                written = one.run(100 + turn)
                seconds = clock() - began
                if one.mode == "poems":
                    check_poems(written, task)
                else:
                    check_free(written, batch, task)
                if turn >= 0 or seconds > SPENT / 2:  # too long to be run for nothing
                    one.seconds.append(seconds)
                    one.tokens.append(sum(map(len, written)))
                    one.poems.append(len(written))
                    one.steps.append(max(map(len, written)))
        bar.close()


# -- results -------------------------------------------------------------------------------------
def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, lowest, highest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values),
            "rounds": len(values)}  # fmt: skip


def ratios(series: Sequence[Series]) -> list[dict[str, Any]]:
    """The figures that this bench is for, each with what is wanted of it."""
    by = {(one.engine, one.mode, one.batch): one for one in series}
    found = []

    def note(name: str, batch: int, values: list[float], bound: str, wanted: float | None) -> None:
        if values:
            found.append({"name": name, "batch": batch, **spread(values),
                          **({bound: wanted} if wanted is not None else {})})  # fmt: skip

    for batch in dict.fromkeys(one.batch for one in series):
        for ours in (INT8, HALF, FLOAT32):
            poems, free = by.get((ours, "poems", batch)), by.get((ours, "free", batch))
            if poems and free:
                shares = [f / p for f, p in zip(free.rates(), poems.rates(), strict=False)]
                name = f"{ours}: time per token, constrained over free"
                note(name, batch, shares, "at_most", SHARE)
        own = by.get((INT8, "poems", batch)) or by.get((HALF, "poems", batch))
        for (name, mode, at), other in by.items():
            usual, wanted = OTHERS.get(name, ("free", {}))
            if own is None or at != batch or mode != usual or name in (INT8, HALF, FLOAT32):
                continue
            if mode == "poems":
                gains = [a / b for a, b in zip(own.haiku(), other.haiku(), strict=False)]
            else:  # haiku it could have written, had its tokens been poems as long as ours
                gains = [a / b for a, b in zip(own.rates(), other.rates(), strict=False)]
            kind = "with our lattice" if mode == "poems" else "free"
            note(f"valid haiku of {own.engine} over those of {name}, {kind}", batch, gains,
                 "at_least", wanted.get(batch))  # fmt: skip
    return found


def measure(
    model: str = "124M",
    batches: Sequence[int] = BATCHES,
    only: Sequence[str] = (),
    rounds: int = ROUNDS,
    smoke: bool = False,
    cpu: bool = False,
    device: str = "cpu",
) -> dict[str, Any]:
    """Prove and time everything; the results as they are kept. cpu: by processor time, which leaves
    llama.cpp out, for it has a process of its own."""
    checkpoint = load(model) if model == "smollm2" else model_twins.random_gpt2(model)
    prompt = tuple(checkpoint.tokenizer.encode(PROMPT))[:PROMPT_TOKENS]
    if len(prompt) != PROMPT_TOKENS:
        raise SystemExit(f"the prompt has {len(prompt)} tokens and not {PROMPT_TOKENS}")
    lattice = compile(FORM, Lexicon.default(), checkpoint.tokenizer, policy="all")
    with tempfile.TemporaryDirectory() as folder:
        task = de.Task(checkpoint, prompt, lattice, Path(folder), de.processors(), device)
        engines, absent = de.installed(task, only)
        for name, why in absent.items():
            print(f"{name} is left out: {why}", file=sys.stderr)
        if cpu:
            engines = [engine for engine in engines if not engine.name.startswith("llama.cpp")]
        proofs = prove(engines, task)
        series = series_of(engines, batches)
        take(series, task, rounds, smoke, time.process_time if cpu else time.perf_counter)
    rows = []
    for one in series:
        row = {"engine": one.engine, "mode": one.mode, "batch": one.batch}
        rows.append({**row, "unit": "tokens/s", **spread(one.rates())})
        if one.mode == "poems":
            lengths = [n / poems for n, poems in zip(one.tokens, one.poems, strict=True)]
            rows.append({**row, "unit": "haiku/s", **spread(one.haiku()),
                         "tokens_a_poem": statistics.mean(lengths),
                         "longest": statistics.mean(one.steps)})  # fmt: skip
    return {
        "schema": 1, "machine": machine.card(device), "model": model, "threads": task.threads,
        "prompt_tokens": PROMPT_TOKENS, "new_tokens": NEW, "rows": rows,
        "ratios": ratios(series), "proofs": proofs, "absent": absent,
    }  # fmt: skip


def run(
    model: str = "124M",
    batches: Sequence[int] = BATCHES,
    only: Sequence[str] = (),
    rounds: int = ROUNDS,
    smoke: bool = False,
    cpu: bool = False,
    keep_part: bool = False,
    device: str = "cpu",
) -> dict[str, Any]:
    """`measure`, shown, and kept where it is whole, or a part is to be."""
    results = (
        measure("tiny", (1, 2), only, 1, smoke=True, device=device) if smoke
        else measure(model, batches, only, rounds, cpu=cpu, device=device)
    )  # fmt: skip
    whole = not only and tuple(batches) == BATCHES
    if not smoke and not cpu and (whole or keep_part):
        keep(results, f"decoding_{model}" + (f"_{device}" if device != "cpu" else ""))
    print(engine_tables.decoding(results), file=sys.stderr)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="124M", help="the weights of all")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, metavar="N")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument("--engines", nargs="+", default=(), metavar="NAME",
                        help="those whose names begin so; all if not given")  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep figures of some engines too")
    parser.add_argument("--smoke", action="store_true", help="a tiny model, no figures kept")
    parser.add_argument("--cpu", action="store_true", help="processor time; no figures kept")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu",
                        help="where the models are; cuda: bfloat16 in place of int8")  # fmt: skip
    asked = parser.parse_args()
    results = run(
        asked.model, asked.batches, asked.engines, asked.rounds, asked.smoke, asked.cpu, asked.keep,
        asked.device,
    )  # fmt: skip
    print(json.dumps({**results, "smoke": asked.smoke}))


if __name__ == "__main__":
    main()
