"""What a caller may say about the draw, checked once; and what a decoder gives back.

Plain data. Knows no model and no lattice. Made by `generate`, read by the decoders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

WIDEST = 10_000  # rows of one search: some 100 KB of cache each
GENTLEST, HARSHEST = 1e-9, 1e9  # what logits, in float32, are divided by
RESAMPLE = ("ess", "line", "never")


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}={value!r} is not a number; give one such as 0.8")
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r} is not finite; give a number such as 0.8")
    return float(value)


@dataclass(frozen=True)
class Options:
    """How a token is drawn among those allowed.

    The order is: repetition penalty (on logits of tokens already written), mask, temperature,
    look-ahead, top-k, top-p, min-p. temperature 0 takes the most likely token. top_k None or 0:
    no limit. lookahead: weigh tokens by their outlook (`Lattice.candidates`) and by what was
    learned of the model (`constrained_gpt.lookahead`), where that is known; False is the bare mask.

    What they all mean together is the *target*: the distribution that weights point to and SMC
    comes near. A poem's share in it is p(poem) ** (1 / temperature), p being the model with the
    repetition penalty in it, times exp(score) if there is one; over the poems of the form. Top-k,
    top-p and min-p take nothing but what they cut off: a poem that holds a token they refused has
    no share. The look-ahead changes draws alone, never the target. temperature 0 draws what is
    likeliest, and its weights are those of temperature 1.

    particles: how many drafts of each poem SMC and best-of write. resample: when SMC drops poor
    drafts for copies of good ones: "ess", once the weights are uneven (effective sample size below
    half); "line", the same but only where the last of them ends a line; "never": then it is
    importance resampling of whole drafts. beams: width of beam search. diversity: log-probability
    that a beam pays for each other poem that holds the same token.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = 0.02
    repetition_penalty: float = 1.0
    lookahead: bool = True
    particles: int = 4
    beams: int = 8
    resample: str = "ess"
    diversity: float = 0.0

    def __post_init__(self) -> None:
        if _number("temperature", self.temperature) < 0:
            raise ValueError(
                f"temperature={self.temperature} is negative; "
                "0 takes the likeliest word, 1 draws as the model would"
            )
        if self.temperature and not GENTLEST <= self.temperature <= HARSHEST:
            raise ValueError(
                f"temperature={self.temperature} is too extreme; give 0 for the likeliest word, or "
                f"{GENTLEST:g} to {HARSHEST:g}"
            )
        if self.top_p is not None and not 0 < _number("top_p", self.top_p) <= 1:
            raise ValueError(f"top_p={self.top_p} is outside (0, 1]; leave it out or give 0.9, say")
        if self.min_p is not None and not 0 <= _number("min_p", self.min_p) <= 1:
            raise ValueError(
                f"min_p={self.min_p} is outside [0, 1]; leave it out or give 0.05, say"
            )
        if _number("repetition_penalty", self.repetition_penalty) <= 0:
            raise ValueError(
                f"repetition_penalty={self.repetition_penalty} is not positive; 1 means none"
            )
        if not GENTLEST <= self.repetition_penalty <= HARSHEST:
            raise ValueError(
                f"repetition_penalty={self.repetition_penalty} is too extreme; give "
                f"{GENTLEST:g} to {HARSHEST:g}, of which 1 means none"
            )
        if not isinstance(self.lookahead, bool):
            raise TypeError(f"lookahead={self.lookahead!r} is neither True nor False")
        if self.resample not in RESAMPLE:
            raise ValueError(
                f"resample={self.resample!r} is unknown; use one of {', '.join(RESAMPLE)}"
            )
        if _number("diversity", self.diversity) < 0:
            raise ValueError(f"diversity={self.diversity} is negative; 0 asks for none, 2 for much")
        if self.diversity > HARSHEST:
            raise ValueError(f"diversity={self.diversity} is too extreme; 2 asks for much")
        for name in ("top_k", "particles", "beams"):
            value = getattr(self, name)
            if value is None and name == "top_k":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name}={value!r} is not a whole number")
            if value < (0 if name == "top_k" else 1):
                raise ValueError(f"{name}={value} is too small; give a positive number")
            if name != "top_k" and value > WIDEST:
                raise ValueError(f"{name}={value} is too many; give at most {WIDEST:,}")


@dataclass
class Path:
    """One finished poem as tokens.

    tokens: ids, the one that ends the poem included. log_p: log-probability of the tokens under
    the model (softmax of its logits, no temperature), given the prompt. weight: log importance
    weight towards the target (see `Options`): log target - log q for a single draw; for SMC the
    log of its population's estimate of Z, the target's whole mass on the form (at temperature 1
    without a score: the form's probability). log_q: log-probability of the draws (nan where a
    decoder does not draw). log_mass: model probability of the allowed set, a step. score: what the
    score said of it, 0 without one. weight_error: of SMC, an estimate of the standard error of its
    weight from that one population, else nan.
    """

    tokens: list[int] = field(default_factory=list)
    log_p: float = 0.0
    log_q: float = 0.0
    weight: float = 0.0
    log_mass: list[float] = field(default_factory=list)
    score: float = 0.0
    weight_error: float = float("nan")
