"""What a form costs a poem under a judge: the probability that the mask takes away, line by line.

Walks the poem through a lattice while the judge reads it. Knows lattice rows and logits; loads
nothing. Called by `evaluate`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from constrained_gpt.evaluation.judge import Script
from constrained_gpt.kernels.log_norm import log_sum_exp
from constrained_gpt.lattice import Lattice


class FormLoss:
    """Adds up -log of the mass of the allowed tokens, for each line of each poem.

    Z_t, the model's probability of all tokens that the lattice allows at step t, is what local
    masking divides by; -log Z_t in nats is what the form costs there. Break and end are counted
    with the line they close. Only poems whose tokens are a path of the lattice have a cost.
    """

    def __init__(self, lattice: Lattice, scripts: Sequence[Script]) -> None:
        self._lattice = lattice
        self._scripts = scripts
        self._rows = {
            place: lattice.start() for place, one in enumerate(scripts) if lattice.accepts(one.path)
        }
        self._lines = {place: [0.0] * len(lattice.form.lines) for place in self._rows}

    def __call__(self, places: Sequence[int], step: int, logits: np.ndarray) -> None:
        """The judge is about to read the token at `step` of these poems; see `judge.log_p`."""
        lattice = self._lattice
        for place, row in zip(places, logits, strict=True):
            state = self._rows.get(place)
            if state is None:
                continue
            kept = log_sum_exp(np.ascontiguousarray(row[lattice.allowed(state[0])]))
            # Where nothing is forbidden the two sums may differ in the last digit.
            loss = max(0.0, log_sum_exp(row) - kept)
            self._lines[place][int(lattice.line(state)[0])] += loss
            token = self._scripts[place].path[step]
            lattice.advance(state, np.array([token], np.int64))

    def lines(self, place: int) -> tuple[float, ...] | None:
        """The cost of each line of a poem, in nats; None if the lattice does not have it."""
        found = self._lines.get(place)
        return None if found is None else tuple(found)
