"""The lattice inside llama.cpp, through llama-cpp-python's `logits_processor` argument.

Needs no import of llama_cpp: a processor is any callable (input_ids, scores) -> scores on numpy
arrays. The lattice must be compiled with the tokenizer of the same GGUF file.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from constrained_gpt.adapters.replay import Replay
from constrained_gpt.lattice import Lattice


class LatticeLogitsProcessor:
    """As the one for transformers, for one sequence: input_ids (T,), scores (V,)."""

    def __init__(self, lattice: Lattice, prompt_length: int) -> None:
        self._replay = Replay(lattice, prompt_length)

    def __call__(
        self, input_ids: npt.NDArray[np.intc], scores: npt.NDArray[np.single]
    ) -> npt.NDArray[np.single]:
        """The scores with everything that cannot lead to a finished poem at -inf."""
        masked = np.full_like(scores, -np.inf)
        allowed = self._replay.allowed(input_ids.tolist())
        masked[allowed] = scores[allowed]
        return masked
