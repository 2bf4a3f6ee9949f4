"""Linear layers for inference on a CPU whose rows do not depend on how many rows there are.

Knows matrices; knows no model. Called by the engine, which passes every `nn.Linear` of a model
through `steady`. A product is summed in an order that its shape, the processor and the number of
threads decide, so `F.linear` rounds a row differently when it is one of 1, 2 or 3 (measured: AVX2,
MKL), and oneDNN's packed product treats a single row apart for some shapes (measured: AMX, 1,536 to
576). No one way is steady on every processor: each layer is tried, in its own shape, until one is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 8
TRIED = (1, 2, 3, 5, 7, 8, 9, 16, 31)  # numbers of rows compared with the same rows among
MANY = 33  # so many

Shape = tuple[int, int, torch.dtype, bool]
_ways: dict[Shape, Callable[[nn.Linear], nn.Module]] = {}  # what held its promise for a shape here


class PackedLinear(nn.Module):
    """x W^T + b with W packed for oneDNN, on a multiple of `multiple` rows, the added ones zero.

    float32 on a CPU, inference only. The weight is packed once and not at every call.
    """

    def __init__(self, linear: nn.Linear, multiple: int = 1) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.multiple = multiple
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        if self.multiple > 1:
            return _padded(self._product, x, self.multiple, self.out_features)
        return self._product(x)

    def _product(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return y


class PaddedLinear(nn.Module):
    """`F.linear` on a multiple of `ROWS` rows, the added ones being zero.

    blocks  eight rows at a time, so that every product has one and the same shape
    """

    def __init__(self, linear: nn.Linear, blocks: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.blocks = blocks
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return _padded(self._product, x, ROWS, self.out_features)

    def _product(self, rows: Tensor) -> Tensor:
        parts = rows.split(ROWS) if self.blocks else (rows,)
        products = [F.linear(part, self.weight, self.bias) for part in parts]
        return products[0] if len(products) == 1 else torch.cat(products)


def _padded(product: Callable[[Tensor], Tensor], x: Tensor, multiple: int, out: int) -> Tensor:
    """The product of (..., in) rows filled up to a multiple with zeros, which are cut off again."""
    rows = x.reshape(-1, x.shape[-1])  # (R, in)
    missing = -rows.shape[0] % multiple
    filled = F.pad(rows, (0, 0, 0, missing)) if missing else rows  # (R', in)
    return product(filled)[: rows.shape[0]].reshape(*x.shape[:-1], out)


def steady(linear: nn.Linear) -> nn.Module:
    """A layer with the same weights whose rows do not depend on their number; on a GPU, `linear`
    itself."""
    weight = linear.weight
    if weight.device.type != "cpu":
        return linear
    shape = (linear.in_features, linear.out_features, weight.dtype, linear.bias is not None)
    if shape in _ways:
        return _ways[shape](linear)
    layer: nn.Module = linear
    for way in _candidates(weight.dtype):
        try:
            layer = way(linear)
            steadied = is_steady(layer, linear)
        except (AttributeError, RuntimeError, NotImplementedError):
            continue  # this torch has no oneDNN
        _ways[shape] = way
        if steadied:
            break
    return layer


def _candidates(dtype: torch.dtype) -> Iterator[Callable[[nn.Linear], nn.Module]]:
    """Ways to compute a product, the fastest first; the last one works everywhere."""
    if dtype == torch.float32:
        for multiple in (1, 2, ROWS):
            yield lambda linear, m=multiple: PackedLinear(linear, m)  # type: ignore[misc]
    yield PaddedLinear
    yield lambda linear: PaddedLinear(linear, blocks=True)


@torch.no_grad()
def is_steady(layer: nn.Module, linear: nn.Linear) -> bool:
    """Does `layer` compute what `linear` does, each row alike in any company?"""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(MANY, linear.in_features, generator=generator).to(linear.weight.dtype)
    every = layer(x)  # (MANY, out)
    wanted = F.linear(x, linear.weight, linear.bias)
    loose = 1e-3 if linear.weight.dtype == torch.float32 else 0.1
    if not torch.allclose(every, wanted, rtol=loose, atol=loose * float(wanted.abs().max())):
        return False
    return all(torch.equal(layer(x[:rows]), every[:rows]) for rows in TRIED)
