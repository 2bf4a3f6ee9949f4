"""Linear layers whose rows do not depend on their number: every way, and the choice among them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from constrained_gpt import linear as module
from constrained_gpt.linear import PaddedLinear, is_steady, steady

SHAPES = [(64, 96), (200, 72), (1536, 576), (576, 1536), (768, 2304), (3072, 768)]


def layer(shape: tuple[int, int], bias: bool = True) -> nn.Linear:
    made = nn.Linear(*shape, bias=bias).requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        nn.init.normal_(parameter, generator=generator)
    return made


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_a_row_is_the_same_in_any_company(shape: tuple[int, int], bias: bool) -> None:
    plain = layer(shape, bias)
    made = steady(plain)
    x = torch.randn(64, shape[0], generator=torch.Generator().manual_seed(2))
    every = made(x)
    scale = float(every.abs().max())
    assert torch.allclose(every, F.linear(x, plain.weight, plain.bias), atol=1e-5 * scale)
    for rows in range(1, 64):
        assert torch.equal(made(x[:rows]), every[:rows]), rows
    assert torch.equal(made(x.view(8, 8, -1)), every.view(8, 8, -1))


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_of_one_size_are_steady_everywhere(shape: tuple[int, int]) -> None:
    plain = layer(shape)
    assert is_steady(PaddedLinear(plain, blocks=True), plain)


class Restless(nn.Module):
    """Rounds a single row another way, as some processors do."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return y * (1 + 2e-7) if len(x) == 1 else y


def test_a_way_that_breaks_its_promise_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = layer((64, 96))
    blocks = PaddedLinear(plain, blocks=True)
    assert not is_steady(Restless(blocks), plain)  # type: ignore[arg-type]
    assert not is_steady(nn.Linear(64, 96), plain)  # steady perhaps, but another product
    monkeypatch.setattr(module, "_ways", {})
    monkeypatch.setattr(
        module, "_candidates", lambda _: iter((lambda one: Restless(one), PaddedLinear))
    )
    assert isinstance(steady(plain), PaddedLinear)
    assert isinstance(steady(plain), PaddedLinear)  # as remembered
