"""What attending costs: our kernel beside torch's scaled_dot_product_attention, on one cache.

GPT-2's heads, a prompt of 16 positions that all rows share, 24 of their own. Torch is given the
whole cache in one piece, as it wants it, prompt copied to every row; ours reads the prompt once.
Proved equal first. Collected by run.py under pytest-benchmark.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn import functional as F

from constrained_gpt.kernels.attention import decode_attention
from constrained_gpt.kernels.reference_attention import decode_attention as slow

HEADS, WIDTH, PREFIX, TAIL = 12, 64, 16, 24


@pytest.mark.parametrize("way", ["ours, float32", "ours, float16 cache", "torch, float32"])
@pytest.mark.parametrize("rows", [1, 8, 64])
def test_attention(benchmark: BenchmarkFixture, rows: int, way: str) -> None:
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    kept = np.float16 if "float16" in way else np.float32
    q = numbers(rows, HEADS, WIDTH)
    prefix = [numbers(HEADS, PREFIX, WIDTH).astype(kept) for _ in range(2)]
    tail = [numbers(rows, HEADS, TAIL, WIDTH).astype(kept) for _ in range(2)]
    lengths = np.full(rows, TAIL)

    if way.startswith("torch"):
        one = torch.from_numpy(q)[:, :, None]
        whole = [
            torch.cat(
                [torch.from_numpy(p)[None].expand(rows, -1, -1, -1), torch.from_numpy(t)], 2
            ).contiguous()
            for p, t in zip(prefix, tail, strict=True)
        ]

        def run() -> np.ndarray:
            return F.scaled_dot_product_attention(one, *whole)[:, :, 0].numpy()
    else:

        def run() -> np.ndarray:
            return decode_attention(q, *prefix, *tail, lengths)

    np.testing.assert_allclose(run(), slow(q, *prefix, *tail, lengths), atol=1e-5)
    benchmark.pedantic(run, rounds=300, warmup_rounds=20)
    benchmark.extra_info.update(
        name=f"attention of a layer, {rows} {'row' if rows == 1 else 'rows'}: {way}",
        unit="µs", work=1, rate=False, scale=1e6,
    )  # fmt: skip
