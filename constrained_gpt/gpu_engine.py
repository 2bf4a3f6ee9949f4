"""The engine on a GPU: one graph a step, and no more than the allowed logits brought back.

The model stays on the GPU; masks and draws are made on the processor, by the kernels that make them
for every engine, so that what crosses over is a token a row one way and the logits that the mask
allows the other. Every product of a step has one shape (`lanes`), so a row's logits depend, to the
bit, on that row alone. Made by `Engine.from_pretrained`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .engine import WeighedEngine
from .engine_calls import checked_prompt, checked_slice, checked_states, checked_tokens
from .kernels.log_norm import sequence
from .lanes import LOCK, TILE, LaneCache, LanePool, fixed
from .model import GPT
from .tokenizer import Tokenizer
from .torch_engine import TorchEngine

BLOCK = 8192  # rows of the output layer that are multiplied or not, at most
_ORDERS = 4  # sorted output layers that are kept


class _Head(NamedTuple):
    """The output layer's rows in some order, (block, C) each, the last one filled up with zeros;
    rank: int64 (V,), the place of each token in that order."""

    blocks: tuple[Tensor, ...]
    rank: npt.NDArray[np.int64]


class GpuEngine(WeighedEngine, TorchEngine):
    """`Engine` in steps of fixed shape; on a processor too, for tests, where it is slow."""

    def __init__(
        self, model: GPT, tokenizer: Tokenizer, name: str, prompt_style: str | None = None
    ) -> None:
        super().__init__(model, tokenizer, name, prompt_style)
        self._pool = LanePool(self.model)
        self._heads: dict[bytes, _Head] = {}
        self._block = min(BLOCK, self.n_vocab)
        self._wide = _multiplies_into_float32(self._head)

    def _inferring(self, layer: nn.Module) -> nn.Module:
        return fixed(layer)

    @torch.inference_mode()
    def prefill(
        self,
        ids: Sequence[int],
        batch: int,
        max_new: int,
        states: npt.NDArray[np.integer] | None = None,
    ) -> tuple[Any, npt.NDArray[np.float32]]:
        """As `Engine.prefill`: the cache, and the logits after the prompt."""
        prompt = checked_prompt(self, ids, batch, max_new)
        with LOCK:
            (k, v), logits = self._prompt(prompt, states)
            return LaneCache(self._pool, k, v, int(batch), int(max_new)), logits

    @torch.inference_mode()
    def decode_step(
        self,
        cache: Any,
        tokens: npt.NDArray[np.int64],
        states: npt.NDArray[np.integer] | None = None,
    ) -> npt.NDArray[np.float32]:
        """As `Engine.decode_step`: logits (B, n_vocab)."""
        new = self._checked(cache, tokens)
        known = checked_states(self, states, len(new))
        with LOCK:
            hidden = cache.step(new, known)
            head = self._head_in(None)
            logits = self._multiply(hidden, head, range(len(head.blocks)))  # (rows, whole blocks)
            rows = logits[:, : self.n_vocab].index_select(0, self._tensor(cache.slots))
            return rows.cpu().numpy()

    @torch.inference_mode()
    def _slice(
        self,
        cache: Any,
        tokens: npt.NDArray[np.int64],
        asked: tuple[npt.NDArray[Any], ...],
        states: npt.NDArray[np.integer] | None,
        weighed: bool,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """The numbers of `decode_step` to the bit, the norms summed on the GPU. They lie in arrays
        that the next call with this cache writes over, or the next cache if this one is dropped."""
        new = self._checked(cache, tokens)
        order, prefix, extra_start, extra_token = checked_slice(self, len(new), *asked)
        known = checked_states(self, states, len(new))
        most = int(np.max(prefix, initial=0))
        owner = np.repeat(cache.slots, np.diff(extra_start))
        with LOCK:
            head = self._head_in(order)
            places = head.rank[extra_token]  # (E,)
            wanted = np.unique(np.append(places // self._block, np.arange(-(-most // self._block))))
            every = range(len(head.blocks))
            # sent before the step, for they would wait for its end
            slots = self._tensor(cache.slots)
            at = self._tensor(owner * (len(every) * self._block) + places)
            hidden = cache.step(new, known)
            logits = self._multiply(hidden, head, every if weighed else wanted)
            norms = self._norms(logits).index_select(0, slots) if weighed else logits.new_zeros(0)
            extra = logits.view(-1).index_select(0, at)
            part = logits[:, :most].index_select(0, slots)
            return tuple(cache.lanes.landing.brought(part, extra, norms))  # type: ignore[return-value]

    # -- what they share --------------------------------------------------------------------
    def _checked(self, cache: Any, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if not isinstance(cache, LaneCache) or cache.pool is not self._pool:
            raise ValueError("the cache is another model's; prefill with this engine")
        return checked_tokens(self, cache, tokens)

    def _head_in(self, order: npt.NDArray[np.int32] | None) -> _Head:
        """The output layer with its rows in `order` and all others after them; kept. None: as they
        are."""
        key = b"" if order is None else order.tobytes()
        found = self._heads.pop(key, None)
        if found is None:
            tokens = np.arange(self.n_vocab) if order is None else sequence(order, self.n_vocab)
            rank = np.empty(self.n_vocab, np.int64)
            rank[tokens] = np.arange(self.n_vocab)
            rows = self._head
            if order is not None:
                rows = rows.index_select(0, self._tensor(tokens))
            blocks = list(rows.split(self._block))
            blocks[-1] = F.pad(blocks[-1], (0, 0, 0, self._block - len(blocks[-1])))
            while len(self._heads) >= _ORDERS:
                self._heads.pop(next(iter(self._heads)))
            found = _Head(tuple(blocks), rank)
        self._heads[key] = found  # the last one used is the last to go
        return found

    def _multiply(self, hidden: Tensor, head: _Head, wanted: Any) -> Tensor:
        """Logits of the wanted blocks at their places, anything elsewhere: float32 (rows, W)."""
        block = self._block
        out = hidden.new_empty((len(hidden), len(head.blocks) * block), dtype=torch.float32)
        for first in range(0, len(hidden), TILE):
            some = hidden[first : first + TILE]
            for number in wanted:
                product = torch.mm(some, head.blocks[number].t(), *self._wide)  # (TILE, block)
                out[first : first + TILE, number * block : (number + 1) * block] = product
        return out

    def _logits(self, hidden: Tensor) -> npt.NDArray[np.float32]:
        """After a prompt, (1, C)."""
        return torch.mm(hidden, self._head.t(), *self._wide).float().cpu().numpy()

    def _norms(self, logits: Tensor) -> Tensor:
        """Log sum exp of every row, float64: a tile at a time, as the products are."""
        tiles = logits[:, : self.n_vocab].split(TILE)
        return torch.cat([tile.double().logsumexp(-1) for tile in tiles])


def _multiplies_into_float32(weight: Tensor) -> tuple[torch.dtype, ...]:
    """What makes `torch.mm` give float32 for weights of half the bits, where a logit of 20 is
    rounded by up to 0.06 otherwise; nothing where this torch or device cannot."""
    if weight.dtype == torch.float32:
        return ()
    some = weight[:TILE]
    try:
        torch.mm(some, some.t(), torch.float32)
    except (TypeError, RuntimeError, NotImplementedError):
        return ()
    return (torch.float32,)
