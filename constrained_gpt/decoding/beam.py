"""Beam search: the likeliest poems a fixed width can find. No chance in it.

Called by `generate` as strategy "beam"; temperature and truncation play no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from constrained_gpt.decoding.batch import Batch, LanguageModel
from constrained_gpt.decoding.options import Options, Path
from constrained_gpt.lattice import Lattice


def beam(
    model: LanguageModel,
    lattice: Lattice,
    prompt: Sequence[int],
    generators: Sequence[np.random.Generator],
    options: Options,
    *,
    start: np.ndarray | None = None,
) -> list[Path]:
    """The best len(generators) poems by log-probability, likeliest first.

    Width is the larger of `options.beams` and the poems asked for. A finished poem keeps its
    place in the width; the search ends when no unfinished one can still get ahead.
    """
    wanted = len(generators)
    width = max(options.beams, wanted)
    batch = Batch(model, lattice, prompt, 1, start)
    scores = np.zeros(1)
    done: list[Path] = []
    while True:
        candidates: list[tuple[float, int, int]] = []
        norms = batch.log_norms()
        for row, allowed in enumerate(batch.allowed()):
            log_p = batch.logits[row][allowed].astype(np.float64) - norms[row] + scores[row]
            best = np.argsort(-log_p, kind="stable")[:width]
            candidates.extend((float(log_p[i]), row, int(allowed[i])) for i in best)
        # Ties fall to the earlier row, then to the lower token: the search is deterministic.
        candidates.sort(key=lambda c: (-c[0], c[1], c[2]))
        candidates = candidates[:width]
        batch.select(np.array([row for _, row, _ in candidates]))
        scores = np.array([score for score, _, _ in candidates])
        finished = batch.push(np.array([token for _, _, token in candidates], np.int64))
        histories = batch.history
        for row in np.flatnonzero(finished).tolist():
            tokens = histories[row]
            score = float(scores[row])
            done.append(Path(tokens, score, float("nan"), float("nan")))
        done.sort(key=lambda path: -path.log_p)
        done = done[:width]
        bar = done[wanted - 1].log_p if len(done) >= wanted else -np.inf
        going = np.flatnonzero(~finished & (scores > bar))
        if not len(going):
            return done[:wanted]
        scores = scores[going]
        batch.select(going)
        batch.read()
