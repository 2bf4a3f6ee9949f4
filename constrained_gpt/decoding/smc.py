"""Sequential Monte Carlo: populations of drafts under way, the promising ones multiplied.

Every draft (particle) carries the weight of what it wrote: target over proposal, times what is
expected of it. That expectation is what its last token was drawn with (the look-ahead), and is
replaced at every step, so that it cancels in the end (twisted SMC: Whiteley and Lee, Annals of
Statistics 42:1, 2014; Zhao et al., ICML 2024). A weight does not depend on the token about to be
drawn, only on the sum it is drawn from, so poor drafts are dropped before the draw, and copies of
a good one go on apart. Properly weighted: the mean weight is an unbiased estimate of Z, whatever
the look-ahead and the particles (Del Moral, Doucet, Jasra, Sequential Monte Carlo Samplers, JRSS B
68:3, 2006, section 3). Called by `generate` as strategy "smc".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from constrained_gpt.decoding.batch import Batch, Draw, LanguageModel
from constrained_gpt.decoding.guide import Guide
from constrained_gpt.decoding.options import Options, Path
from constrained_gpt.decoding.score import Scorer
from constrained_gpt.lattice import Lattice

_UNEVEN = 0.5  # resample below this share of the particles as effective sample size


def smc(
    model: LanguageModel,
    lattice: Lattice,
    prompt: Sequence[int],
    generators: Sequence[np.random.Generator],
    options: Options,
    *,
    start: np.ndarray | None = None,
    guide: Guide | None = None,
    scorer: Scorer | None = None,
) -> list[Path]:
    """One poem from every generator's own population of `options.particles` drafts.

    All populations are rows of one batch; a population depends on its generator alone.
    """
    n = options.particles
    groups = len(generators)
    slots = _Slots(groups * n, n, lattice.max_tokens)
    penalised = options.repetition_penalty != 1.0  # which changes the logits of all tokens
    batch = Batch(model, lattice, prompt, groups * n, start, guide=guide, whole=penalised)
    living = np.arange(groups * n)  # the slot that each row of the batch writes
    uniforms = np.zeros(groups * n)
    while True:
        for g in np.unique(living // n).tolist():
            uniforms[g * n : (g + 1) * n] = generators[g].random(n)
        draw = batch.draw(options, uniforms[living])
        weights = slots.weights()
        weights[living] += draw.log_total
        lines = np.full(groups * n, len(lattice.form.lines))
        lines[living] = lattice.line(batch.states)
        parents = np.arange(groups * n)
        for g in np.unique(living // n).tolist():
            own = slice(g * n, (g + 1) * n)
            if slots.due(g, int(lines[own].min()), options.resample) and (
                _effective(weights[own]) < _UNEVEN * n
            ):
                parents[own] = g * n + _systematic(weights[own], generators[g].random())
                slots.log_z[g] += _log_mean(weights[own])
                slots.log_w[own] -= weights[own]
                slots.resampled[g] += 1
        if (parents != np.arange(groups * n)).any():
            row_of = np.full(groups * n, -1)
            row_of[living] = np.arange(len(living))
            slots.take(parents)
            rows = row_of[parents]
            living = np.flatnonzero(rows >= 0)
            if not len(living):
                break
            batch.select(rows[living])
            draw = batch.draw(options, uniforms[living])
        finished = batch.push(draw.tokens)
        slots.write(living, draw)
        if scorer is not None:
            now = lattice.line(batch.states)
            for row, slot in enumerate(living.tolist()):
                found = scorer(slots.tokens[slot, : slots.length[slot]].tolist(), int(now[row]),
                               bool(finished[row]))  # fmt: skip
                slots.score[slot] = slots.score[slot] if found is None else found
        going = np.flatnonzero(~finished)
        if not len(going):
            break
        living = living[going]
        batch.select(going)
        batch.read()
    return [slots.chosen(g, generator.random()) for g, generator in enumerate(generators)]


class _Slots:
    """What is known of every particle, population after population.

    log_w: log target - log proposal of what it wrote since its population was last resampled, with
    what that resampling made of it. founder: the first particle it descends from.
    """

    def __init__(self, slots: int, particles: int, most: int) -> None:
        self.particles = particles
        self.tokens = np.full((slots, most), -1, np.int64)
        self.log_mass = np.zeros((slots, most))
        self.length = np.zeros(slots, np.int64)
        self.log_p, self.log_w, self.score = (np.zeros(slots) for _ in range(3))
        self.founder = np.arange(slots) % particles
        groups = slots // particles
        self.log_z = np.zeros(groups)
        self.resampled = np.zeros(groups, np.int64)
        self.line = np.zeros(groups, np.int64)  # the line the last one was in

    def weights(self) -> np.ndarray:
        return self.log_w + self.score

    def due(self, group: int, line: int, resample: str) -> bool:
        """May this population be resampled now? line: the line its last particle is in."""
        ended = line > self.line[group]
        self.line[group] = line
        return resample == "ess" or (resample == "line" and bool(ended))

    def take(self, parents: np.ndarray) -> None:
        for name in ("tokens", "log_mass", "length", "log_p", "log_w", "score", "founder"):
            setattr(self, name, getattr(self, name)[parents])

    def write(self, slots: np.ndarray, draw: Draw) -> None:
        at = (slots, self.length[slots])
        self.tokens[at], self.log_mass[at] = draw.tokens, draw.log_mass
        self.length[slots] += 1
        self.log_p[slots] += draw.log_p
        self.log_w[slots] += draw.log_target - draw.log_q

    def chosen(self, group: int, uniform: float) -> Path:
        """A finished particle of a population, drawn by weight."""
        n = self.particles
        own = slice(group * n, (group + 1) * n)
        weights = self.weights()[own]
        slot = group * n + int(_systematic(weights, uniform, 1)[0])
        length = int(self.length[slot])
        return Path(
            tokens=self.tokens[slot, :length].tolist(),
            log_p=float(self.log_p[slot]),
            log_q=float("nan"),
            weight=float(self.log_z[group] + _log_mean(weights)),
            log_mass=self.log_mass[slot, :length].tolist(),
            score=float(self.score[slot]),
            weight_error=self._error(group, weights),
        )

    def _error(self, group: int, log_weights: np.ndarray) -> float:
        """Standard error of the log of the estimate of Z, from who descends from whom (Lee and
        Whiteley, Biometrika 105:3, 2018, equation 9; written for multinomial resampling, so it
        rather says too much here). nan where one founder is left, which says nothing."""
        n = self.particles
        share = np.exp(log_weights - log_weights.max())
        share /= share.sum()
        founders = self.founder[group * n : (group + 1) * n]
        if n == 1 or (founders == founders[0]).all():
            return float("nan")
        by_founder = np.bincount(founders, share, minlength=n)
        apart = 1.0 - float((by_founder**2).sum())
        return float(np.sqrt(max(1.0 - (n / (n - 1)) ** (self.resampled[group] + 1) * apart, 0.0)))


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
