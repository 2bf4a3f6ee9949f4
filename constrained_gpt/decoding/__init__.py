"""Who loops: plain sampling, sequential Monte Carlo, best-of, beam search. One signature."""

from constrained_gpt.decoding.beam import beam
from constrained_gpt.decoding.best import best_of
from constrained_gpt.decoding.guide import Guide
from constrained_gpt.decoding.options import Options, Path
from constrained_gpt.decoding.sampling import sample
from constrained_gpt.decoding.score import Scorer, WordScore, cliche_score
from constrained_gpt.decoding.smc import smc

STRATEGIES = {"sample": sample, "smc": smc, "best": best_of, "beam": beam}

__all__ = [
    "STRATEGIES",
    "Guide",
    "Options",
    "Path",
    "Scorer",
    "WordScore",
    "beam",
    "best_of",
    "cliche_score",
    "sample",
    "smc",
]
