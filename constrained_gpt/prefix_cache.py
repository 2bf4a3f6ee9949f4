"""Prompts that were read lately: their keys, values and last logits, so that a call with the same
prompt need not read it again, nor one that begins alike what they have in common.

Knows token ids and sizes; what it holds is the engine's own and never written to again. Both
engines keep one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

PROMPTS = 8
BYTES = 1 << 27
Prefix = TypeVar("Prefix")


def prompt_key(ids: npt.NDArray[np.int64], states: npt.NDArray[np.integer] | None = None) -> bytes:
    """What a prompt is known by: its ids, and the lattice state after each where there are any."""
    seen = b"" if states is None else np.asarray(states, np.int64).tobytes()
    return len(ids).to_bytes(8, "little") + ids.tobytes() + seen


def _unpacked(key: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The ids and states that a `prompt_key` was made of."""
    ids = int.from_bytes(key[:8], "little")
    numbers = np.frombuffer(key, np.int64, offset=8)
    return numbers[:ids], numbers[ids:]


def _alike(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> int:
    """How many numbers two arrays have in common at their start."""
    shorter = min(len(a), len(b))
    other = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(other[0]) if len(other) else shorter


@dataclass(frozen=True)
class _Read(Generic[Prefix]):
    prefix: Prefix
    logits: npt.NDArray[np.float32]
    n_bytes: int


class PrefixCache(Generic[Prefix]):
    """The prompts used last, at most `prompts` of them and `n_bytes` in all. Threads may share
    it."""

    def __init__(self, prompts: int = PROMPTS, n_bytes: int = BYTES) -> None:
        self.prompts, self.n_bytes = prompts, n_bytes
        self._held: OrderedDict[bytes, _Read[Prefix]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> tuple[Prefix, npt.NDArray[np.float32]] | None:
        """What `put` was given for this prompt, the logits as a copy; None if it is not held."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                return None
            self._held.move_to_end(key)
        return found.prefix, found.logits.copy()

    def begun(self, key: bytes) -> tuple[Prefix, int] | None:
        """The prompt held that begins like this one for longest, and for how many tokens (states
        alike too); None if none does."""
        ids, states = _unpacked(key)
        best: tuple[Prefix, int] | None = None
        with self._lock:
            for held, read in self._held.items():
                known, stood = _unpacked(held)
                alike = _alike(ids, known)
                if len(states) or len(stood):  # none and some are not alike
                    alike = min(alike, _alike(states, stood))
                if alike > (0 if best is None else best[1]):
                    best = read.prefix, alike
        return best

    def put(
        self, key: bytes, prefix: Prefix, logits: npt.NDArray[np.float32], n_bytes: int
    ) -> None:
        """Hold the keys and values of a prompt (`prompt_key`), `n_bytes` of them, and the logits
        after it."""
        read = _Read(prefix, logits.copy(), n_bytes + logits.nbytes)
        with self._lock:
            self._held.pop(key, None)
            self._held[key] = read
            while len(self._held) > self.prompts or self.nbytes() > self.n_bytes:
                self._held.popitem(last=False)

    def clear(self) -> None:
        """Hold nothing."""
        with self._lock:
            self._held.clear()

    def nbytes(self) -> int:
        """Bytes held."""
        return sum(read.n_bytes for read in self._held.values())

    def __len__(self) -> int:
        return len(self._held)
