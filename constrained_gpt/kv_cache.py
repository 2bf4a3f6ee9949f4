"""Keys and values of what was read: the prompt once, and a private tail for every row of the batch.

A row's tail lies in a slot that it points at, so that dropping a row moves nothing, a fork copies
one tail, and a row that begins late takes a slot that another left. Knows shapes and row numbers;
knows no model and no token. The engine makes one per call, the model writes into it, the decoders
fork, drop and begin its rows.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .engine_calls import checked_parents
from .kernels._jit import HAVE_NUMBA
from .kernels.attention import decode_attention

Ints = npt.NDArray[np.int64]


class TailCache:
    """What every key-value cache on torch knows of its rows: a slot each, and how much is filled.

    tail_k, tail_v: (layers, slots, kv heads, positions, d). slots, lengths: int64 (batch,), where
    each row's tail lies and how much of it is filled; no two rows share a slot.
    """

    tail_k: Tensor
    tail_v: Tensor

    def __init__(self, prefix_length: int, batch: int, max_new: int) -> None:
        self.prefix_length, self.max_new = prefix_length, max_new
        self._place(np.arange(batch), np.zeros(batch, np.int64))

    def _place(self, slots: Ints, lengths: Ints) -> None:
        """Rows from now on: their slots, how much of each is filled."""
        self.slots, self.lengths = slots, lengths

    @property
    def batch(self) -> int:
        """Rows there are."""
        return len(self.slots)

    @property
    def length(self) -> int:
        """Positions filled in the longest tail."""
        return int(self.lengths.max(initial=0))

    def advance(self) -> None:
        """Count the position that every layer has written."""
        self._place(self.slots, self.lengths + 1)

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
        slots = self.tail_k.shape[1]
        free = np.setdiff1d(np.arange(slots), held)[:wanted]
        missing = wanted - len(free)
        if missing:
            self._grow(missing)
            free = np.concatenate([free, np.arange(slots, slots + missing)])
        return free

    def _grow(self, more: int) -> None:
        """Room for at least `more` further tails, after those there are."""
        for name in ("tail_k", "tail_v"):
            old: Tensor = getattr(self, name)
            new = old.new_zeros((old.shape[0], more, *old.shape[2:]))
            setattr(self, name, torch.cat((old, new), dim=1))


class KVCache(TailCache):
    """Prefix (layers, kv heads, P, d) shared by all rows; tails of max_new positions."""

    def __init__(self, prefix_k: Tensor, prefix_v: Tensor, batch: int, max_new: int) -> None:
        """`prefix_k`, `prefix_v`: (layers, kv heads, P, head dim), kept as they are, not copied."""
        n_layer, n_kv, length, head_dim = prefix_k.shape
        self.prefix_k, self.prefix_v = prefix_k, prefix_v
        shape = (n_layer, batch, n_kv, max_new, head_dim)
        self.tail_k = prefix_k.new_zeros(shape)  # (L, S, KV, N, d)
        self.tail_v = prefix_v.new_zeros(shape)
        super().__init__(length, batch, max_new)

    def _place(self, slots: Ints, lengths: Ints) -> None:
        super()._place(slots, lengths)
        device = self.tail_k.device
        self._slots = torch.from_numpy(slots).to(device)
        self._at = torch.from_numpy(lengths).to(device)
        self._in_order = bool((slots == np.arange(self.tail_k.shape[1])[: len(slots)]).all())

    @property
    def positions(self) -> Tensor:
        """The position that the next token of each row takes: int64 (B,)."""
        return self._at + self.prefix_length

    @property
    def end(self) -> int:
        """Positions that the rows have when each has its next token: of the longest."""
        return self.prefix_length + self.length + 1

    @torch.inference_mode()
    def append(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Write one position of one layer for every row; `k`, `v`: (B, KV, d). `advance` moves
        on."""
        self.tail_k[layer, self._slots, :, self._at] = k
        self.tail_v[layer, self._slots, :, self._at] = v

    def attend(self, layer: int, q: Tensor) -> Tensor:
        """One query a row, (B, H, d), over the prefix and the row's own tail, whose new position
        is written: (B, H, d)."""
        own = self.lengths + 1
        prefix_k, prefix_v = self.prefix_k[layer], self.prefix_v[layer]  # (KV, P, d)
        if q.device.type == "cpu" and q.dtype == torch.float32 and HAVE_NUMBA:
            y = decode_attention(
                q.numpy(), prefix_k.numpy(), prefix_v.numpy(), self.tail_k[layer].numpy(),
                self.tail_v[layer].numpy(), own, self.slots, alone=True,
            )  # fmt: skip
            return torch.from_numpy(y)  # (B, H, d)
        b, h, d = q.shape
        kv = prefix_k.shape[0]
        # On a processor all that there is: a row's numbers must not depend on how far others are.
        n = self.max_new if q.device.type == "cpu" else int(own.max())
        tail_k, tail_v = self.tails(layer, n)  # (B, KV, n, d)
        q = q.reshape(b, kv, h // kv, d)  # (B, KV, G, d)
        # the prefix is read once for all rows: their queries stand side by side
        side = q.transpose(0, 1).reshape(kv, -1, d)  # (KV, B G, d)
        before = (side @ prefix_k.transpose(1, 2)).view(kv, b, h // kv, -1).transpose(0, 1)
        after = q @ tail_k.transpose(2, 3)  # (B, KV, G, n)
        if int(own.min()) < n:
            unread = torch.arange(n, device=q.device) > self._at[:, None]
            after = after.masked_fill(unread[:, None, None], -math.inf)
        scores = torch.cat((before, after), dim=-1).float() / math.sqrt(d)  # (B, KV, G, P + n)
        weights = scores.softmax(-1).to(q.dtype)
        first, rest = weights.split((prefix_k.shape[1], n), dim=-1)
        y = (first.transpose(0, 1).reshape(kv, b * (h // kv), -1) @ prefix_v).view(kv, b, -1, d)
        return (y.transpose(0, 1) + rest @ tail_v).reshape(b, h, d)

    def tails(self, layer: int, positions: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first positions of every row's tail: (B, KV, positions, d)
        each."""
        k, v = self.tail_k[layer, :, :, :positions], self.tail_v[layer, :, :, :positions]
        if self._in_order:
            return k[: self.batch], v[: self.batch]
        return k.index_select(0, self._slots), v.index_select(0, self._slots)

    def nbytes(self) -> int:
        """Bytes held: the prefix once and the tails."""
        return 2 * (
            self.prefix_k.numel() * self.prefix_k.element_size()
            + self.tail_k.numel() * self.tail_k.element_size()
        )
