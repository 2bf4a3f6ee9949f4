"""What look-ahead and particles do to the poems: their log-probability, by strategy.

    python bench/strategies.py

The prompts were set aside: none was used to choose defaults. All strategies draw alike
(temperature 0.9, min-p 0.02). SMC runs as many model rows a poem as it has particles, and the time
says what that costs. Prints a table and, last, JSON. Knows no verdict on what reads well.
"""

from __future__ import annotations

import json
import time

import numpy as np

from constrained_gpt import Engine, generate, validate

PROMPTS = (
    "a broken umbrella", "the harbour at dawn", "snow on a scarecrow", "my sister's wedding",
    "an old bicycle", "thunder", "moving house", "the night shift", "persimmons", "a lost glove",
)  # fmt: skip
STRATEGIES = {
    "plain, bare mask": {"strategy": "sample", "lookahead": False},
    "plain, look-ahead": {"strategy": "sample", "lookahead": True},
    "SMC of 4, bare mask": {"strategy": "smc", "particles": 4, "lookahead": False},
    "SMC of 4, look-ahead": {"strategy": "smc", "particles": 4, "lookahead": True},
}
EACH = 8


def main() -> None:
    engine = Engine.from_pretrained("smollm2")
    generate("warm up", model=engine, seed=0)
    rows = []
    for name, options in STRATEGIES.items():
        begun = time.perf_counter()
        poems = [
            poem
            for prompt in PROMPTS
            for poem in generate(prompt, EACH, model=engine, seed=2024, **options)  # type: ignore[arg-type]
        ]
        seconds = time.perf_counter() - begun
        for poem in poems:
            if not validate(poem.text, poem.report.form, policy="all").valid:
                raise SystemExit(f"not valid, so not measured: {poem.text!r}")
        log_p = np.array([poem.logprob for poem in poems])
        error = float(log_p.std(ddof=1) / np.sqrt(len(log_p)))
        moons = float(np.mean(["moon" in poem.kigo for poem in poems]))
        rows.append(
            {"strategy": name, "poems": len(poems), "log_p": float(log_p.mean()),
             "standard_error": error, "moon": moons, "seconds": seconds}
        )  # fmt: skip
        print(
            f"{name:22} log p {log_p.mean():6.1f} ± {error:.1f}   moon in {moons:4.0%}   "
            f"{seconds / len(poems):.2f} s a poem",
            flush=True,
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
