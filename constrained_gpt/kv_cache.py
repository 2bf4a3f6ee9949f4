"""Keys and values of what was read: the prompt once, and a private tail for every row of the batch.

A row's tail lies in a slot that it points at, so that dropping a row moves nothing, a fork copies
one tail, and a row that begins late takes a slot that another left. Knows shapes and row numbers;
knows no model and no token. The engine makes one per call, the model writes into it, the decoders
fork, drop and begin its rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .engine_calls import checked_parents

Ints = npt.NDArray[np.int64]


class KVCache:
    """Prefix (layers, kv heads, P, d) shared by all rows; tails (layers, slots, kv heads, max_new,
    d). slots, lengths: int64 (batch,), where each row's tail lies and how much of it is filled; no
    two rows share a slot."""

    def __init__(self, prefix_k: Tensor, prefix_v: Tensor, batch: int, max_new: int) -> None:
        """`prefix_k`, `prefix_v`: (layers, kv heads, P, head dim), kept as they are, not copied."""
        n_layer, n_kv, self.prefix_length, head_dim = prefix_k.shape
        self.prefix_k, self.prefix_v = prefix_k, prefix_v
        self.max_new = max_new
        shape = (n_layer, batch, n_kv, max_new, head_dim)
        self.tail_k = prefix_k.new_zeros(shape)  # (L, S, KV, N, d)
        self.tail_v = prefix_v.new_zeros(shape)
        self._place(np.arange(batch), np.zeros(batch, np.int64))

    def _place(self, slots: Ints, lengths: Ints) -> None:
        """Rows from now on: their slots, how much of each is filled."""
        self.slots, self.lengths = slots, lengths
        device = self.tail_k.device
        self._slots = torch.from_numpy(slots).to(device)
        self._at = torch.from_numpy(lengths).to(device)
        self._in_order = bool((slots == np.arange(self.tail_k.shape[1])[: len(slots)]).all())

    @property
    def batch(self) -> int:
        """Rows there are."""
        return len(self.slots)

    @property
    def length(self) -> int:
        """Positions filled in the longest tail."""
        return int(self.lengths.max(initial=0))

    @property
    def positions(self) -> Tensor:
        """The position that the next token of each row takes: int64 (B,)."""
        return self._at + self.prefix_length

    @torch.inference_mode()
    def append(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Write one position of one layer for every row; `k`, `v`: (B, KV, d). `advance` moves
        on."""
        self.tail_k[layer, self._slots, :, self._at] = k
        self.tail_v[layer, self._slots, :, self._at] = v

    def advance(self) -> None:
        """Count the position that every layer has written."""
        self._place(self.slots, self.lengths + 1)

    def tails(self, layer: int, positions: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first positions of every row's tail: (B, KV, positions, d)
        each."""
        k, v = self.tail_k[layer, :, :, :positions], self.tail_v[layer, :, :, :positions]
        if self._in_order:
            return k[: self.batch], v[: self.batch]
        return k.index_select(0, self._slots), v.index_select(0, self._slots)

    @torch.inference_mode()
    def select(self, parents: npt.NDArray[np.integer]) -> None:
        """Row i becomes a copy of row `parents[i]`; their number may differ from the rows there
        were."""
        rows = checked_parents(parents, self.batch)
        slots, lengths = self.slots[rows], self.lengths[rows]
        _, stay = np.unique(slots, return_index=True)
        forked = np.setdiff1d(np.arange(len(slots)), stay)
        if len(forked):
            filled = int(lengths[forked].max())
            into = self._free(len(forked), slots)
            for tail in (self.tail_k, self.tail_v):
                old, new = (torch.from_numpy(s).to(tail.device) for s in (slots[forked], into))
                tail[:, new, :, :filled] = tail[:, old, :, :filled]
            slots[forked] = into
        self._place(slots, lengths)

    @torch.inference_mode()
    def admit(self, more: int) -> None:
        """`more` new rows after those there are, which have read the prompt and nothing else."""
        slots = np.concatenate([self.slots, self._free(more, self.slots)])
        self._place(slots, np.concatenate([self.lengths, np.zeros(more, np.int64)]))

    def _free(self, wanted: int, held: Ints) -> Ints:
        """So many slots that are not held."""
        free = np.setdiff1d(np.arange(self.tail_k.shape[1]), held)[:wanted]
        missing = wanted - len(free)
        if not missing:
            return free
        slots = self.tail_k.shape[1]
        for name in ("tail_k", "tail_v"):
            old: Tensor = getattr(self, name)
            more = old.new_zeros((old.shape[0], missing, *old.shape[2:]))
            setattr(self, name, torch.cat((old, more), dim=1))
        return np.concatenate([free, np.arange(slots, slots + missing)])

    def nbytes(self) -> int:
        """Bytes held: the prefix once and the tails."""
        return 2 * (
            self.prefix_k.numel() * self.prefix_k.element_size()
            + self.tail_k.numel() * self.tail_k.element_size()
        )
