"""Keys and values for the engine on bytes: a prefix once, tails in slots that rows point at.

Rows that have read the same point at one slot, and what they read next is computed once as long as
that is the same too. So dropping a row costs nothing, nor does forking one; what is filled of its
tail is copied when the two part. Knows shapes and row numbers; knows no model. Made and read by
`int8_engine`.
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
    tail lies and how many of its positions are filled. Rows of one slot have read the same."""

    def __init__(self, prefix: Prefix, batch: int, max_new: int) -> None:
        """prefix: (keys, values) of the prompt, see `room_for_prefix`; kept, not copied."""
        layers, kv_heads, self.prefix_length, wide = prefix[0].shape
        self.batch, self.max_new = batch, max_new
        shape = (layers, batch, kv_heads, max_new, wide)
        self.arrays = Cache(*prefix, *(np.zeros(shape, np.uint16) for _ in range(2)))
        self.slots = np.zeros(batch, np.int64)
        self.lengths = np.zeros(batch, np.int64)
        self._shared = batch > 1  # may rows have a slot in common?
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
        self.slots = np.ascontiguousarray(self.slots[rows])
        self.lengths = self.lengths[rows]
        self.batch = int(rows.size)
        self._shared = True

    def admit(self, more: int) -> None:
        """`more` new rows after those there are, which have read the prompt and nothing else."""
        slot = self._free(1, self.slots)
        self.slots = np.concatenate([self.slots, np.repeat(slot, more)])
        self.lengths = np.concatenate([self.lengths, np.zeros(more, np.int64)])
        self.batch += more
        self._shared = True

    def part(self, following: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Give rows that are about to read something else a slot of their own.

        following: int64 (batch,), not negative, the same where the same is read. Returns (first,
        of): the rows that differ, ascending, one of each kind, and the place among them of every
        row's like.
        """
        every = np.arange(self.batch)
        if not self._shared:
            return every, every
        kinds = self.slots * (int(following.max(initial=0)) + 1) + following
        _, first, of = np.unique(kinds, return_index=True, return_inverse=True)
        by_row = np.argsort(first)
        place = np.empty_like(by_row)
        place[by_row] = np.arange(len(by_row))
        first, of = first[by_row], place[of]
        self._shared = len(first) < self.batch
        slots = self.slots[first]
        _, stay = np.unique(slots, return_index=True)
        leave = np.setdiff1d(np.arange(len(slots)), stay)
        if len(leave):
            into = self._free(len(leave), slots)
            for old, new, filled in zip(
                slots[leave], into, self.lengths[first[leave]], strict=True
            ):
                for tail in (self.arrays.tail_k, self.arrays.tail_v):
                    tail[:, new, :, :filled] = tail[:, old, :, :filled]
            slots[leave] = into
            self.slots = slots[of]
        return first, of

    def _free(self, wanted: int, held: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """So many slots that are not held."""
        free = np.setdiff1d(np.arange(self.arrays.tail_k.shape[1]), held)[:wanted]
        if len(free) < wanted:
            free = np.concatenate([free, self._grow(wanted - len(free))])
        return free

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
