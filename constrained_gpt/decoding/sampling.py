"""Plain sampling: every poem drawn token by token from the masked model, each on its own numbers.

The mask distorts the model's distribution a little at every step; the path's weight says by how
much. Called by `generate` as strategy "sample".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from constrained_gpt.decoding.batch import Batch, LanguageModel
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
) -> list[Path]:
    """One path for every generator. A poem depends on its generator alone, not on its batch.

    weights: compute log_p, weight and log_mass, which needs the logits of tokens the mask forbids
    too; else they are nan, and the model is asked for the allowed ones only. scorer: its score is
    part of the weights; draws do not see it but in `guide`.
    """
    batch = Batch(model, lattice, prompt, len(generators), start, guide=guide, whole=weights)
    paths = [Path() for _ in generators]
    poem = np.arange(len(generators))  # which poem a row writes
    while True:
        uniforms = np.array([generators[p].random() for p in poem.tolist()])
        draw = batch.draw(options, uniforms)
        finished = batch.push(draw.tokens)
        lines = lattice.line(batch.states)
        for row, p in enumerate(poem.tolist()):
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
        going = np.flatnonzero(~finished)
        if not len(going):
            return paths
        poem = poem[going]
        batch.select(going)
        batch.read()
