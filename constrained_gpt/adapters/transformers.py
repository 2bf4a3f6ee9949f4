"""The lattice inside Hugging Face transformers: a logits processor for `model.generate`.

Needs no import of transformers: a processor is any callable (input_ids, scores) -> scores. The
model must use the tokenizer the lattice was compiled with.
"""

from __future__ import annotations

import numpy as np
import torch

from constrained_gpt.adapters.replay import Replay
from constrained_gpt.lattice import Lattice


class LatticeLogitsProcessor:
    """Set the scores of all tokens to -inf that cannot lead to a finished poem.

    prompt_length: tokens of the prompt, the same for all rows (pad on the left and count the
    padding). Use one processor for one call of `generate`.
    """

    def __init__(self, lattice: Lattice, prompt_length: int) -> None:
        self._replay = Replay(lattice, prompt_length)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """input_ids: (B, T) histories; scores: (B, V), returned masked, of the same kind."""
        allowed = np.zeros(scores.shape, bool)
        for row, history in enumerate(input_ids.tolist()):
            allowed[row, self._replay.allowed(history)] = True
        kept = torch.from_numpy(allowed).to(scores.device)  # one transfer for all rows
        return torch.where(kept, scores, -torch.inf)  # type: ignore[return-value]
