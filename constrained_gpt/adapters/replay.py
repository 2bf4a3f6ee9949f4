"""Follow sequences that another engine writes: token histories in, allowed tokens out.

Other engines hand over the whole history at every step; states are kept by history, so that each
step costs one lattice step. Knows no engine. Called by the adapters beside it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from constrained_gpt.lattice import Lattice

_KEPT = 4096  # states of histories; a lost one is walked again


class Replay:
    """The lattice states of sequences that begin after a prompt of `prompt_length` tokens."""

    def __init__(self, lattice: Lattice, prompt_length: int) -> None:
        if prompt_length < 0:
            raise ValueError(
                f"prompt_length={prompt_length} is negative; count the prompt's tokens"
            )
        self.lattice = lattice
        self.prompt_length = prompt_length
        self._states: OrderedDict[tuple[int, ...], np.ndarray] = OrderedDict()

    def allowed(self, history: Sequence[int]) -> np.ndarray:
        """Tokens that may follow prompt + what was written: int32, ascending.

        After the end of a poem the end token is allowed again and nothing else, which is how
        engines pad finished rows of a batch.
        """
        state = self._state(tuple(int(t) for t in history[self.prompt_length :]))
        if self.lattice.finished(state)[0]:
            return np.array([self.lattice.end], np.int32)
        return self.lattice.allowed(state[0])

    def _state(self, written: tuple[int, ...]) -> np.ndarray:
        found = self._states.get(written)
        if found is not None:
            self._states.move_to_end(written)
            return found
        if not written:
            state = self.lattice.start()
        else:
            state = self._state(written[:-1]).copy()
            if not self.lattice.finished(state)[0]:
                self.lattice.advance(state, np.array(written[-1:]))
        self._states[written] = state
        if len(self._states) > _KEPT:
            self._states.popitem(last=False)
        return state
