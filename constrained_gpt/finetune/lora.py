"""Low-rank adapters on a GPT's linear layers (Hu et al., LoRA, ICLR 2022): W x + (alpha / r) B A x.

B starts at zero, so a fresh adapter changes nothing. Merged into the weights, an adapted model is
an ordinary one. Knows torch modules; no files. Called by the trainer and by `checkpoint`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


class LoRALinear(nn.Module):
    """A frozen linear layer and its low-rank change."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, generator: torch.Generator):
        super().__init__()
        most = min(linear.in_features, linear.out_features)
        if rank > most:
            raise ValueError(f"lora={rank} is more than the {most} that a layer has; use e.g. 16")
        self.linear = linear.requires_grad_(False)
        self.scale = alpha / rank
        bound = 1 / math.sqrt(linear.in_features)
        a = torch.empty(rank, linear.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_a = nn.Parameter(a)  # (r, in)
        self.lora_b = nn.Parameter(torch.zeros(linear.out_features, rank))  # (out, r)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)


def adapt(model: nn.Module, rank: int, alpha: float, seed: int) -> None:
    """Freeze a GPT and put adapters on its layers, in place; the state table stays free."""
    if rank < 1:
        raise ValueError(f"lora={rank} is no rank; use e.g. 16")
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("wse" in name)
    for name, module in list(model.named_modules()):
        if name.endswith(LAYERS) and isinstance(module, nn.Linear):
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], LoRALinear(module, rank, alpha, generator))


def merged(state: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The state of an adapted model as that of a plain one, its changes added to the weights."""
    plain = {}
    for name, tensor in state.items():
        if name.endswith((".lora_a", ".lora_b")):
            continue
        if ".linear." not in name:
            plain[name] = tensor
            continue
        stem, end = name.split(".linear.")
        if end == "weight":
            a, b = state[f"{stem}.lora_a"], state[f"{stem}.lora_b"]
            tensor = tensor + (alpha / a.shape[0]) * (b.float() @ a.float()).to(tensor.dtype)
        plain[f"{stem}.{end}"] = tensor
    return plain


def adapter(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What was learned alone: the adapters and the state table."""
    return {n: t for n, t in state.items() if n.endswith((".lora_a", ".lora_b")) or "wse" in n}
