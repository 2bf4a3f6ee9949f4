"""One poem, line by line, as it is written. Same draws as `sampling.sample`.

Called by `generate.stream`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from constrained_gpt.decoding.batch import Batch, LanguageModel
from constrained_gpt.decoding.guide import Guide
from constrained_gpt.decoding.options import Options
from constrained_gpt.lattice import Lattice


def sample_lines(
    model: LanguageModel,
    lattice: Lattice,
    prompt: Sequence[int],
    generator: np.random.Generator,
    options: Options,
    start: np.ndarray | None = None,
    guide: Guide | None = None,
) -> Iterator[list[int]]:
    """The tokens of each line, line break and end left out, yielded when the line is finished."""
    batch = Batch(model, lattice, prompt, 1, start, guide=guide, whole=False, weighed=False)
    line = int(lattice.line(batch.states)[0])
    begun = 0
    while True:
        draw = batch.draw(options, np.array([generator.random()]))
        finished = bool(batch.push(draw.tokens)[0])
        if int(lattice.line(batch.states)[0]) != line:
            written = batch.history[0]
            yield written[begun:-1]
            line, begun = line + 1, len(written)
        if finished:
            return
        batch.read()
