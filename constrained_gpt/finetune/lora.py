"""Low-rank adapters on a GPT's linear layers (Hu et al., LoRA, ICLR 2022): W x + (alpha / r) B A x.

So are the tokens, which poems need to learn of: how many syllables each has. B starts at zero, so
a fresh adapter changes nothing. Merged into the weights, an adapted model is an ordinary one.
Knows torch modules; no files. Called by the trainer and by `checkpoint`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
TOKENS, HEAD = "transformer.wte", "lm_head"


class _LowRank(nn.Module):
    """A change of a weight (out, in) by scale * lora_b @ lora_a, zero to begin with."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, generator: torch.Generator):
        super().__init__()
        rows, columns = weight.shape
        if rank > min(rows, columns):
            raise ValueError(
                f"lora={rank} is more than the {min(rows, columns)} that a layer has; use e.g. 16"
            )
        self.scale = alpha / rank
        bound = 1 / math.sqrt(columns)
        a = torch.empty(rank, columns).uniform_(-bound, bound, generator=generator)
        self.lora_a = nn.Parameter(a)  # (r, in)
        self.lora_b = nn.Parameter(torch.zeros(rows, rank))  # (out, r)

    def change(self, x: Tensor) -> Tensor:
        """What the change adds to the product with x: (..., in) -> (..., out)."""
        return self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)


class LoRALinear(_LowRank):
    """A frozen linear layer and its low-rank change."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, generator: torch.Generator):
        super().__init__(linear.weight, rank, alpha, generator)
        self.frozen = linear.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(x) + self.change(x)


class LoRAEmbedding(_LowRank):
    """A frozen table of tokens and its low-rank change."""

    def __init__(self, table: nn.Embedding, rank: int, alpha: float, generator: torch.Generator):
        super().__init__(table.weight, rank, alpha, generator)
        self.frozen = table.requires_grad_(False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.frozen(ids) + self.scale * (F.embedding(ids, self.lora_b) @ self.lora_a)


class _TiedHead(nn.Module):
    """The output layer that has the token table's weights: its change is theirs."""

    def __init__(self, table: LoRAEmbedding) -> None:
        super().__init__()
        self._table = (table,)  # not a part of this module: its weights are named once

    def forward(self, x: Tensor) -> Tensor:
        (table,) = self._table
        return F.linear(x, table.frozen.weight) + table.change(x)


def adapt(model: nn.Module, rank: int, alpha: float, seed: int) -> None:
    """Freeze a GPT and put adapters on its layers and tokens, in place; the state table stays
    free."""
    if rank < 1:
        raise ValueError(f"lora={rank} is no rank; use e.g. 16")
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("wse" in name)
    for name, module in list(model.named_modules()):
        if name.endswith(LAYERS) and isinstance(module, nn.Linear):
            _put(model, name, LoRALinear(module, rank, alpha, generator))
    table, head = model.get_submodule(TOKENS), model.get_submodule(HEAD)
    assert isinstance(table, nn.Embedding)
    assert isinstance(head, nn.Linear)
    if head.weight is table.weight:
        tokens = LoRAEmbedding(table, rank, alpha, generator)
        _put(model, TOKENS, tokens)
        _put(model, HEAD, _TiedHead(tokens))
    else:
        _put(model, HEAD, LoRALinear(head, rank, alpha, generator))


def _put(model: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, part)


def merged(state: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The state of an adapted model as that of a plain one, its changes added to the weights."""
    plain = {}
    for name, tensor in state.items():
        if name.endswith((".lora_a", ".lora_b")):
            continue
        if ".frozen." not in name:
            plain[name] = tensor
            continue
        stem, end = name.split(".frozen.")
        if end == "weight":
            a, b = state[f"{stem}.lora_a"], state[f"{stem}.lora_b"]
            tensor = tensor + (alpha / a.shape[0]) * (b.float() @ a.float()).to(tensor.dtype)
        plain[f"{stem}.{end}"] = tensor
    plain.setdefault(f"{HEAD}.weight", plain[f"{TOKENS}.weight"])
    return plain


def adapter(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What was learned alone: the adapters and the state table."""
    return {n: t for n, t in state.items() if n.endswith((".lora_a", ".lora_b")) or "wse" in n}
