"""Keys and values for the engine on bytes: a prefix once, tails in slots that rows point at.

Dropping a row costs nothing, forking one copies what is filled of its tail. Knows shapes and row
numbers; knows no model. Made and read by `int8_engine`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .engine_calls import checked_parents
from .kernels.decoder import Cache
from .kernels.int8 import LANES

Prefix = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]


def room_for_prefix(layers: int, kv_heads: int, head: int, length: int) -> Prefix:
    """Keys and values of a prompt, not filled yet."""
    shape = (layers, kv_heads, length, -(-head // LANES) * LANES)
    return np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)


class SlotCache:
    """See `kernels.decoder.Cache` for the arrays. slots, lengths: int64 (batch,), where each row's
    tail lies and how many of its positions are filled."""

    def __init__(self, prefix: Prefix, batch: int, max_new: int) -> None:
        """prefix: (keys, values) of the prompt, see `room_for_prefix`; kept, not copied."""
        layers, kv_heads, self.prefix_length, wide = prefix[0].shape
        self.batch, self.max_new = batch, max_new
        shape = (layers, batch, kv_heads, max_new, wide)
        self.arrays = Cache(*prefix, *(np.zeros(shape, np.uint16) for _ in range(2)))
        self.slots = np.arange(batch)
        self.lengths = np.zeros(batch, np.int64)
        self.slices = np.empty(0, np.float32)  # logits of the last step, see `decode_slice`

    @property
    def length(self) -> int:
        """Positions filled in the longest tail."""
        return int(self.lengths.max(initial=0))

    @property
    def positions(self) -> int:
        """Most positions that a row attends to."""
        return self.prefix_length + self.max_new

    def advance(self) -> None:
        """Count the position that every layer has written."""
        self.lengths = self.lengths + 1

    def select(self, parents: npt.NDArray[Any]) -> None:
        """Row i becomes a copy of row `parents[i]`; their number may differ from the rows there
        were."""
        rows = checked_parents(parents, self.batch)
        wanted = self.slots[rows]
        _, first = np.unique(wanted, return_index=True)
        forks = np.setdiff1d(np.arange(rows.size), first)
        if len(forks):
            free = np.setdiff1d(np.arange(self.arrays.tail_k.shape[1]), wanted)
            if len(free) < len(forks):
                free = np.concatenate([free, self._grow(len(forks) - len(free))])
            into = free[: len(forks)]
            parents = wanted[forks]
            for tail in (self.arrays.tail_k, self.arrays.tail_v):
                tail[:, into, :, : self.length] = tail[:, parents, :, : self.length]
            wanted[forks] = into
        self.slots = np.ascontiguousarray(wanted)
        self.lengths = self.lengths[rows]
        self.batch = int(rows.size)

    def admit(self, more: int) -> None:
        """`more` new rows after those there are, which have read the prompt and nothing else."""
        free = np.setdiff1d(np.arange(self.arrays.tail_k.shape[1]), self.slots)[:more]
        if len(free) < more:
            free = np.concatenate([free, self._grow(more - len(free))])
        self.slots = np.concatenate([self.slots, free])
        self.lengths = np.concatenate([self.lengths, np.zeros(more, np.int64)])
        self.batch += more

    def _grow(self, more: int) -> npt.NDArray[Any]:
        """Room for `more` further tails; their slots."""
        old = self.arrays
        slots = old.tail_k.shape[1]
        tails = []
        for tail in (old.tail_k, old.tail_v):
            new = np.zeros((tail.shape[0], slots + more, *tail.shape[2:]), tail.dtype)
            new[:, :slots] = tail
            tails.append(new)
        self.arrays = Cache(old.prefix_k, old.prefix_v, *tails)
        return np.arange(slots, slots + more)

    def nbytes(self) -> int:
        """Bytes held: the prefix once and the tails."""
        return sum(array.nbytes for array in self.arrays)
