"""One decoding step of a haiku taken apart: its matrix products, and all that is not.

    python bench/step_parts.py             GPT-2 124M, random weights: results/step.json
    python bench/step_parts.py --model smollm2
    python bench/step_parts.py --smoke     a tiny model, a round, no figures kept

Rows of poems in the middle of their second line, after a prompt of 16 tokens, int8. The whole step:
the lattice's step and mask, the forward pass, the logits that the masks need, the draw. The same
products again and nothing else: every matrix of every layer on the same rows, and as many rows of
the output layer. Then the other parts alone. Proved first: the step's logits are those of the whole
output layer to the bit, and its products those of the slow twin.

Rounds are interleaved, part by part. Median, lowest, highest, in ms. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import figures
import lexicons
import machine
import model_twins
import numpy as np

from constrained_gpt.checkpoint import load
from constrained_gpt.decoding.batch import Batch
from constrained_gpt.decoding.options import Options
from constrained_gpt.int8_engine import Int8Engine
from constrained_gpt.kernels import decoder as kd
from constrained_gpt.kernels import reference_decoder, reference_int8
from constrained_gpt.kernels._jit import jit
from constrained_gpt.kernels._simd import PANEL, tiles_close, tiles_open
from constrained_gpt.kernels._team import BARRIER, meet
from constrained_gpt.kernels.attention import decode_attention
from constrained_gpt.kernels.int8 import product_panel
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lexicon import Lexicon

BATCHES, ROUNDS, WANTED = (1, 8, 64), 40, {8: 1.35, 64: 1.35}
PROMPT, MIDDLE = 16, 12  # tokens of the prompt; of a poem before the step that is timed
Call = Callable[[], object]


@jit
def products(  # type: ignore[no-untyped-def]
    thread, threads, barrier, shape, weights, codes, scales, need, room, out
):  # fmt: skip
    """Every matrix product of a step, on the bytes that lie in `room`; threads share the work as
    they do in the step."""
    rows = len(need)
    teams = kd.teams_of(threads, rows)
    each = threads // teams
    team, mine = thread // each, thread % each
    low, high = rows * team // teams, rows * (team + 1) // teams
    wide = room.bytes.shape[1]
    bytes_ = room.bytes[2 * low : 2 * high].reshape(-1)
    y = room.y[low:high].reshape(-1)
    stride = room.y.shape[1]
    tiles = room.layout[0] != 0
    if tiles:
        tiles_open(room.layout)
    for layer in range(shape.layers):
        for matrix in range(4):
            n, k = weights.rows_of[layer, matrix], weights.columns_of[layer, matrix]
            panels = n // PANEL
            at, scale_at = weights.code_at[layer, matrix], weights.scale_at[layer, matrix]
            for p in range(panels * mine // each, panels * (mine + 1) // each):
                column = p * PANEL % (stride - PANEL + 1)  # a gated layer is wider than y
                product_panel(
                    bytes_, wide, room.scales[low:high], room.sums[low:high], high - low,
                    weights.codes, at + p * PANEL * k, k // 4, weights.scales, weights.biases,
                    scale_at + p * PANEL, tiles, room.acc[thread], False, y, column, stride,
                )  # fmt: skip
            meet(barrier[BARRIER * team :], each)
    if tiles:
        tiles_close()
    meet(barrier[BARRIER * threads :], threads)
    kd.head_logits(
        thread, threads, barrier, codes, scales, room, np.arange(rows), need, np.arange(rows + 1),
        np.arange(rows), out, len(scales), np.zeros((2, 0, 0), np.float32), np.zeros(0),
    )  # fmt: skip


@jit
def norms(thread, threads, barrier, shape, weights, rows, room):  # type: ignore[no-untyped-def]
    """Norms and bytes of rows, as often as in a step."""
    y = room.y.reshape(-1)
    for layer in range(shape.layers):
        for which in range(2):
            kd.norm_rows(shape, weights, 2 * layer + which, rows, room, thread, threads)
            meet(barrier, threads)
        for size in (weights.columns_of[layer, 1], shape.inner):
            kd.quantize_rows(y, room.y.shape[1], size, rows, room, thread, threads)
            meet(barrier, threads)


class Step:
    """A batch of poems held before one and the same step."""

    def __init__(self, engine: Int8Engine, lattice: Lattice, rows: int) -> None:
        rng = np.random.default_rng(rows)
        self.engine, self.lattice = engine, lattice
        self.options = Options(temperature=1.0, min_p=None)
        prompt = engine.tokenizer.encode("all day the autumn rain " * PROMPT)[:PROMPT]
        self.batch = batch = Batch(
            engine, lattice, prompt, 2 * rows + 2, whole=False, weighed=False
        )
        for _ in range(MIDDLE):  # some poems of long words are finished by then
            ended = batch.push(batch.draw(self.options, rng.random(len(batch))).tokens)
            batch.select(np.flatnonzero(~ended))
            batch.read()
        last = batch.draw(self.options, rng.random(len(batch))).tokens
        after = batch.states.copy()
        lattice.advance(after, last)
        going = np.flatnonzero(~lattice.finished(after))[:rows]
        if len(going) < rows:
            raise SystemExit(f"only {len(going)} poems go on after {MIDDLE} tokens; lower MIDDLE")
        batch.select(going)
        self.tokens = last[going]
        self.uniforms = rng.random(rows)
        self.states = batch.states.copy()
        self.after = self.states.copy()
        lattice.advance(self.after, self.tokens)
        self.masks = lattice.masks(self.after)

    def whole(self) -> None:
        """Step, mask, forward pass, logits, draw; then back to where it was."""
        batch = self.batch
        batch.states[:] = self.states
        batch.push(self.tokens)
        batch.read()
        batch.draw(self.options, self.uniforms)
        self._back()

    def _back(self) -> None:
        self.batch._steps -= 1
        self.batch.cache.lengths -= 1

    def parts(self) -> dict[str, Call]:
        """What is timed, by name."""
        engine, batch, lattice = self.engine, self.batch, self.lattice
        model, rows = engine.model, len(batch)
        room = engine._room_for(rows, batch.cache.positions)
        codes, scales = engine._output_layer(lattice.order)
        need = -np.sort(-np.asarray(self.masks.prefix, np.int64))
        out = np.empty((rows, -(-int(need[0]) // PANEL) * PANEL), np.float32)
        shape, run = model.shape, engine._team.run
        rng = np.random.default_rng(0)
        kv = (rows, shape.kv_heads, MIDDLE + 1, shape.head)
        q = rng.standard_normal((rows, shape.heads, shape.head)).astype(np.float32)
        tails = [rng.standard_normal(kv).astype(np.float16) for _ in range(2 * shape.layers)]
        prefix = rng.standard_normal((shape.kv_heads, PROMPT, shape.head)).astype(np.float16)
        lengths = np.full(rows, MIDDLE + 1)

        def attention() -> None:
            for layer in range(shape.layers):
                decode_attention(q, prefix, prefix, tails[2 * layer], tails[2 * layer + 1], lengths)

        def mask() -> None:
            states = self.states.copy()
            lattice.advance(states, self.tokens)
            lattice.masks(states)

        def draw() -> None:
            batch._masks = self.masks
            batch.draw(self.options, self.uniforms)

        self.whole()  # what `draw` draws from
        return {
            "step": self.whole,
            "products": lambda: run(
                products, shape, model.weights, codes, scales, need, room, out
            ),
            "attention": attention,
            "norms and bytes": lambda: run(norms, shape, model.weights, rows, room),
            "step and mask of the lattice": mask,
            "draw": draw,
        }  # fmt: skip

    def prove(self) -> None:
        """The slice's logits against the whole output layer's; a product against its twin."""
        engine, batch, masks = self.engine, self.batch, self.masks
        batch.states[:] = self.states
        batch.push(self.tokens)
        batch.read()
        sliced, extra = batch._logits.copy(), batch._extra.copy()
        self._back()
        whole = engine.decode_step(batch.cache, self.tokens)
        batch.cache.lengths -= 1
        for row, many in enumerate(masks.prefix):
            wanted = whole[row, self.lattice.order[:many]]
            single = slice(masks.extra_start[row], masks.extra_start[row + 1])
            if not np.array_equal(sliced[row, :many], wanted) or not np.array_equal(
                extra[single], whole[row, masks.extra_token[single]]
            ):
                raise SystemExit(f"row {row}: the slice is not the whole layer's")
        self._prove_products()

    def _prove_products(self) -> None:
        model, rows = self.engine.model, len(self.batch)
        room = self.engine._room_for(rows, self.batch.cache.positions)
        weights = model.weights
        self.parts()["products"]()
        layer, matrix = model.shape.layers - 1, kd.MLP_OUT  # the last that is written to y
        n, k = int(weights.rows_of[layer, matrix]), int(weights.columns_of[layer, matrix])
        at, scale_at = int(weights.code_at[layer, matrix]), int(weights.scale_at[layer, matrix])
        codes = reference_decoder.unpacked(weights.codes[at : at + n * k], n, k)
        q = (
            32 * room.bytes[0 : 2 * rows : 2, :k].astype(np.int64)
            + room.bytes[1 : 2 * rows : 2, :k]
        )
        sums = q @ (codes.astype(np.int64) - reference_int8.ZERO).T
        # the kernel takes off what the row's own q add up to: other rows of bytes, other sums
        spare = reference_int8.ZERO * (q.sum(axis=1) - room.sums[:rows])[:, None]
        wanted = (sums + spare) * room.scales[:rows, None].astype(np.float64)
        wanted = (
            wanted * weights.scales[scale_at : scale_at + n]
            + weights.biases[scale_at : scale_at + n]
        )
        np.testing.assert_allclose(room.y[:rows, :n], wanted, rtol=1e-4, atol=1e-4)


def measure(name: str, batches: tuple[int, ...], rounds: int, words: int) -> dict[str, Any]:
    """Every part at every batch: ms, and the step over its products."""
    if name in model_twins.SHAPES:
        engine = Int8Engine.from_checkpoint(model_twins.random_gpt2(name))
    else:
        engine = Int8Engine.from_checkpoint(load(name))
    known = lexicons.lexicon(words) if words else Lexicon.default()
    lattice = compile(lexicons.ALL_RULES, known, engine.tokenizer)
    found = []
    for rows in batches:
        step = Step(engine, lattice, rows)
        step.prove()
        parts = step.parts()
        taken: dict[str, list[float]] = {part: [] for part in parts}
        for number in range(rounds + 2):
            for part, call in parts.items():
                began = time.perf_counter()
                call()
                if number >= 2:
                    taken[part].append(1e3 * (time.perf_counter() - began))
        over = [a / b for a, b in zip(taken["step"], taken["products"], strict=True)]
        found.append(
            {
                "batch": rows,
                "ms": {part: spread(values) for part, values in taken.items()},
                "step over products": {**spread(over), "wanted": WANTED.get(rows)},
            }
        )
    return {
        "machine": machine.card(),
        "model": name,
        "threads": engine._team.threads,
        "rows": found,
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown: a row a part."""
    rows = results["rows"]
    names = ["part, ms", *(f"batch {row['batch']}" for row in rows)]
    lines = ["| " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(rows)]
    for part in rows[0]["ms"]:
        cells = (figures.short(row["ms"][part]["median"]) for row in rows)
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    cells = (
        "{median:.2f} ({low:.2f} to {high:.2f})".format(**row["step over products"]) for row in rows
    )
    lines.append("| **step over products** | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def run(*, smoke: bool) -> dict[str, Any]:
    """What `make bench` asks for: the default, kept."""
    if smoke:
        return measure("tiny", (1, 3), 1, 2000)
    results = measure("124M", BATCHES, ROUNDS, 0)
    figures.keep(results, "step")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="124M", choices=(*model_twins.SHAPES, "smollm2"))
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, metavar="N")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument("--smoke", action="store_true", help="a tiny model, no figures kept")
    asked = parser.parse_args()
    if asked.smoke:
        results = run(smoke=True)
    else:
        results = measure(asked.model, tuple(asked.batches), asked.rounds, 0)
        figures.keep(results, "step" if asked.model == "124M" else f"step-{asked.model}")
    print(table(results), file=sys.stderr)
    print(json.dumps({**results, "smoke": asked.smoke}))


if __name__ == "__main__":
    main()
