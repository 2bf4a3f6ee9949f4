"""How far each decoder is from p(poem | form), on a model small enough to enumerate.

    python tests/exactness.py [--runs N]

Plain draws are enumerated: every draw is a pure function of the uniform number it is given, so that
the numbers can be chosen to visit each token once. What SMC puts out is estimated from `runs`
populations, with its sampling error. Prints the table; the tests assert what it must show.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import laws
import numpy as np
import toy

from constrained_gpt.decoding import Guide, Options, smc
from constrained_gpt.decoding.batch import Batch
from constrained_gpt.kernels.reference import log_sum_exp
from constrained_gpt.lattice import Lattice, compile
from constrained_gpt.lexicon import Form
from constrained_gpt.lexicon.typography import Typography
from constrained_gpt.lookahead import Lookahead
from constrained_gpt.lookahead.collect import Walker
from constrained_gpt.lookahead.fit import fit

FORM = Form(lines=(1, 2), kigo="any", rhyme="off")
PROMPT = (7, 7, 7)
BARE = Options(temperature=1.0, min_p=None, lookahead=False)
AHEAD = Options(temperature=1.0, min_p=None, lookahead=True)
RARE = 0.002  # a poem less likely than this is counted with all others like it
Poem = tuple[int, ...]


class WordTokenizer(toy.ToyTokenizer):
    """Most words are a token, as in a real vocabulary; "fireside" is not, and " fire" begins it."""

    MERGES = (
        *toy.ToyTokenizer.MERGES, b"moo", b"moon", b" moo", b" moon", b"snow", b" sn", b" snow", b"gl",
        b"glow", b" gl", b" glow", b" g", b"fire", b" fire", b"nt", b"er", b"wint", b"winter",
        b" wint", b" winter", b" a", b" I", b"...",
    )  # fmt: skip


class ToyLanguage(toy.ToyEngine):
    """What the next token is depends above all on the last one, as in a language; the rest of the
    history adds noise. Some words are seldom followed by a line break, others often; pieces of
    words are rare."""

    def __init__(
        self, tokenizer: toy.ToyTokenizer, spread: float = 1.3, noise: float = 0.3
    ) -> None:
        super().__init__(tokenizer, spread=spread)
        self.noise = noise
        words = [form for word in toy.WORDS for form in (word, " " + word)]
        whole = {tokenizer.encode(text)[0] for text in (*words, "\n", "...")} | {tokenizer.eos}
        self._rare = np.full(self.n_vocab, -5.0)
        self._rare[sorted(whole)] = 0.0

    def _hashed(self, history: tuple[int, ...]) -> np.ndarray:
        usual = super()._hashed((0, *history[-1:])) + self._rare
        return (usual + self.noise / self.spread * super()._hashed(history)).astype(np.float32)


TOKENIZER = WordTokenizer()
ENGINE = ToyLanguage(TOKENIZER)


@lru_cache(maxsize=1)
def lattice() -> Lattice:
    typography = Typography(marks=toy.MARKS[2:], capitals="lower")
    return compile(FORM, toy.lexicon(), TOKENIZER, typography=typography, use_cache=False)


@lru_cache(maxsize=4)
def log_model(penalty: float = 1.0) -> dict[Poem, float]:
    """Every poem of the form with its log-probability under the model; with a repetition penalty,
    as Keskar et al. define it, on all tokens of the vocabulary."""
    found = {}
    for path in laws.paths(lattice()):
        total, history = 0.0, list(PROMPT)
        for at, token in enumerate(path):
            logits = ENGINE.logits(history).astype(np.float64)
            for written in set(path[:at]) if penalty != 1.0 else ():
                was = logits[written]
                logits[written] = was / penalty if was > 0 else was * penalty
            total += float(logits[token]) - log_sum_exp(logits)
            history.append(token)
        found[tuple(path)] = total
    return found


def conditional(log_p: dict[Poem, float]) -> dict[Poem, float]:
    """Normalised over its poems."""
    z = log_sum_exp(np.array([*log_p.values()]))
    return {poem: math.exp(value - z) for poem, value in log_p.items()}


def learned(rows: int = 400, seed: int = 0) -> Lookahead:
    """A look-ahead learned of the toy model as of a real one, by walks."""
    first = [TOKENIZER.encode(mark.text)[0] for mark in toy.MARKS[2:]]
    spell = {"inner": [10, *first], "last": [TOKENIZER.eos, *first], "mid": first}
    walker = Walker(ENGINE, lattice(), spell)
    walker.walk(PROMPT, rows, rows // 2, np.random.default_rng(seed))
    order = lattice().order
    return fit(walker.seen, lattice().openings, order, np.zeros(len(order), bool))


def drawn(options: Options, guide: Guide | None = None) -> dict[Poem, float]:
    """The exact distribution of plain draws, token by token."""
    batch = Batch(ENGINE, lattice(), PROMPT, 1, guide=guide)
    log_q = np.zeros(1)
    found: dict[Poem, float] = {}
    while True:
        n = len(batch)
        below = np.zeros(n)  # probability of the tokens visited so far
        parents: list[int] = []
        tokens: list[int] = []
        steps: list[float] = []
        seen: list[set[int]] = [set() for _ in range(n)]
        while (below < 1.0 - 1e-6).any():
            draw = batch.draw(options, np.minimum(below + 1e-7, np.nextafter(1.0, 0.0)))
            for row in np.flatnonzero(below < 1.0 - 1e-6).tolist():
                token = int(draw.tokens[row])
                below[row] += math.exp(draw.log_q[row])
                if token not in seen[row]:
                    seen[row].add(token)
                    parents.append(row)
                    tokens.append(token)
                    steps.append(log_q[row] + draw.log_q[row])
        batch.select(np.array(parents))
        log_q = np.array(steps)
        finished = batch.push(np.array(tokens))
        histories = batch.history
        for row in np.flatnonzero(finished).tolist():
            found[tuple(histories[row])] = math.exp(log_q[row])
        going = np.flatnonzero(~finished)
        if not len(going):
            return found
        log_q = log_q[going]
        batch.select(going)
        batch.read()


@dataclass(frozen=True)
class Distance:
    """From the true conditional p to what came out, q: KL(p | q) and total variation, with standard
    errors, 0 where both are exact. Poems rarer than RARE are one cell, for samples cannot tell them
    apart; whole: KL without that, where it is known. Of samples, KL has what chance alone gives
    taken off (Miller and Madow: half a cell's worth each); total variation is as counted, chance
    included.
    """

    kl: float
    tv: float
    kl_error: float = 0.0
    tv_error: float = 0.0
    whole: float = math.nan


def cells(truth: dict[Poem, float]) -> dict[Poem, int]:
    """The cell of every poem: its own, or 0 for all that are rare."""
    known = [poem for poem, p in truth.items() if p >= RARE]
    return dict.fromkeys(truth, 0) | {poem: i for i, poem in enumerate(known, 1)}


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / np.maximum(q, 1e-300))).sum())


def exact_distance(truth: dict[Poem, float], found: dict[Poem, float]) -> Distance:
    cell = [*cells(truth).values()]
    p = np.array([*truth.values()])
    q = np.array([found.get(poem, 0.0) for poem in truth])
    pooled_p, pooled_q = np.bincount(cell, p), np.bincount(cell, q)
    tv = float(abs(pooled_p - pooled_q).sum() / 2)
    return Distance(divergence(pooled_p, pooled_q), tv, whole=divergence(p, q))


def counted_distance(truth: dict[Poem, float], poems: Sequence[Poem]) -> Distance:
    cell = cells(truth)
    p = np.bincount([*cell.values()], [*truth.values()])
    blocks = np.array_split(np.array([cell[poem] for poem in poems]), 20)

    def distance(found: np.ndarray) -> tuple[float, float]:
        q = np.bincount(found, minlength=len(p)) / len(found)
        chance = (len(p) - 1) / 2 / len(found)
        return divergence(p, np.maximum(q, 0.5 / len(found))) - chance, float(abs(q - p).sum() / 2)

    # Errors by leaving out one twentieth at a time.
    left_out = np.array([
        distance(np.concatenate(blocks[:i] + blocks[i + 1 :])) for i in range(len(blocks))
    ])  # fmt: skip
    m = len(blocks)
    errors = left_out.std(axis=0) * (m - 1) / math.sqrt(m)
    return Distance(*distance(np.concatenate(blocks)), float(errors[0]), float(errors[1]))


def populations(
    options: Options, runs: int, guide: Guide | None = None, seed: int = 5, rows: int = 4096
) -> tuple[list[Poem], np.ndarray]:
    """(poems, log estimates of Z) of so many SMC populations."""
    poems: list[Poem] = []
    weights: list[float] = []
    each = max(rows // options.particles, 1)
    for first in range(0, runs, each):
        many = range(first, min(first + each, runs))
        generators = [np.random.default_rng([seed, run]) for run in many]
        for path in smc(ENGINE, lattice(), PROMPT, generators, options, guide=guide):
            poems.append(tuple(path.tokens))
            weights.append(path.weight)
    return poems, np.array(weights)


def table(runs: int) -> list[tuple[str, Distance, str]]:
    """Name, distance, and the estimate of Z over Z with its standard error, of every decoder."""
    log_p = log_model()
    truth, log_z = conditional(log_p), log_sum_exp(np.array([*log_p.values()]))
    guide = learned().guide(lattice())
    rows = [
        ("local masking", exact_distance(truth, drawn(BARE)), ""),
        ("look-ahead by hand", exact_distance(truth, drawn(AHEAD)), ""),
        ("look-ahead learned", exact_distance(truth, drawn(AHEAD, guide)), ""),
    ]
    for particles in (4, 16, 256):
        for name, base, led in (("SMC", BARE, None), ("look-ahead learned + SMC", AHEAD, guide)):
            options = Options(1.0, min_p=None, lookahead=base.lookahead, particles=particles)
            poems, weights = populations(options, runs if particles < 256 else runs // 4, led)
            ratio = np.exp(weights - log_z)
            error = ratio.std(ddof=1) / math.sqrt(len(ratio))
            rows.append((f"{name}({particles})", counted_distance(truth, poems),
                         f"{ratio.mean():.4f} ± {error:.4f}"))  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20000, help="populations (a quarter of 256)")
    runs = parser.parse_args().runs
    truth = conditional(log_model())
    print(f"{len(truth)} poems; {runs} populations, a quarter as many of 256 particles")
    print(f"poems rarer than {RARE} are one cell")
    print(
        f"{'decoder':30} {'KL':>9} {'error':>8} {'TV':>8} {'error':>8} {'KL whole':>9}  Z estimate / Z"
    )
    for name, d, z in table(runs):
        whole = "" if math.isnan(d.whole) else f"{d.whole:.4f}"
        print(f"{name:30} {d.kl:9.5f} {d.kl_error:8.5f} {d.tv:8.4f} {d.tv_error:8.4f} {whole:>9}  {z}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
