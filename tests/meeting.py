"""Work that is wrong if the threads of a team do not wait for each other. Used by its tests."""

from __future__ import annotations

import numpy as np

from constrained_gpt.kernels._jit import jit
from constrained_gpt.kernels._team import Team, meet


@jit
def _counted(thread, threads, barrier, rounds, out):  # type: ignore[no-untyped-def]
    """Every thread adds what all have written in the round before: wrong if one runs ahead."""
    for r in range(1, rounds):
        total = 0
        for t in range(threads):
            total += out[r - 1, t]
        out[r, thread] = total % 1000 + 1
        meet(barrier, threads)


def counted(team: Team, rounds: int = 200) -> np.ndarray:
    out = np.ones((rounds, team.threads), np.int64)
    team.run(_counted, rounds, out)
    return out


def expected(threads: int, rounds: int = 200) -> list[int]:
    values = [1]
    for _ in range(1, rounds):
        values.append(threads * values[-1] % 1000 + 1)
    return values
