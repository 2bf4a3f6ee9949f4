"""The engine on torch, launch by launch: with `gpu_engine` the only border between torch and numpy.

Knows no words, no lattice and no sampling. Made by `Engine.from_pretrained` for a processor, where
a row's logits depend, to the bit, on that row alone: see `linear`. On a GPU it is the slow twin of
`gpu_engine`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .checkpoint import Checkpoint, load
from .checkpoint_common import check_finite
from .engine import Engine
from .engine_calls import checked_prompt, checked_slice, checked_states, checked_tokens
from .kv_cache import KVCache
from .linear import TRIED, steady
from .model import GPT
from .prefix_cache import PrefixCache, prompt_key
from .tokenizer import Tokenizer

_BLOCK = 2048  # rows of the sorted output layer that are multiplied or not
_FEW = 64  # single tokens that are multiplied together


class TorchEngine(Engine):
    """`Engine` around a `GPT`."""

    def __init__(
        self, model: GPT, tokenizer: Tokenizer, name: str, prompt_style: str | None = None
    ) -> None:
        """`model` belongs to the engine from now on: its layers are put into a form for
        inference."""
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._head = model.lm_head.weight.detach()  # (V, C)
        self._prefixes: PrefixCache[tuple[Tensor, Tensor]] = PrefixCache()
        self._sorted: dict[bytes, list[nn.Module] | None] = {}
        self.model = self._for_inference(model)
        self.tokenizer = tokenizer
        self.name = name
        self.n_vocab = model.config.vocab_size
        self.max_positions = model.config.block_size
        self.state_sizes = (model.config.state_lines, model.config.state_left)
        self.n_states = model.config.n_states
        self.prompt_style = prompt_style

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
        for name, values in checkpoint.arrays.items():
            check_finite(name, values)
        with torch.device("meta"):
            model = GPT(checkpoint.config)
        state = {n: t.to(device=device, dtype=dtype) for n, t in checkpoint.state_dict.items()}
        model.load_state_dict(state, assign=True)
        return cls(model, checkpoint.tokenizer, checkpoint.name, checkpoint.prompt_style)

    @torch.inference_mode()
    def prefill(
        self,
        ids: Sequence[int],
        batch: int,
        max_new: int,
        states: npt.NDArray[np.integer] | None = None,
    ) -> tuple[KVCache, npt.NDArray[np.float32]]:
        """As `Engine.prefill`: the cache, and the logits after the prompt."""
        prompt = checked_prompt(self, ids, batch, max_new)
        (k, v), logits = self._prompt(prompt, states)
        return KVCache(k, v, int(batch), int(max_new)), logits

    def _prompt(
        self, prompt: npt.NDArray[np.int64], states: npt.NDArray[np.integer] | None
    ) -> tuple[tuple[Tensor, Tensor], npt.NDArray[np.float32]]:
        """Its keys and values, (L, KV, P, d) each, and the logits after it; read once."""
        known = self._states(states, prompt)
        key = prompt_key(prompt, states)
        read = self._prefixes.get(key)
        if read is not None:
            return read
        hidden, k, v = self.model.prefill(self._tensor(prompt), known)  # (1, C), (L, KV, P, d) x 2
        logits = self._logits(hidden)[0]
        self._prefixes.put(key, (k, v), logits, k.nbytes + v.nbytes)
        return (k, v), logits

    @torch.inference_mode()
    def decode_step(
        self,
        cache: KVCache,
        tokens: npt.NDArray[np.int64],
        states: npt.NDArray[np.integer] | None = None,
    ) -> npt.NDArray[np.float32]:
        """As `Engine.decode_step`: logits (B, n_vocab)."""
        self._check(cache)
        new = checked_tokens(self, cache, tokens)
        known = self._states(states, new)
        return self._logits(self.model.step(self._tensor(new), cache, known))

    @torch.inference_mode()
    def decode_slice(
        self,
        cache: KVCache,
        tokens: npt.NDArray[np.int64],
        order: npt.NDArray[np.int32],
        prefix: npt.NDArray[np.integer],
        extra_start: npt.NDArray[np.int64],
        extra_token: npt.NDArray[np.integer],
        states: npt.NDArray[np.integer] | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """As `Engine.decode_slice`. The rows of the output layer are sorted by `order` once, in
        blocks, and blocks that no row needs are not multiplied; where the processor's products of
        blocks are not those of the whole, all are."""
        self._check(cache)
        new = checked_tokens(self, cache, tokens)
        order, prefix, extra_start, extra_token = checked_slice(
            self, len(new), order, prefix, extra_start, extra_token
        )
        known = self._states(states, new)
        hidden = self.model.step(self._tensor(new), cache, known)  # (B, C)
        blocks = self._sorted_head(order)
        most = int(np.max(prefix, initial=0))
        owner = np.repeat(np.arange(len(new)), np.diff(extra_start))
        if blocks is None:
            logits = self._logits(hidden)
            return logits[:, order[:most]], logits[owner, extra_token]
        sliced = self._slices(blocks[: -(-most // _BLOCK)], hidden, prefix)  # (B, W)
        single, place = np.unique(extra_token, return_inverse=True)
        extra = np.zeros(0, np.float32)
        if len(single):
            few = [block(hidden).float() for block in self._blocks(single, _FEW)]
            extra = torch.cat(few, dim=1).cpu().numpy()[owner, place]  # (E,)
        return sliced, extra

    def _slices(
        self, blocks: Sequence[nn.Module], hidden: Tensor, prefix: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.float32]:
        """Logits of the rows of an output layer in blocks, side by side, (B, all blocks' rows): of
        each row as far as its prefix, then anything."""
        out = hidden.new_zeros((len(hidden), len(blocks) * _BLOCK), dtype=torch.float32)
        for number, block in enumerate(blocks):
            start = number * _BLOCK
            some = self._tensor(np.flatnonzero(prefix > start))
            part = hidden if len(some) == len(hidden) else hidden[some]
            found = block(part).float()
            out[some, start : start + found.shape[1]] = found
        return out.cpu().numpy()

    def _sorted_head(self, order: npt.NDArray[np.int32]) -> list[nn.Module] | None:
        """The output layer's rows in `order`, as linear layers of _BLOCK rows each; kept. None:
        their numbers would not be those of the whole layer."""
        key = order.tobytes()
        if key not in self._sorted:
            while len(self._sorted) >= 4:
                self._sorted.pop(next(iter(self._sorted)))
            blocks: list[nn.Module] | None = self._blocks(order, _BLOCK)
            if self.device.type == "cpu" and not self._agree(order):
                blocks = None
            self._sorted[key] = blocks
        return self._sorted[key]

    def _blocks(self, tokens: npt.NDArray[Any], size: int) -> list[nn.Module]:
        """Rows of the output layer as linear layers of `size` rows each; on a CPU the last one is
        filled up with zeros, so that they have one shape."""
        blocks = []
        for first in range(0, len(tokens), size):
            rows = self._head.index_select(0, self._tensor(tokens[first : first + size]))
            if self.device.type == "cpu":
                rows = F.pad(rows, (0, 0, 0, size - len(rows)))
            linear = nn.Linear(rows.shape[1], len(rows), bias=False, device="meta")
            linear.weight = nn.Parameter(rows, requires_grad=False)
            blocks.append(steady(linear))
        return blocks

    def _agree(self, order: npt.NDArray[np.int32]) -> bool:
        """Are products of blocks those of the whole output layer to the bit? Tried once an order:
        the first block, and the tokens of it one by one in blocks of another size."""
        some = order[:_BLOCK]
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(max(TRIED), self._head.shape[1], generator=generator).to(self.dtype)
        wanted = self.model.lm_head(x)[:, self._tensor(some)]
        few = order[:_FEW]
        return all(
            torch.equal(self._blocks(part, size)[0](x)[:, : len(part)], wanted[:, : len(part)])
            for part, size in ((some, _BLOCK), (few, _FEW))
            if len(part)
        )

    @torch.no_grad()
    def _for_inference(self, model: GPT) -> GPT:
        """Every layer in a form whose rows do not depend on their number."""
        for module in list(model.modules()):
            for name, child in module.named_children():
                layer = self._inferring(child)
                if layer is not child:
                    setattr(module, name, layer)
        return model.eval().requires_grad_(False)

    def _inferring(self, layer: nn.Module) -> nn.Module:
        return steady(layer) if isinstance(layer, nn.Linear) else layer

    def _logits(self, hidden: Tensor) -> npt.NDArray[np.float32]:
        return self.model.lm_head(hidden).float().cpu().numpy()  # (rows, V)

    def _check(self, cache: KVCache) -> None:
        """Is this a cache of such a model?"""
        config = self.model.config
        sizes = config.n_layer, config.kv_heads, config.width
        if isinstance(cache, KVCache):
            layers, kv_heads, _, width = cache.prefix_k.shape
            if (layers, kv_heads, width) == sizes and cache.prefix_k.dtype == self.dtype:
                return
        raise ValueError("the cache is another model's; prefill with this engine")

    def _states(
        self, states: npt.NDArray[np.integer] | None, tokens: npt.NDArray[np.int64]
    ) -> Tensor | None:
        known = checked_states(self, states, len(tokens))
        return None if known is None else self._tensor(known)

    def _tensor(self, ids: npt.NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(ids.astype(np.int64)).to(self.device)
