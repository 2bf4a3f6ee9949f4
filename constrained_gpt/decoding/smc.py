"""Sequential Monte Carlo: a population of poems under way, the promising ones multiplied.

Proposals are the masked draws of plain sampling; a particle's weight is p / q of what it wrote.
When the weights of a population get uneven (effective sample size below half), it is resampled, so
that the poem finally drawn from it comes nearer to p(poem | form) the more particles there are.
Properly weighted: the mean weight is an unbiased estimate of the form's probability (Del Moral,
Doucet, Jasra, Sequential Monte Carlo Samplers, JRSS B 68:3, 2006, section 3). Called by `generate`
as strategy "smc".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from constrained_gpt.decoding.batch import Batch, LanguageModel
from constrained_gpt.decoding.options import Options, Path
from constrained_gpt.lattice import Lattice


def smc(
    model: LanguageModel,
    lattice: Lattice,
    prompt: Sequence[int],
    generators: Sequence[np.random.Generator],
    options: Options,
    *,
    start: np.ndarray | None = None,
) -> list[Path]:
    """One poem from every generator's own population of `options.particles` particles.

    The target is the model's own distribution (temperature 1) on the poems of the form, whatever
    temperature and truncation the draws use; truncation leaves what it cuts off out of reach.
    A path's `weight` is the log of its population's estimate of the form's probability.
    """
    n = options.particles
    paths = [[Path() for _ in range(n)] for _ in generators]
    weights = np.zeros((len(generators), n))  # log, since the last resampling
    log_z = np.zeros(len(generators))
    batch = Batch(model, lattice, prompt, len(generators) * n, start)
    owner = np.array([(g, i) for g in range(len(generators)) for i in range(n)])
    while True:
        uniforms = np.array([generators[g].random() for g, _ in owner])
        draw = batch.draw(options, uniforms)
        finished = batch.push(draw.tokens)
        for row, (g, i) in enumerate(owner.tolist()):
            path = paths[g][i]
            path.tokens.append(int(draw.tokens[row]))
            path.log_p += float(draw.log_p[row])
            path.log_q += float(draw.log_q[row])
            path.log_mass.append(float(draw.log_mass[row]))
            weights[g, i] += draw.log_p[row] - draw.log_q[row]
        going = np.flatnonzero(~finished)
        if not len(going):
            break
        rows_of = {(int(g), int(i)): row for row, (g, i) in enumerate(owner.tolist())}
        alive = {(int(g), int(i)) for g, i in owner[going]}
        chosen: list[int] = []
        chosen_owner: list[tuple[int, int]] = []
        for g, generator in enumerate(generators):
            members = list(range(n))
            if any((g, i) in alive for i in members) and _effective(weights[g]) < n / 2:
                members = _systematic(weights[g], generator.random()).tolist()
                log_z[g] += _log_mean(weights[g])
                weights[g] = 0.0
                paths[g] = [_copied(paths[g][m]) for m in members]
            for place, member in enumerate(members):
                if (g, member) in alive:
                    chosen.append(rows_of[g, member])
                    chosen_owner.append((g, place))
        if not chosen:
            break
        batch.select(np.array(chosen))
        owner = np.array(chosen_owner)
        batch.read()
    result = []
    for g, generator in enumerate(generators):
        path = paths[g][int(_systematic(weights[g], generator.random(), 1)[0])]
        path.weight = float(log_z[g] + _log_mean(weights[g]))
        path.log_q = float("nan")
        result.append(path)
    return result


def _log_mean(log_weights: np.ndarray) -> float:
    top = log_weights.max()
    return float(top + np.log(np.exp(log_weights - top).mean()))


def _effective(log_weights: np.ndarray) -> float:
    """Kish's effective sample size."""
    w = np.exp(log_weights - log_weights.max())
    return float(w.sum() ** 2 / (w**2).sum())


def _systematic(log_weights: np.ndarray, uniform: float, draws: int | None = None) -> np.ndarray:
    """Systematic resampling: evenly spaced points, shifted by one uniform number."""
    w = np.exp(log_weights - log_weights.max())
    n = len(w) if draws is None else draws
    points = (np.arange(n) + uniform) / n
    return np.minimum(np.searchsorted(np.cumsum(w) / w.sum(), points, side="right"), len(w) - 1)


def _copied(path: Path) -> Path:
    return Path(list(path.tokens), path.log_p, path.log_q, path.weight, list(path.log_mass))
