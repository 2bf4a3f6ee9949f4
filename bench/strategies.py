"""Quality of poems against forward passes of the model, by decoding strategy.

    python bench/strategies.py [--budgets 1 4 16] [--human FILE] [--smoke]

Every strategy writes the same number of poems for prompts that were set aside (none was used to
learn the look-ahead or to choose defaults), and pays the same for each: `budget` drafts, or
particles, or beams. Importance resampling ("IR") of whole drafts is what plain draws can do with
the same work towards the same target. Nothing forbids function words at line ends here. ± is one
standard error, that of distinct-2 by the jackknife. Writes
bench/results/strategies.json and strategies.png, prints a table and, last, JSON. --human measures
poems of people (a file as of `haiku eval`) by the same yardstick, where that can be: no log p.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import machine
import numpy as np

from constrained_gpt import Engine, Haiku, generate, validate
from constrained_gpt.decoding import Options
from constrained_gpt.evaluation import diversity
from constrained_gpt.evaluation.sources import load
from constrained_gpt.evaluation.text import measure
from constrained_gpt.generate import DEFAULT_STRATEGY

RESULTS = Path(__file__).resolve().parent / "results"
PROMPTS = (
    "a broken umbrella", "the harbour at dawn", "snow on a scarecrow", "my sister's wedding",
    "an old bicycle", "thunder", "moving house", "the night shift", "persimmons", "a lost glove",
)  # fmt: skip
BARE: dict[str, Any] = {"lookahead": False}
NEVER: dict[str, Any] = {"strategy": "smc", "resample": "never"}
STRATEGIES: dict[str, dict[str, Any]] = {
    "local masks, IR": {**BARE, **NEVER},
    "local masks, best of": {**BARE, "strategy": "best"},
    "SMC": {**BARE, "strategy": "smc"},
    "look-ahead, IR": NEVER,
    "look-ahead, best of": {"strategy": "best"},
    "look-ahead + SMC": {"strategy": "smc"},
    "look-ahead, beam": {"strategy": "beam", "diversity": 1.0},
}
DEFAULT = {"smc": "look-ahead + SMC", "best": "look-ahead, best of"}[DEFAULT_STRATEGY]
PAID = ("particles", "beams")  # options that cost forward passes
POEMS = 20


class Counted:
    """An engine that counts the rows it is given to read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.rows = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def decode_step(self, cache: Any, tokens: np.ndarray, **more: Any) -> np.ndarray:
        self.rows += len(tokens)
        return self._engine.decode_step(cache, tokens, **more)

    def decode_slice(self, cache: Any, tokens: np.ndarray, *rest: Any, **more: Any) -> Any:
        self.rows += len(tokens)
        return self._engine.decode_slice(cache, tokens, *rest, **more)

    def decode_weighed(self, cache: Any, tokens: np.ndarray, *rest: Any, **more: Any) -> Any:
        self.rows += len(tokens)
        return self._engine.decode_weighed(cache, tokens, *rest, **more)


def write(
    engine: Counted,
    options: dict[str, Any],
    budget: int,
    prompts: tuple[str, ...],
    each: int,
    temperature: float,
) -> list[Haiku]:
    beam = options["strategy"] == "beam"
    paid = {"beams": budget * each} if beam else {"particles": budget}
    poems = []
    for prompt in prompts:
        poems += generate(
            prompt, each, model=engine, seed=2024, dangling="off", unique=beam,  # type: ignore[arg-type]
            batch_size=max(128 // budget, 1), temperature=temperature, **options, **paid,
        )  # fmt: skip
    for poem in poems:
        if not validate(poem.text, poem.report.form, policy="all").valid:
            raise SystemExit(f"not valid, so not measured: {poem.text!r}")
    return poems


def measured(texts: list[str], log_p: np.ndarray | None) -> dict[str, float]:
    counted = [measure(text) for text in texts]
    lines = sum(one.lines for one in counted)
    found = {
        "poems": len(texts),
        "function_ends": sum(one.function_ends for one in counted) / lines,
        "distinct_poems": len(set(texts)) / len(texts),
    }
    for n in (1, 2):
        share = diversity.distinct([one.keys for one in counted], n)
        found[f"distinct_{n}"], found[f"distinct_{n}_error"] = share or (float("nan"),) * 2
    if log_p is not None:
        found["log_p"] = float(log_p.mean())
        found["standard_error"] = float(log_p.std(ddof=1) / np.sqrt(len(log_p)))
    return found


def human(file: str, size: int) -> dict[str, float]:
    entries = [entry.text for entry in load(file)]
    chosen = diversity.sample(len(entries), min(size, len(entries)), 0)
    rates = measured(entries, None)
    return {**measured([entries[i] for i in chosen], None),
            "function_ends": rates["function_ends"]}  # fmt: skip


def plot(
    rows: list[dict[str, Any]], people: dict[str, float] | None, temperature: float, target: Path
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2))
    panels = (
        ("log_p", "log p of a poem (nats)", None),
        ("function_ends", "lines that end on a function word", "function_ends"),
        ("distinct_2", "distinct-2", "distinct_2"),
    )
    for axis, (name, label, of_people) in zip(axes, panels, strict=True):
        for strategy in STRATEGIES:
            wanted = (strategy, temperature)
            own = [row for row in rows if (row["strategy"], row["temperature"]) == wanted]
            own.sort(key=lambda row: row["rows_a_poem"])
            points = [(row["rows_a_poem"], row[name]) for row in own]
            if points:
                main = strategy == DEFAULT
                axis.plot(*zip(*points, strict=True), marker="*" if main else "o",
                          markersize=13 if main else 5, linewidth=2.5 if main else 1.2,
                          label=strategy + (" (default)" if main else ""))  # fmt: skip
        if people is not None and of_people:
            axis.axhline(people[of_people], color="grey", linestyle=":", label="people")
        axis.set_xscale("log", base=2)
        axis.set(xlabel="model rows a poem", ylabel=label)
        axis.xaxis.set_major_formatter("{x:.0f}")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncol=4, frameon=False)
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    figure.savefig(target, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--strategies", nargs="*", default=list(STRATEGIES), metavar="NAME")
    parser.add_argument("--poems", type=int, default=POEMS, help="for each prompt (default 20)")
    parser.add_argument("--temperature", type=float, default=Options.temperature)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default bench/results)")
    parser.add_argument(
        "--keep", type=Path, nargs="+", default=[], metavar="FILE",
        help="strategies.json of earlier runs, whose other rows are kept",
    )  # fmt: skip
    parser.add_argument("--human", metavar="FILE", help="poems of people, measured beside ours")
    parser.add_argument("--smoke", action="store_true", help="little work, no figures kept")
    asked = parser.parse_args()
    unknown = [name for name in asked.strategies if name not in STRATEGIES]
    if unknown:
        raise SystemExit(f"{unknown[0]!r} is no strategy here; use {', '.join(STRATEGIES)}")
    prompts, each, budgets = PROMPTS, asked.poems, asked.budgets
    if asked.smoke:
        prompts, each, budgets = PROMPTS[:1], 2, [2]
    engine = Counted(Engine.from_pretrained("smollm2", dtype="auto"))
    if asked.strategies:
        generate("warm up", model=engine, seed=0)  # type: ignore[arg-type]
    people = human(asked.human, len(prompts) * each) if asked.human else None
    rows: list[dict[str, Any]] = []
    for budget in budgets:
        for name in asked.strategies:
            engine.rows, begun = 0, time.perf_counter()
            poems = write(engine, STRATEGIES[name], budget, prompts, each, asked.temperature)
            seconds = time.perf_counter() - begun
            row = {
                "strategy": name, "budget": budget, "temperature": asked.temperature,
                "rows_a_poem": engine.rows / len(poems), "seconds_a_poem": seconds / len(poems),
                **measured([p.text for p in poems], np.array([p.logprob for p in poems])),
                "texts": [poem.text for poem in poems],
            }  # fmt: skip
            rows.append(row)
            print(
                f"{name:22} {budget:3}  rows {row['rows_a_poem']:6.1f}  log p {row['log_p']:6.1f} "
                f"± {row['standard_error']:.1f}  function ends {row['function_ends']:5.1%}  "
                f"distinct {row['distinct_poems']:4.0%}  distinct-2 {row['distinct_2']:.3f} "
                f"± {row['distinct_2_error']:.3f}  {row['seconds_a_poem']:.2f} s",
                flush=True,
            )
    kept = [json.loads(file.read_text("utf-8")) for file in asked.keep]
    new = {(row["strategy"], row["budget"], row["temperature"]) for row in rows}
    for earlier in kept:
        rows += [row for row in earlier["rows"]
                 if (row["strategy"], row["budget"], row["temperature"]) not in new]  # fmt: skip
        people = people or earlier["people"]
    results = {"machine": machine.card(), "people": people, "default": DEFAULT, "rows": rows}
    if people is not None:
        print(f"people: function ends {people['function_ends']:.1%}, "
              f"distinct-2 {people['distinct_2']:.3f}")  # fmt: skip
    if not asked.smoke:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "strategies.json").write_text(json.dumps(results, indent=1) + "\n", "utf-8")
        plot(rows, people, asked.temperature, asked.out / "strategies.png")
    print(json.dumps({**results, "rows": [{k: v for k, v in r.items() if k != "texts"}
                                          for r in rows]}))  # fmt: skip


if __name__ == "__main__":
    main()
