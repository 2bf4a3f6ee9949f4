"""What look-ahead and SMC cost, a model row.

    python bench/decoder_cost.py [--smoke]

SMC of 16 with 8 poems and plain draws of 128 poems fill a batch alike; time is divided by the rows
that the model read. The look-ahead's share is that of its table alone: the same states and logits
drawn with it and without, against the time of a whole step. Proves first that SMC's poems are those
it writes one at a time, and that without a table nothing changes. Prints a table and, last, JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import machine
import numpy as np
from strategies import Counted

from constrained_gpt import Engine, Lexicon, lookahead, prompts
from constrained_gpt.decoding import Guide, Options, sample, smc
from constrained_gpt.decoding.batch import Batch
from constrained_gpt.lattice import compile
from constrained_gpt.lexicon import Form

FORM = Form(kigo="any", rhyme="identical", dangling="forbidden")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="little work, no real figures")
    parser.add_argument("--rounds", type=int, default=5)
    asked_for = parser.parse_args()
    smoke = asked_for.smoke
    rounds, poems, particles = (1, 2, 4) if smoke else (asked_for.rounds, 8, 16)
    engine: Any = Counted(Engine.from_pretrained("smollm2", dtype="auto"))
    asked = prompts.build(engine.tokenizer, "autumn rain", FORM)
    lattice = compile(FORM, Lexicon.default(), engine.tokenizer, end=asked.end)
    learned = lookahead.find(engine)
    if learned is None:
        raise SystemExit("smollm2 has no look-ahead here; run: haiku lookahead smollm2")
    guide = learned.guide(lattice)
    options = Options(particles=particles)

    def generators(n: int) -> list[np.random.Generator]:
        return [np.random.default_rng([7, i]) for i in range(n)]

    together = smc(engine, lattice, asked.ids, generators(poems), options, guide=guide)
    alone = smc(engine, lattice, asked.ids, generators(1), options, guide=guide)[0]
    if together[0].tokens != alone.tokens:
        raise SystemExit("a population depends on those beside it, so nothing is timed")
    ways: dict[str, Any] = {
        f"SMC of {particles}, {poems} poems": lambda: smc(
            engine, lattice, asked.ids, generators(poems), options, guide=guide
        ),
        f"plain, {poems * particles} poems": lambda: sample(
            engine, lattice, asked.ids, generators(poems * particles), options, guide=guide,
            weights=False,
        ),
        f"plain with weights, {poems * particles} poems": lambda: sample(
            engine, lattice, asked.ids, generators(poems * particles), options, guide=guide
        ),
    }  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):  # in turn, so that a busy machine is busy for all
        for name, run in ways.items():
            engine.rows, begun = 0, time.perf_counter()
            run()
            taken[name].append((time.perf_counter() - begun) / engine.rows * 1e6)
    rows = [{"what": name, "us_a_row": float(np.median(times)), "all": times}
            for name, times in taken.items()]  # fmt: skip
    rows.append(share_of_table(engine, lattice, asked.ids, guide, rounds))
    for row in rows[:3]:
        print(f"{row['what']:32} {row['us_a_row']:7.0f} µs a row")
    print(f"{rows[3]['what']:32} {rows[3]['share']:7.2%} of a step")
    print(json.dumps({"machine": machine.card(), "rows": rows, "smoke": smoke}))


def share_of_table(
    engine: Any, lattice: Any, ids: Any, guide: Guide, rounds: int
) -> dict[str, Any]:
    """Draws with the table less draws without, over the time of a step with it; 32 rows."""
    uniforms = np.linspace(0, 0.999, 32)
    batches = [Batch(engine, lattice, ids, 32, guide=led) for led in (guide, None)]
    blank = Batch(engine, lattice, ids, 32, guide=Guide.blank(lattice))
    options = Options()
    if (blank.draw(options, uniforms).tokens != batches[1].draw(options, uniforms).tokens).any():
        raise SystemExit("a table of zeros changes the draws, so nothing is timed")
    spent = np.zeros((rounds, 3))
    for i in range(rounds):
        for column, batch in enumerate(batches):
            begun = time.perf_counter()
            for _ in range(20):
                draw = batch.draw(options, uniforms)
            spent[i, column] = (time.perf_counter() - begun) / 20
        begun = time.perf_counter()
        batches[0].push(batches[0].draw(options, uniforms).tokens)
        batches[0].read()
        spent[i, 2] = time.perf_counter() - begun
        batches[1].push(draw.tokens)
        batches[1].read()
    with_table, without, step = np.median(spent, axis=0)
    return {"what": "the look-ahead's table", "share": float((with_table - without) / step)}


if __name__ == "__main__":
    main()
