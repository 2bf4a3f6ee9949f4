"""One poem and how it came about: what generate() hands out.

Plain data, its report included. Knows no model and no lattice. Made by `generate`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from constrained_gpt.lexicon import SEASONS, Kigo, Report


@dataclass(frozen=True, repr=False)
class Haiku:
    """One poem and how it came about. Prints as the poem.

    logprob: log-probability under the model of the tokens it wrote (a given first line is not
    among them), natural log. weight: log importance weight, and weight_error: its standard error,
    where the decoder can tell (see `decoding.Path`); `form_probability` makes one figure of those
    of many poems. tokens: ids of the poem without its end token. logprob and weight are nan where
    the decoder was not asked for them (`generate(..., return_weights)`). seed, index:
    generate(..., seed=seed)[index] writes it again. score: what `generate(..., score)` said of it.
    log_mass: log of the model's probability of the allowed set, a step, that of the end token the
    last; line_log_mass: the same, summed over the steps of each line the model wrote, its break or
    end among them. Both empty if the strategy draws nothing (beam).
    """

    text: str
    logprob: float
    weight: float
    tokens: tuple[int, ...]
    report: Report
    seed: int
    index: int
    model: str
    prompt: str
    log_mass: tuple[float, ...] = field(default=())
    line_log_mass: tuple[float, ...] = field(default=())
    weight_error: float = math.nan
    score: float = 0.0

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the poem."""
        return tuple(self.text.split("\n"))

    @property
    def syllables(self) -> tuple[tuple[int, ...], ...]:
        """Syllables of every word, line by line: one reading that fits the form."""
        return tuple(
            _fitting_reading([w.counts for w in line.words], line.target)
            for line in self.report.lines
        )

    @property
    def kigo(self) -> tuple[str, ...]:
        """The season words as the saijiki names them."""
        return tuple(k.phrase for k in self.report.kigo)

    @property
    def season(self) -> str | None:
        """The season asked for, else that of the first season word; None without one."""
        asked = self.report.form.kigo
        if isinstance(asked, str) and asked in SEASONS:
            return asked
        return _season(self.report.kigo)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        known = f"logprob={self.logprob:.1f} " if math.isfinite(self.logprob) else ""
        return (
            f"<Haiku {' / '.join(self.lines)!r} season={self.season} {known}"
            f"seed={self.seed} index={self.index}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "text": self.text,
            "lines": list(self.lines),
            "syllables": [list(line) for line in self.syllables],
            "kigo": list(self.kigo),
            "season": self.season,
            "logprob": self.logprob if math.isfinite(self.logprob) else None,
            "weight": self.weight if math.isfinite(self.weight) else None,
            "weight_error": self.weight_error if math.isfinite(self.weight_error) else None,
            "score": self.score,
            "tokens": list(self.tokens),
            "seed": self.seed,
            "index": self.index,
            "model": self.model,
            "prompt": self.prompt,
            "log_mass": list(self.log_mass),
            "line_log_mass": list(self.line_log_mass),
        }


def form_probability(poems: Sequence[Haiku]) -> tuple[float, float]:
    """(log Z, its standard error) from the weights of poems of one prompt, form and strategy.

    Z is the target's whole mass on the form (`decoding.Options`): at temperature 1, without a
    penalty, a score or truncation, the model's probability of writing a poem of the form at all.
    Weights of "sample" and of "smc" both estimate it without bias; their mean is taken, and its
    error by the delta method. ValueError for fewer than two poems or poems without weights.
    """
    weights = np.array([poem.weight for poem in poems])
    if len(weights) < 2 or not np.isfinite(weights).all():
        raise ValueError(
            "form_probability needs two poems or more that have weights; write them with "
            "strategy='smc', or with strategy='sample' and return_weights=True"
        )
    top = float(weights.max())
    share = np.exp(weights - top)
    mean = float(share.mean())
    error = float(share.std(ddof=1)) / math.sqrt(len(share)) / mean
    return top + math.log(mean), error


def _season(kigo: Sequence[Kigo]) -> str | None:
    for found in kigo:
        for season in SEASONS:
            if season in found.seasons:
                return season
    return None


def _fitting_reading(counts: Sequence[Sequence[int]], target: int | None) -> tuple[int, ...]:
    """One count a word that adds up to the target, usual readings first."""
    reach: list[dict[int, tuple[int, ...]]] = [{0: ()}]
    for choices in counts:
        step: dict[int, tuple[int, ...]] = {}
        for total, chosen in reach[-1].items():
            for count in choices:
                step.setdefault(total + count, (*chosen, count))
        reach.append(step)
    if target in reach[-1]:
        return reach[-1][target]  # type: ignore[index]
    return tuple(choices[0] for choices in counts)
