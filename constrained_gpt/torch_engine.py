"""The engine on torch, on a processor or a GPU: the only border between torch and numpy.

Knows no words, no lattice and no sampling. Made by `Engine.from_pretrained`. A row's logits depend,
to the bit, on that row alone: see `linear`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .checkpoint import Checkpoint, load
from .engine import Engine
from .engine_calls import checked_prompt, checked_tokens
from .kv_cache import KVCache
from .linear import steady
from .model import GPT
from .prefix_cache import PrefixCache
from .tokenizer import Tokenizer

_BLOCK = 2048  # rows of the sorted output layer that are multiplied or not


class TorchEngine(Engine):
    """`Engine` around a `GPT`."""

    def __init__(self, model: GPT, tokenizer: Tokenizer, name: str) -> None:
        """`model` belongs to the engine from now on: its layers are put into a form for
        inference."""
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._head = model.lm_head.weight.detach()  # (V, C)
        self._prefixes: PrefixCache[tuple[Tensor, Tensor]] = PrefixCache()
        self._sorted: dict[bytes, list[nn.Module]] = {}
        self.model = _for_inference(model)
        self.tokenizer = tokenizer
        self.name = name
        self.n_vocab = model.config.vocab_size
        self.max_positions = model.config.block_size

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str], *, device: str, dtype: str) -> TorchEngine:
        """An engine around what `checkpoint.load` reads. dtype: one of `engine.DTYPES`."""
        return cls.from_checkpoint(load(name_or_path), device=device, dtype=getattr(torch, dtype))

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> TorchEngine:
        """An engine around an already loaded checkpoint."""
        with torch.device("meta"):
            model = GPT(checkpoint.config)
        state = {n: t.to(device=device, dtype=dtype) for n, t in checkpoint.state_dict.items()}
        model.load_state_dict(state, assign=True)
        return cls(model, checkpoint.tokenizer, checkpoint.name)

    @torch.inference_mode()
    def prefill(
        self, ids: Sequence[int], batch: int, max_new: int
    ) -> tuple[KVCache, npt.NDArray[np.float32]]:
        """As `Engine.prefill`: the cache, and the logits after the prompt."""
        prompt = checked_prompt(self, ids, batch, max_new)
        known = self._prefixes.get(prompt)
        if known is not None:
            return KVCache(*known[0], int(batch), int(max_new)), known[1]
        hidden, k, v = self.model.prefill(self._tensor(prompt))  # (1, C), (L, KV, P, d) twice
        logits = self._logits(hidden)[0]
        self._prefixes.put(prompt, (k, v), logits, k.nbytes + v.nbytes)
        return KVCache(k, v, int(batch), int(max_new)), logits

    @torch.inference_mode()
    def decode_step(self, cache: KVCache, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """As `Engine.decode_step`: logits (B, n_vocab)."""
        new = checked_tokens(self, cache, tokens)
        return self._logits(self.model.step(self._tensor(new), cache))

    @torch.inference_mode()
    def decode_slice(
        self,
        cache: KVCache,
        tokens: npt.NDArray[np.int64],
        order: npt.NDArray[np.int32],
        prefix: npt.NDArray[np.integer],
        extra_start: npt.NDArray[np.int64],
        extra_token: npt.NDArray[np.integer],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """As `Engine.decode_slice`. The rows of the output layer are sorted by `order` once, in
        blocks, and blocks that no row needs are not multiplied."""
        new = checked_tokens(self, cache, tokens)
        hidden = self.model.step(self._tensor(new), cache)  # (B, C)
        blocks = self._sorted_head(order)
        most = int(np.max(prefix, initial=0))
        needed = blocks[: -(-most // _BLOCK)]
        parts = [block(hidden).float() for block in needed] or [hidden.new_zeros((len(new), 0))]
        owner = np.repeat(np.arange(len(new)), np.diff(extra_start))
        rows = self._head.index_select(0, self._tensor(np.asarray(extra_token)))  # (E, C)
        extra = (rows * hidden.index_select(0, self._tensor(owner))).float().sum(-1)
        return torch.cat(parts, dim=1).cpu().numpy(), extra.cpu().numpy()

    def _sorted_head(self, order: npt.NDArray[np.int32]) -> list[nn.Module]:
        """The output layer's rows in `order`, as linear layers of _BLOCK rows each; kept."""
        key = order.tobytes()
        if key not in self._sorted:
            while len(self._sorted) >= 4:
                self._sorted.pop(next(iter(self._sorted)))
            rows = self._head.index_select(0, self._tensor(order))  # (S, C)
            blocks: list[nn.Module] = []
            for first in range(0, len(rows), _BLOCK):
                part = rows[first : first + _BLOCK]
                linear = nn.Linear(part.shape[1], len(part), bias=False, device="meta")
                linear.weight = nn.Parameter(part, requires_grad=False)
                blocks.append(steady(linear))
            self._sorted[key] = blocks
        return self._sorted[key]

    def _logits(self, hidden: Tensor) -> npt.NDArray[np.float32]:
        return self.model.lm_head(hidden).float().cpu().numpy()  # (rows, V)

    def _tensor(self, ids: npt.NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(ids.astype(np.int64)).to(self.device)


def _for_inference(model: GPT) -> GPT:
    """Every linear layer in a form whose rows do not depend on their number."""
    with torch.no_grad():
        for module in list(model.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear):
                    setattr(module, name, steady(child))
    return model.eval().requires_grad_(False)
