"""Plain sampling: every poem drawn token by token from the masked model, each on its own numbers.

The mask distorts the model's distribution a little at every step; the path's weight says by how
much. Called by `generate` as strategy "sample".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from constrained_gpt.decoding.batch import Batch, Draw, LanguageModel
from constrained_gpt.decoding.guide import Guide
from constrained_gpt.decoding.options import Options, Path
from constrained_gpt.decoding.score import Scorer
from constrained_gpt.lattice import Lattice

OnToken = Callable[[int, list[int], int], None]  # poem, tokens so far, lines finished


def sample(
    model: LanguageModel,
    lattice: Lattice,
    prompt: Sequence[int],
    generators: Sequence[np.random.Generator],
    options: Options,
    *,
    start: np.ndarray | None = None,
    guide: Guide | None = None,
    scorer: Scorer | None = None,
    on_token: OnToken | None = None,
    weights: bool = True,
    rows: int | None = None,
) -> list[Path]:
    """One path for every generator. A poem depends on its generator alone, not on its batch.

    weights: compute log_p, weight and log_mass, which needs the logits of tokens the mask forbids
    too; else they are nan, and the model is asked for the allowed ones only. scorer: its score is
    part of the weights; draws do not see it but in `guide`. rows: how many poems are written side
    by side, None for all; where the model's cache can, the next one begins as soon as one is done.
    """
    n = len(generators)
    width = n if rows is None else min(rows, n)
    penalised = options.repetition_penalty != 1.0  # which changes the logits of all tokens
    batch = Batch(
        model, lattice, prompt, width, start, guide=guide, whole=weights and penalised,
        weighed=weights,
    )  # fmt: skip
    if width < n and not batch.can_admit:
        found: list[Path] = []
        for first in range(0, n, width):
            heard = None if on_token is None else _later(on_token, first)
            found += sample(
                model, lattice, prompt, generators[first : first + width], options, start=start,
                guide=guide, scorer=scorer, on_token=heard, weights=weights,
            )  # fmt: skip
        return found
    paths = [Path() for _ in generators]
    poem = np.arange(width)  # which poem a row writes
    following = width  # the poem that begins next

    def note(poems: np.ndarray, draw: Draw, states: np.ndarray, finished: np.ndarray) -> None:
        lines = lattice.line(states)
        for row, p in enumerate(poems.tolist()):
            path = paths[p]
            path.tokens.append(int(draw.tokens[row]))
            path.log_p += float(draw.log_p[row])
            path.log_q += float(draw.log_q[row])
            if weights:
                path.log_mass.append(float(draw.log_mass[row]))
            path.weight += float(draw.log_target[row] - draw.log_q[row])
            if finished[row] and scorer is not None:
                path.score = scorer(path.tokens, int(lines[row]), True) or 0.0
                path.weight += path.score
            if on_token is not None:
                on_token(p, path.tokens, int(lines[row]))

    def numbers(poems: np.ndarray) -> np.ndarray:
        return np.array([generators[p].random() for p in poems.tolist()])

    while True:
        draw = batch.draw(options, numbers(poem))
        finished = batch.push(draw.tokens)
        note(poem, draw, batch.states, finished)
        going = np.flatnonzero(~finished)
        new = np.arange(following, min(following + len(poem) - len(going), n))
        if not len(going) and not len(new):
            return paths
        if len(going):  # first, so that new rows find room where others ended
            batch.select(going)
        poem = poem[going]
        if len(new):
            draw = batch.admit(options, numbers(new))
            note(new, draw, batch.states[-len(new) :], np.zeros(len(new), bool))
            following += len(new)
            if not len(going):
                batch.select(np.arange(len(batch) - len(new), len(batch)))
            poem = np.concatenate([poem, new])
        batch.read()


def _later(on_token: OnToken, first: int) -> OnToken:
    """For a part of the poems, which begins with the poem `first`."""
    return lambda poem, tokens, lines: on_token(first + poem, tokens, lines)
