"""What a draw costs: ours from the allowed slice, against torch's softmax, sort and multinomial.

64 poems in the middle of their writing, temperature 0.9, top-p 0.9, no look-ahead, which torch has
not. Proved first: our tokens are those of the slow twin at the same uniform numbers, and both ways
keep the same tokens and draw them with the same probabilities. Collected by run.py under
pytest-benchmark; with --benchmark-disable it proves over small work and times nothing.

    python bench/bench_sampling.py        the ratios, printed; also with --smoke
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import lexicons
import machine
import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from constrained_gpt.kernels import reference
from constrained_gpt.kernels._team import BARRIER, shared_team
from constrained_gpt.kernels.log_norm import log_sum_exp_rows, panel_room, sequence
from constrained_gpt.kernels.mask import Masks, allocate_token_bitmask, apply_token_bitmask_inplace
from constrained_gpt.kernels.sampling import sample_masked

N_WORDS, SMALL, ROWS = 50_000, 2_000, 64
TEMPERATURE, TOP_P = 0.9, 0.9
WAYS = {
    "ours, of the slice": "the logits of the allowed tokens lie in the lattice's order",
    "ours, of all logits": "picked out of all logits, log p included, which sums all logits",
    "torch, of all logits": "softmax, sort, cumulated, cut, multinomial over 50,257",
    "torch, of masked logits": "the same after the forbidden logits were set to -inf",
}
TIMES_FASTER = 20


class World:
    """One batch: states, masks, logits of all tokens (B, V), and the slices of them."""

    def __init__(self, n_words: int, seed: int = 3) -> None:
        lattice = lexicons.lattice(n_words)
        *_, last = lexicons.walk(lattice, ROWS, 30, seed)
        rng = np.random.default_rng(seed)
        self.order, vocab = lattice.order, lattice.n_vocab
        self.masks: Masks = lattice.masks(last.states)
        # As a model's: frequent tokens likely, and some few much likelier here than elsewhere.
        noise = 1.5 * rng.standard_normal((ROWS, vocab)) + rng.gumbel(size=(ROWS, vocab))
        self.logits = (noise - np.log(10.0 + np.arange(vocab))).astype(np.float32)
        self.bitmask = allocate_token_bitmask(ROWS, vocab)
        lattice.fill_next_token_bitmask(last.states, self.bitmask)
        self.slice = np.zeros((ROWS, int(self.masks.prefix.max())), np.float32)
        for b, rows in enumerate(self.masks.prefix):
            self.slice[b, :rows] = self.logits[b, self.order[:rows]]
        owner = np.repeat(np.arange(ROWS), np.diff(self.masks.extra_start))
        self.extra = self.logits[owner, self.masks.extra_token]
        self.rank = np.full(vocab, -1, np.int32)
        self.rank[self.order] = np.arange(len(self.order))
        self.team = shared_team()
        self._scratch = np.empty((self.team.threads, 2, vocab + 1024), np.float32)
        self._sequence = sequence(self.order, vocab)
        self._panels = panel_room(self.team.threads, vocab)
        self._nothing = np.zeros((ROWS, 0), np.int64)
        self._out = (np.zeros(ROWS, np.int64), *(np.empty(ROWS) for _ in range(4)))
        self._norm = np.full(ROWS, np.nan)

    def ours(self, uniforms: np.ndarray, *, whole: bool, module: Any = None) -> np.ndarray:
        """A token a row: int64 (B,); by `module` reference, else by the kernel."""
        norm = self._norm
        if whole:
            norm = np.empty(ROWS)
            self.team.run(log_sum_exp_rows, self.logits, self._sequence, self._panels, norm)
        arguments = (
            self.logits if whole else self.slice, np.arange(ROWS), self.extra, whole, self.order,
            self.rank, self.masks, norm, self._nothing, uniforms, TEMPERATURE, 0, TOP_P, 0.0, 1.0,
            False, np.zeros((1, 1), np.float32), np.full(ROWS, -1), self._scratch, *self._out,
        )  # fmt: skip
        if module is None:
            self.team.run(sample_masked, *arguments)
        else:
            module.sample_masked(0, 1, np.zeros(BARRIER, np.int64), *arguments)
        return self._out[0].copy()

    def kept(self, *, masked: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """What top-p keeps by torch: weights in falling order, 0 where cut, and their tokens."""
        logits = torch.from_numpy(self.logits)
        if masked:
            copied = self.logits.copy()
            apply_token_bitmask_inplace(copied, self.bitmask)
            logits = torch.from_numpy(copied)
        weights = torch.softmax(logits / TEMPERATURE, dim=-1)
        weights, tokens = torch.sort(weights, dim=-1, descending=True)
        weights[torch.cumsum(weights, dim=-1) - weights >= TOP_P] = 0.0
        return weights, tokens

    def torchs(self, *, masked: bool) -> np.ndarray:
        """A token a row."""
        weights, tokens = self.kept(masked=masked)
        chosen = torch.multinomial(weights, 1)
        return tokens.gather(1, chosen)[:, 0].numpy()

    def prove(self, draws: int) -> None:
        """Ours equals the twin, and torch's distribution over the masked logits."""
        weights, tokens = (t.numpy() for t in self.kept(masked=True))
        weights = weights.astype(np.float64) / weights.sum(axis=1, keepdims=True, dtype=np.float64)
        drawn = np.empty((draws, ROWS), np.int64)
        other = 0
        for i in range(draws):
            uniforms = np.full(ROWS, (i + 0.5) / draws)
            drawn[i] = self.ours(uniforms, whole=False)
            if i % 16 == 0:
                assert (self.ours(uniforms, whole=True) == drawn[i]).all(), "slice and whole differ"
                other += int((self.ours(uniforms, whole=False, module=reference) != drawn[i]).sum())
        # Sums in float32 place the border between two tokens otherwise now and then.
        assert other <= 0.002 * ROWS * draws / 16 + 1, f"{other} draws are not the twin's"
        for b in range(ROWS):
            probability = dict(zip(tokens[b].tolist(), weights[b].tolist(), strict=True))
            found, counts = np.unique(drawn[:, b], return_counts=True)
            for token, count in zip(found.tolist(), counts.tolist(), strict=True):
                assert probability[token] > 0, f"row {b}: torch does not keep token {token}"
                assert abs(count / draws - probability[token]) < 1.5 / draws + 1e-5
            missed = set(probability) - set(found.tolist())
            # Evenly spaced numbers meet every token that is likelier than their distance.
            assert all(probability[token] < 1.5 / draws for token in missed)

    def ways(self) -> dict[str, Callable[[], np.ndarray]]:
        uniforms = np.random.default_rng(0).random(ROWS)
        return {
            "ours, of the slice": lambda: self.ours(uniforms, whole=False),
            "ours, of all logits": lambda: self.ours(uniforms, whole=True),
            "torch, of all logits": lambda: self.torchs(masked=False),
            "torch, of masked logits": lambda: self.torchs(masked=True),
        }


@lru_cache(maxsize=1)
def world(n_words: int) -> World:
    """A batch, made and proved once."""
    torch.manual_seed(0)
    made = World(n_words)
    made.prove(400 if n_words == N_WORDS else 64)
    return made


def threads(of: World) -> str:
    return f"threads: ours {of.team.threads}, torch {torch.get_num_threads()}"


@pytest.mark.parametrize("way", WAYS)
def test_draw(benchmark: BenchmarkFixture, way: str) -> None:
    of = world(SMALL if benchmark.disabled else N_WORDS)
    benchmark.pedantic(of.ways()[way], rounds=12 if "torch" in way else 200, warmup_rounds=1)
    benchmark.extra_info.update(
        name=f"draw with top-p, 64 rows: {way} ({threads(of)})",
        unit="µs/sequence", work=ROWS, rate=False, scale=1e6,
    )  # fmt: skip


def measure(n_words: int, rounds: int) -> dict[str, Any]:
    """Seconds of every way, in turn, so that a busy moment hits all alike; and the ratios."""
    of = world(n_words)
    ways = of.ways()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            repeats = 1 if "torch" in name else 10
            began = time.perf_counter()
            for _ in range(repeats):
                way()
            if number:
                taken[name].append((time.perf_counter() - began) / repeats)
    rows = []
    for name, seconds in taken.items():
        low, middle, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
        rows.append(
            {
                "name": name, "how": WAYS[name], "unit": "ms a batch", "median": 1000 * middle,
                "low": 1000 * low, "high": 1000 * high, "rounds": rounds,
            }
        )  # fmt: skip
    by_name = {row["name"]: row["median"] for row in rows}
    ratios = {
        f"{slow} / {fast}": by_name[slow] / by_name[fast]
        for fast in list(WAYS)[:2]
        for slow in list(WAYS)[2:]
    }
    mean = float((of.masks.stop - of.masks.start + np.diff(of.masks.extra_start)).mean())
    return {
        "machine": machine.card(), "n_words": n_words, "rows": rows, "ratios": ratios,
        "wanted": TIMES_FASTER, "threads": threads(of), "candidates_a_row": mean,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="small work")
    smoke = parser.parse_args().smoke
    results = measure(SMALL, 1) if smoke else measure(N_WORDS, 15)
    for row in results["rows"]:
        print(f"{row['name']:<26} {row['median']:8.2f} {row['unit']}  ({row['low']:.2f} to "
              f"{row['high']:.2f})")  # fmt: skip
    for name, ratio in results["ratios"].items():
        print(f"{name}: {ratio:.1f} times")
    print(json.dumps({**results, "smoke": smoke}))


if __name__ == "__main__":
    main()
