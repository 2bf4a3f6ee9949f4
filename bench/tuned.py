"""Does tuning help at equal diversity? Line ends on function words, tuned and untuned, as drawn.

    python bench/tuned.py [--poems 20] [--topics 20] [--smoke]

A tuned model says likelier things, so its poems are less varied at the same temperature. Here both
draw plainly, no look-ahead and no rule on function words, on topics that no corpus was written on,
at several temperatures; between them the share of line ends is read off where distinct-2 is that of
the untuned model at temperature 1. Errors: distinct-2 by the jackknife, shares by poems. Prints a
table and, last, JSON.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import machine
import numpy as np
from box import proved

from constrained_gpt import Engine, Haiku, generate
from constrained_gpt.corpus import plan
from constrained_gpt.evaluation import diversity
from constrained_gpt.evaluation.text import measure

UNTUNED, TUNED = "smollm2", ("smollm2-haiku", "haiku-nano")
TEMPERATURES = (1.0, 1.1, 1.2, 1.3, 1.4)
DRAWN: dict[str, Any] = {"strategy": "sample", "lookahead": False, "dangling": "off", "seed": 7}


def written(model: Engine, topics: list[str], each: int, temperature: float) -> list[Haiku]:
    """`each` plain draws a topic."""
    poems: list[Haiku] = []
    for topic in topics:
        poems += generate(topic, each, model=model, temperature=temperature, unique=False, **DRAWN)
    return proved(poems)


def measured(poems: list[Haiku]) -> dict[str, float]:
    """Lines that end on function words, and distinct-2, with standard errors."""
    counted = [measure(poem.text) for poem in poems]
    shares = np.array([one.function_ends / one.lines for one in counted])
    two = diversity.distinct([one.keys for one in counted], 2)
    if two is None:
        raise SystemExit("too few words to measure; ask for more poems")
    return {
        "function_ends": float(shares.mean()),
        "function_ends_error": float(shares.std(ddof=1) / np.sqrt(len(shares))),
        "distinct_2": two[0],
        "distinct_2_error": two[1],
    }


def at_equal_diversity(rows: list[dict[str, Any]], wanted: float) -> float | None:
    """Line ends on function words where distinct-2 is `wanted`, between two temperatures; None if
    it lies outside them."""
    by = sorted(rows, key=lambda row: row["distinct_2"])
    known = [row["distinct_2"] for row in by]
    if not known[0] <= wanted <= known[-1]:
        return None
    return float(np.interp(wanted, known, [row["function_ends"] for row in by]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--poems", type=int, default=20, help="for each topic (default 20)")
    parser.add_argument("--topics", type=int, default=20, help="how many (default 20)")
    parser.add_argument("--smoke", action="store_true", help="little work, no real figures")
    asked = parser.parse_args()
    if asked.smoke:
        asked.poems, asked.topics = 2, 2
    topics = plan.held_out()[: asked.topics]
    rows: list[dict[str, Any]] = []
    for name in (UNTUNED, *TUNED):
        model = Engine.from_pretrained(name, dtype="int8")
        for temperature in (1.0,) if name == UNTUNED else TEMPERATURES:
            found = measured(written(model, topics, asked.poems, temperature))
            rows.append({"model": name, "temperature": temperature, **found})
            print(f"{name:14} {temperature:.1f}  function ends {found['function_ends']:5.1%} "
                  f"± {found['function_ends_error']:.1%}  distinct-2 {found['distinct_2']:.3f} "
                  f"± {found['distinct_2_error']:.3f}", flush=True)  # fmt: skip
    equal = {}
    for name in TUNED:
        own = [row for row in rows if row["model"] == name]
        share = equal[name] = at_equal_diversity(own, rows[0]["distinct_2"])
        said = "not reached at these temperatures" if share is None else f"{share:.1%}"
        print(f"{name}, as varied as {UNTUNED} at 1: function ends {said}")
    print(json.dumps({"machine": machine.card(), "topics": topics, "rows": rows, "equal": equal}))


if __name__ == "__main__":
    main()
