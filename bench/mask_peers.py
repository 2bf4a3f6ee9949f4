"""Masks side by side: what a plain 5-7-5 grammar costs engines for grammars, and us.

    python bench/mask_peers.py                           lists of 1,000, 5,000 and 20,000 words
    python bench/mask_peers.py --words 1000 --limit 120  others, with more time for each
    python bench/mask_peers.py --smoke                   50 words, no figures kept

The grammar: three lines of 5, 7 and 5 syllables, words with one space between them, no marks and
no other rule; words and counts are drawn from our lexicon. Each engine reads GPT-2's vocabulary
(50,257 tokens), then compiles the list (timed), then follows the same poems, drawn evenly from the
tokens our lattice allows. A token's time is that of the step before it and of its int32
bitmask. Every engine and list has a process and so many seconds (--limit); where they are not
enough, longer lists are not tried.

Proved first, at states drawn from those poems, against slow twins (haiku_grammar.Twins): peers
allow the tokens with which the text may go on, whatever its spelling; ours those among them that
spell words as the tokenizer does. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import engine_tables
import haiku_grammar
import machine
import mask_engines
import numpy as np
from figures import keep
from tqdm import tqdm

from constrained_gpt.kernels.mask import allocate_token_bitmask
from constrained_gpt.tokenizer import Tokenizer

WORDS, LIMIT = (1000, 5000, 20000), 30.0
POEMS, WARM, STATES = 64, 8, 10
ROWS = 64  # of our batch


def drawn_poems(words: dict[str, int], count: int, seed: int = 0) -> list[list[int]]:
    """Tokens of poems, their end left out; every allowed token as likely as another."""
    tokenizer = Tokenizer.gpt2()
    lattice = mask_engines.plain_lattice(words, tokenizer)
    generator, poems = np.random.default_rng(seed), []
    for _ in range(count):
        state, poem = lattice.start(), []
        while (token := int(generator.choice(lattice.allowed(state[0])))) != lattice.end:
            poem.append(token)
            lattice.advance(state, np.array([token]))
        poems.append(poem)
    return poems


def states_of(poems: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """Beginnings of poems, the empty one and a whole one among them."""
    generator = np.random.default_rng(1)
    begun = [
        list(poem[: generator.integers(1, len(poem))])
        for poem in (poems[generator.integers(len(poems))] for _ in range(count - 2))
    ]
    return [[], list(poems[0]), *begun]


# -- in a process of its own -----------------------------------------------------------------------
def alone(name: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Compile, prove and time one engine."""
    tokenizer = Tokenizer.gpt2()
    engine = mask_engines.ENGINES[name][1](tokenizer)
    engine.compile(dict(list(plan["words"].items())[:25]))  # what is loaded late is loaded
    began = time.perf_counter()
    engine.compile(plan["words"])
    compiled = time.perf_counter() - began
    for state, texts, spellings in plan["proofs"]:
        follow(engine, state)
        bits = np.unpackbits(np.ascontiguousarray(engine.fill()).view(np.uint8), bitorder="little")
        found = set(np.flatnonzero(bits).tolist())
        wanted = set(spellings if engine.exact else texts)
        if found != wanted and not (engine.leads and len(found) == 1 and found <= wanted):
            text = tokenizer.decode(state)
            raise SystemExit(f"after {text!r} {name} allows {len(found)} tokens, not {len(wanted)}")
    for poem in plan["poems"][:WARM]:
        follow(engine, poem)
    nanoseconds = []
    gc.disable()
    for poem in plan["poems"][WARM:]:
        engine.start()
        began = time.perf_counter_ns()
        engine.fill()
        nanoseconds.append(time.perf_counter_ns() - began)
        for token in poem:
            began = time.perf_counter_ns()
            engine.step(token)
            engine.fill()
            nanoseconds.append(time.perf_counter_ns() - began)
    gc.enable()
    p50, p99, p100 = np.quantile(nanoseconds, (0.5, 0.99, 1.0)) / 1e3
    row = {"compile_s": compiled, "p50": p50, "p99": p99, "p100": p100, "masks": len(nanoseconds)}
    if isinstance(engine, mask_engines.Ours):
        row["batch_p50"], row["batch"] = side_by_side(engine, plan["poems"]), ROWS
    return row


def follow(engine: mask_engines.MaskEngine, tokens: Sequence[int]) -> None:
    """Begin a poem and go along it, with a mask at every step."""
    engine.start()
    engine.fill()
    for token in tokens:
        engine.step(token)
        engine.fill()


def side_by_side(engine: mask_engines.Ours, poems: Sequence[Sequence[int]]) -> float:
    """Ours, ROWS poems in one call: microseconds a sequence and token, the median of steps."""
    lattice = engine.lattice
    many = poems[:ROWS]
    states = lattice.start(len(many))
    mask = allocate_token_bitmask(len(many), lattice.n_vocab)
    each = []
    for step in range(min(map(len, many))):
        tokens = np.array([poem[step] for poem in many])
        began = time.perf_counter_ns()
        lattice.advance(states, tokens)
        lattice.fill_next_token_bitmask(states, mask)
        each.append((time.perf_counter_ns() - began) / 1e3 / len(many))
    return float(np.median(each))


# -- all of them -----------------------------------------------------------------------------------
def measure(
    sizes: Sequence[int] = WORDS, limit: float = LIMIT, only: Sequence[str] = (), poems: int = POEMS
) -> dict[str, Any]:
    """Every engine on every list; the results as they are kept."""
    here = [name for name in mask_engines.ENGINES if not only or name in only]
    absent = {n: f"pip install {n}" for n in here
              if importlib.util.find_spec(mask_engines.ENGINES[n][0]) is None}  # fmt: skip
    for name, why in absent.items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    here = [name for name in here if name not in absent]
    rows: list[dict[str, Any]] = []
    late: set[str] = set()
    bar = tqdm(total=len(here) * len(sizes), leave=False)
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        for size in sorted(sizes):
            plan.write_text(json.dumps(planned(size, poems)), "utf-8")
            for name in here:
                bar.set_description(f"{name}, {size:,} words")
                row: dict[str, Any] = {"engine": name, "version": version(name), "words": size}
                if name in late:
                    row["why"] = "not tried: a shorter list took too long"
                else:
                    row.update(apart(name, plan, limit))
                    if "why" in row:
                        late.add(name)
                rows.append(row)
                bar.update()
    bar.close()
    return {"schema": 1, "machine": machine.card(), "limit_s": limit, "rows": rows,
            "absent": absent}  # fmt: skip


def planned(size: int, poems: int) -> dict[str, Any]:
    """What every engine is given: words, poems, and what the twins allow at some states."""
    words = haiku_grammar.word_list(size)
    twins = haiku_grammar.Twins(words, Tokenizer.gpt2())
    drawn = drawn_poems(words, WARM + poems)
    proofs = [
        (state, np.flatnonzero(twins.of_text(state)).tolist(),
         np.flatnonzero(twins.canonical(state)).tolist())
        for state in states_of(drawn, STATES)
    ]  # fmt: skip
    return {"words": words, "poems": drawn, "proofs": proofs}


def apart(name: str, plan: Path, limit: float) -> dict[str, Any]:
    """`alone` in a process; a row of figures, or why there is none."""
    command = [sys.executable, __file__, "--alone", name, str(plan)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        if name == "constrained-gpt":
            raise SystemExit(f"ours is not done in {limit:g} s; raise --limit") from None
        return {"why": f"not done in {limit:g} s"}
    if run.returncode == 0:
        found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
        return found
    said = run.stderr.strip().splitlines()
    if name == "constrained-gpt" or (said and said[-1].startswith("after ")):
        raise SystemExit(f"{name}: {said[-1] if said else run.returncode}")  # nothing to compare
    return {"why": f"fails: {said[-1][:100] if said else run.returncode}"}


def run(
    sizes: Sequence[int] = WORDS,
    limit: float = LIMIT,
    only: Sequence[str] = (),
    smoke: bool = False,
) -> dict[str, Any]:
    """`measure`, shown, and kept where it is whole."""
    results = measure((50,), 300, only, poems=2) if smoke else measure(sizes, limit, only)
    if not smoke and not only and tuple(sizes) == WORDS:
        keep(results, "grammar_masks")
    print(engine_tables.masks(results), file=sys.stderr)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, nargs="+", default=WORDS, metavar="N")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds an engine and list")
    parser.add_argument("--engines", nargs="+", default=(), choices=[*mask_engines.ENGINES])
    parser.add_argument("--smoke", action="store_true", help="50 words, no figures kept")
    parser.add_argument("--alone", nargs=2, metavar=("ENGINE", "PLAN"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.alone:
        name, plan = asked.alone
        print(json.dumps(alone(name, json.loads(Path(plan).read_text("utf-8")))))
        return
    results = run(asked.words, asked.limit, asked.engines, asked.smoke)
    print(json.dumps({**results, "smoke": asked.smoke}))


if __name__ == "__main__":
    main()
