"""Beam search: the likeliest poems a fixed width can find. No chance in it.

Called by `generate` as strategy "beam"; temperature and truncation play no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from constrained_gpt.decoding.batch import Batch, LanguageModel
from constrained_gpt.decoding.guide import Guide
from constrained_gpt.decoding.options import Options, Path
from constrained_gpt.decoding.score import Scorer
from constrained_gpt.lattice import Lattice


class _Candidate(NamedTuple):
    """A row and a token after it. rank: what it is kept by; log_p: of all its tokens."""

    rank: float
    row: int
    token: int
    log_p: float


def beam(
    model: LanguageModel,
    lattice: Lattice,
    prompt: Sequence[int],
    generators: Sequence[np.random.Generator],
    options: Options,
    *,
    start: np.ndarray | None = None,
    guide: Guide | None = None,
    scorer: Scorer | None = None,
) -> list[Path]:
    """The best len(generators) poems by log-probability and score, best first.

    Width is the larger of `options.beams` and the poems asked for. What is unfinished is ranked
    with the look-ahead and the score so far. A finished poem keeps its place in the width; the
    search ends when no unfinished one can still get ahead (a score that may still rise, no longer
    than until all are finished).

    With `options.diversity` the width is divided into a group for every poem asked for. Groups are
    served in turn, and a token costs the later ones `diversity` for every earlier group whose best
    draft holds it or takes it now (after Vijayakumar et al., Diverse Beam Search, AAAI 2018).
    """
    wanted = len(generators)
    groups = wanted if options.diversity else 1
    width = max(max(options.beams, wanted) // groups, 1)
    batch = Batch(model, lattice, prompt, groups, start, guide=guide)
    group = np.arange(groups)
    log_p, score = np.zeros(groups), np.zeros(groups)
    done: list[list[tuple[float, Path]]] = [[] for _ in range(groups)]
    written: set[tuple[int, ...]] = set()  # by whichever group
    each = wanted // groups
    while True:
        found = _candidates(batch, options, log_p, score, width)
        chosen: list[_Candidate] = []
        held = np.zeros(model.n_vocab)  # in how many earlier groups' best drafts
        histories = batch.history
        for g in range(groups):
            own = [c for c in found if group[c.row] == g]
            if not own:
                continue
            # Ties fall to the earlier row, then to the lower token: no chance in it.
            own.sort(key=lambda c: (options.diversity * held[c.token] - c.rank, c.row, c.token))
            chosen += own[:width]
            held[np.unique([*histories[own[0].row], own[0].token])] += 1
        batch.select(np.array([c.row for c in chosen]))
        group = group[[c.row for c in chosen]]
        score = score[[c.row for c in chosen]]
        log_p = np.array([c.log_p for c in chosen])
        finished = batch.push(np.array([c.token for c in chosen], np.int64))
        histories, lines = batch.history, lattice.line(batch.states)
        for row in range(len(batch)):
            if scorer is not None:
                now = scorer(histories[row], int(lines[row]), bool(finished[row]))
                score[row] = score[row] if now is None else now
            if finished[row] and tuple(histories[row]) not in written:
                written.add(tuple(histories[row]))
                path = Path(histories[row], float(log_p[row]), float("nan"), float("nan"))
                path.score = float(score[row])
                done[group[row]].append((path.log_p + path.score, path))
        for paths in done:
            paths.sort(key=lambda pair: -pair[0])
            del paths[width:]
        # Without a score nothing gets better than it is.
        bar = [
            paths[each - 1][0] if len(paths) >= each and scorer is None else -np.inf
            for paths in done
        ]
        going = np.flatnonzero(~finished & (log_p > np.array(bar)[group]))
        if not len(going):
            best = [path for paths in done for path in paths[:each]]
            return sorted((path for _, path in best), key=lambda path: -path.log_p - path.score)
        group, log_p, score = group[going], log_p[going], score[going]
        batch.select(going)
        batch.read()


def _candidates(
    batch: Batch, options: Options, log_p: np.ndarray, score: np.ndarray, width: int
) -> list[_Candidate]:
    """The best tokens after every row: enough for a group, whatever the others took."""
    found = []
    norms = batch.log_norms()
    for row in range(len(batch)):
        tokens, ahead = batch.candidates(row, options)
        after = batch.logits_of(row)[tokens].astype(np.float64) - norms[row] + log_p[row]
        rank = after + ahead + score[row]
        keep = width if not options.diversity else len(rank)
        for i in np.argsort(-rank, kind="stable")[:keep].tolist():
            found.append(_Candidate(float(rank[i]), row, int(tokens[i]), float(after[i])))
    return found
