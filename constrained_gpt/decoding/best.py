"""Best of several: whole drafts of each poem, of which the one with the highest score is kept.

A search for what somebody likes, not a sample of anything: it has no weight. Called by `generate`
as strategy "best".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from constrained_gpt.decoding.batch import LanguageModel
from constrained_gpt.decoding.guide import Guide
from constrained_gpt.decoding.options import Options, Path
from constrained_gpt.decoding.sampling import sample
from constrained_gpt.decoding.score import Scorer
from constrained_gpt.lattice import Lattice


def best_of(
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
    """The best of `options.particles` drafts for every generator: by score, then by log_p."""
    n = options.particles
    seeds = [generator.integers(2**63, size=n).tolist() for generator in generators]
    drafts = sample(
        model, lattice, prompt, [np.random.default_rng(s) for own in seeds for s in own], options,
        start=start, guide=guide, scorer=scorer,
    )  # fmt: skip
    found = []
    for g in range(len(generators)):
        path = max(drafts[g * n : (g + 1) * n], key=lambda path: (path.score, path.log_p))
        path.weight = path.log_q = float("nan")
        found.append(path)
    return found
