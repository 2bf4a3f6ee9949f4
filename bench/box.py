"""The models in the box beside the model that taught them: size, speed, what their poems are like.

    python bench/box.py [--reference CORPUS] [--poems 20] [--topics 25] [--smoke]

Every model writes the same number of poems on topics that no corpus was written on, with the
settings that `generate` has by default, a season asked for in turn. Poems are judged by SmolLM2,
told nothing of their topics; `difference` is a model's log p a token less that of SmolLM2's own
poems, with its 95 % interval over poems. Speed: haiku a second, models in turn within a round, so
that a busy moment meets all; `times` is the ratio within a round, its median with least and most.
--reference: a file of poems that a model learned from, for the longest span copied from it. Prints
a table and, last, JSON; poems go to --out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np

from constrained_gpt import Engine, Haiku, generate, validate
from constrained_gpt.corpus import plan
from constrained_gpt.evaluation import intervals
from constrained_gpt.evaluation.evaluate import evaluate_poems
from constrained_gpt.evaluation.report import SetResult
from constrained_gpt.evaluation.sources import load
from constrained_gpt.registry import REGISTRY, locate

TEACHER = "smollm2"
BOXED = tuple(name for name, source in REGISTRY.items() if source.boxed)
SEASONS = ("spring", "summer", "autumn", "winter")
PLAIN: dict[str, Any] = {"strategy": "sample"}
SPEEDS: dict[str, tuple[int, dict[str, Any]]] = {  # how many poems a timed call writes, and how
    "one poem": (1, {}), "32 poems": (32, {}), "64 poems, plain draws": (64, PLAIN),
}  # fmt: skip
SHOWN = (
    "log_p_per_token", "form_loss_per_line", "function_word_ends", "articles", "repeated_words",
    "distinct_2", "self_bleu", "copied_words",
)  # fmt: skip


def written(model: Engine, topics: list[str], each: int) -> list[Haiku]:
    """`each` poems a topic."""
    poems: list[Haiku] = []
    for place, topic in enumerate(topics):
        poems += generate(
            topic, each, model=model, season=SEASONS[place % 4], seed=575, unique=False
        )
    return proved(poems)


def proved(poems: list[Haiku]) -> list[Haiku]:
    """The poems, all read again by the validator."""
    for poem in poems:
        if not validate(poem.text, poem.report.form, policy="all").valid:
            raise SystemExit(f"not valid, so not measured: {poem.text!r}")
    return poems


def speeds(models: dict[str, Engine], rounds: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Model -> kind of work -> haiku a second and how many times the teacher's."""
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in models}
    for kind, (n, options) in SPEEDS.items():
        rates: dict[str, list[float]] = {name: [] for name in models}
        for turn in range(rounds + 1):
            for name, model in models.items():
                began = time.perf_counter()
                poems = generate("autumn rain", n, model=model, seed=turn, unique=False, **options)
                seconds = time.perf_counter() - began
                assert all(poem.report.valid for poem in poems)
                if turn:  # the first round warms up
                    rates[name].append(n / seconds)
        for name, own in rates.items():
            times = [a / b for a, b in zip(own, rates[TEACHER], strict=True)]
            found[name][kind] = {
                "haiku_per_second": statistics.median(own),
                "times": [statistics.median(times), min(times), max(times)],
            }
    return found


def judged(result: SetResult) -> np.ndarray:
    """(2, poems): log p and tokens of every poem that the judge could read."""
    return np.array([(p.log_p, p.tokens) for p in result.poems if p.log_p is not None]).T


def size(name: str) -> int:
    """Bytes on disk of what a name brings along, the model it changes left out."""
    path = locate(name)
    return sum(p.stat().st_size for p in path.iterdir()) if path.is_dir() else path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(BOXED), metavar="NAME")
    parser.add_argument("--poems", type=int, default=20, help="for each topic (default 20)")
    parser.add_argument("--topics", type=int, default=25, help="how many (default 25)")
    parser.add_argument("--rounds", type=int, default=5, help="of timing (default 5)")
    parser.add_argument("--reference", metavar="FILE", help="what they learned from")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the poems go")
    parser.add_argument("--smoke", action="store_true", help="little work")
    asked = parser.parse_args()
    if asked.smoke:
        asked.poems, asked.topics, asked.rounds = 1, 2, 1
    names = [TEACHER, *(name for name in asked.models if name != TEACHER)]
    models = {name: Engine.from_pretrained(name, dtype="int8") for name in names}
    rates = speeds(models, asked.rounds)
    topics = plan.held_out()[: asked.topics]
    poems = {name: written(model, topics, asked.poems) for name, model in models.items()}
    reference = load(asked.reference) if asked.reference else None
    result = evaluate_poems(poems, judge=models[TEACHER], reference=reference)
    sets = {one.name: one for one in result.sets}
    rows = []
    for name, own in sets.items():
        texts = [poem.text for poem in poems[name]]
        apart = intervals.difference(judged(own), judged(sets[TEACHER]), seed=0)
        copied = [p.copied.length for p in own.poems if p.copied is not None]
        rows.append({
            "model": name,
            "bytes": size(name),
            "poems": len(texts),
            "distinct": len(set(texts)) / len(texts),
            "difference": [apart.value, apart.low, apart.high],
            "longest_copy": max(copied, default=None),
            "speed": rates[name],
            **{measure: None if (found := own.totals[measure]) is None else found.value
               for measure in SHOWN},
        })  # fmt: skip
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        for name, written_ones in poems.items():
            lines = [json.dumps(poem.to_dict()) + "\n" for poem in written_ones]
            (asked.out / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    show(rows)
    print(json.dumps({"machine": machine.card(), "topics": topics, "rows": rows}))


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    for row in rows:
        apart, low, high = row["difference"]
        print(f"{row['model']}: {row['bytes'] / 1e6:.1f} MB, {row['poems']} poems, "
              f"{row['distinct']:.1%} distinct, log p a token {apart:+.3f} "
              f"[{low:+.3f}, {high:+.3f}] beside {TEACHER}, longest copy "
              f"{row['longest_copy']} words")  # fmt: skip
        for kind, speed in row["speed"].items():
            times, least, most = speed["times"]
            print(f"  {kind:24} {speed['haiku_per_second']:7.1f} haiku/s, {times:.2f} times "
                  f"({least:.2f} to {most:.2f})")  # fmt: skip
        print("  " + ", ".join(f"{measure} {row[measure]:.3f}" for measure in SHOWN
                               if row[measure] is not None))  # fmt: skip


if __name__ == "__main__":
    main()
