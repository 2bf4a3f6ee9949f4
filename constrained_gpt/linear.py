"""Linear layers for inference on a CPU whose rows do not depend on how many rows there are.

Knows matrices; knows no model. Called by the engine, which passes every `nn.Linear` of a model
through `steady`. Measured (AVX2, torch 2.13, MKL): `F.linear` rounds a row differently when it is
one of 1, 2 or 3, and with two threads also one of 5, 6, 7 or 9. oneDNN's product with a weight
packed for several rows gives the same bits for every number of rows and of threads, and is faster
from 2 rows on, since the weight is packed once and not at every call. Where that is not to be had,
or does not keep its promise on this machine, rows are padded to a multiple of `ROWS`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 8


class PackedLinear(nn.Module):
    """x W^T + b with W packed for oneDNN. float32 on a CPU, inference only."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return y


class PaddedLinear(nn.Module):
    """`F.linear` on a multiple of `ROWS` rows, the added ones being zero."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)  # (R, in)
        missing = -rows.shape[0] % ROWS
        padded = F.pad(rows, (0, 0, 0, missing)) if missing else rows  # (R', in)
        y = F.linear(padded, self.weight, self.bias)[: rows.shape[0]]  # (R, out)
        return y.reshape(*x.shape[:-1], self.out_features)


def steady(linear: nn.Linear) -> nn.Module:
    """A layer with the same weights whose rows do not depend on their number; on a GPU, `linear`
    itself."""
    if linear.weight.device.type != "cpu":
        return linear
    if linear.weight.dtype == torch.float32 and packing_is_steady():
        return PackedLinear(linear)
    return PaddedLinear(linear)


@lru_cache(maxsize=1)
def packing_is_steady() -> bool:
    """Does oneDNN's packed product exist here, compute the product, and treat rows alike?"""
    generator = torch.Generator().manual_seed(0)
    try:
        for n_in, n_out in ((64, 96), (200, 72)):
            linear = nn.Linear(n_in, n_out)
            nn.init.normal_(linear.weight, generator=generator)
            packed = PackedLinear(linear)
            x = torch.randn(33, n_in, generator=generator)
            every = packed(x)
            if not torch.allclose(every, F.linear(x, linear.weight, linear.bias), atol=1e-3):
                return False
            for rows in (1, 2, 3, 5, 7, 8, 9, 16, 31):
                if not torch.equal(packed(x[:rows]), every[:rows]):
                    return False
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return True
