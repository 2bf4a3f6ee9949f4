"""Keys and values of what was read: the prompt once, and a private tail for every row of the batch.

Knows shapes and row numbers; knows no model and no token. The engine makes one per call, the model
writes into it, the decoders fork and drop its rows with `select`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .engine_calls import checked_parents


class KVCache:
    """Prefix (layers, kv heads, P, d) shared by all rows; tails (layers, rows, kv heads, max_new,
    d)."""

    def __init__(self, prefix_k: Tensor, prefix_v: Tensor, batch: int, max_new: int) -> None:
        """`prefix_k`, `prefix_v`: (layers, kv heads, P, head dim), kept as they are, not copied."""
        n_layer, n_kv, self.prefix_length, head_dim = prefix_k.shape
        self.prefix_k, self.prefix_v = prefix_k, prefix_v
        self.batch = batch
        self.max_new = max_new
        self.length = 0  # positions filled in every tail
        shape = (n_layer, batch, n_kv, max_new, head_dim)
        self.tail_k = prefix_k.new_zeros(shape)  # (L, B, KV, N, d)
        self.tail_v = prefix_v.new_zeros(shape)

    @property
    def position(self) -> int:
        """The position that the next token takes."""
        return self.prefix_length + self.length

    def append(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Write one position of one layer for every row; `k`, `v`: (B, KV, d). `advance` moves
        on."""
        self.tail_k[layer, :, :, self.length] = k
        self.tail_v[layer, :, :, self.length] = v

    def advance(self) -> None:
        """Count the position that every layer has written."""
        self.length += 1

    def select(self, parents: npt.NDArray[np.int64]) -> None:
        """Row i becomes a copy of row `parents[i]`; their number may differ from the rows there
        were."""
        rows = checked_parents(parents, self.batch)
        if rows.size == self.batch and bool((rows == np.arange(self.batch)).all()):
            return
        index = torch.from_numpy(rows.astype(np.int64)).to(self.tail_k.device)
        # the part filled so far is copied; the rest is written before it is read
        for name in ("tail_k", "tail_v"):
            old: Tensor = getattr(self, name)
            new = old.new_zeros((old.shape[0], rows.size, *old.shape[2:]))
            new[:, :, :, : self.length] = old[:, :, :, : self.length].index_select(1, index)
            setattr(self, name, new)
        self.batch = int(rows.size)

    def nbytes(self) -> int:
        """Bytes held: the prefix once and the tails."""
        return 2 * (
            self.prefix_k.numel() * self.prefix_k.element_size()
            + self.tail_k.numel() * self.tail_k.element_size()
        )
