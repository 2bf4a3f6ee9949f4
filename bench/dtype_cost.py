"""What fewer bits cost: perplexity and next-token distributions of a dtype beside float32.

    python bench/dtype_cost.py POEMS         int8; files as `haiku eval` reads them
    python bench/dtype_cost.py POEMS -n 300 --model smollm2 --dtype bfloat16

Both engines read the same poems, each after a prompt that asks for one about anything. Perplexity:
e to the mean negative log p of the poems' tokens, their end among them; the ratio of the two. KL:
of float32's distribution of the next token to the other, mean over all steps, nats. float32 is
read on a processor, the other where it runs by itself. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import Any

import machine
import numpy as np

from constrained_gpt import Engine
from constrained_gpt.evaluation import judge, sources

TOPIC, BATCH = "anything", 16


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of logits (B, V) as log-probabilities, float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def measure(poems: Sequence[str], model: str, dtype: str) -> dict[str, Any]:
    """The figures, over poems of any form."""
    engines = {
        "float32": Engine.from_pretrained(model, device="cpu", dtype="float32"),
        dtype: Engine.from_pretrained(
            model, device="cpu" if dtype == "int8" else "auto", dtype=dtype
        ),
    }
    exact = engines["float32"]
    scripts = [s for text in poems if (s := judge.script(exact, text, TOPIC)) is not None]
    tokens = sum(len(script.path) for script in scripts)
    totals = dict.fromkeys(engines, 0.0)
    divergence = 0.0
    for first in range(0, len(scripts), BATCH):
        part = scripts[first : first + BATCH]
        kept: dict[tuple[int, int], np.ndarray] = {}

        def keep(places: Sequence[int], step: int, logits: np.ndarray, kept: Any = kept) -> None:
            for place, row in zip(places, _log_softmax(logits), strict=True):
                kept[place, step] = row

        def compare(places: Sequence[int], step: int, logits: np.ndarray, kept: Any = kept) -> None:
            nonlocal divergence
            for place, row in zip(places, _log_softmax(logits), strict=True):
                wanted = kept[place, step]
                divergence += float((np.exp(wanted) * (wanted - row)).sum())

        totals["float32"] += sum(judge.log_p(exact, part, watch=keep))
        totals[dtype] += sum(judge.log_p(engines[dtype], part, watch=compare))
    perplexity = {name: math.exp(-total / tokens) for name, total in totals.items()}
    return {
        "machine": machine.card(str(engines[dtype].device)), "model": model,
        "poems": len(scripts), "tokens": tokens,
        "perplexity": perplexity, "ratio": perplexity[dtype] / perplexity["float32"],
        "kl": divergence / tokens,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("poems", metavar="POEMS")
    parser.add_argument("-n", type=int, default=300, metavar="N", help="at most so many poems")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", choices=("int8", "bfloat16", "float16"), default="int8")
    asked = parser.parse_args()
    poems = [entry.text for entry in sources.load(asked.poems)][: asked.n]
    results = measure(poems, asked.model, asked.dtype)
    print(
        f"{results['poems']} poems, {results['tokens']} tokens: perplexity of {asked.dtype} is "
        f"{results['ratio']:.4f} times that of float32; KL {results['kl']:.4f} nats a token"
    )
    print(json.dumps(results))


if __name__ == "__main__":
    main()
