"""Who loops: plain sampling, sequential Monte Carlo, beam search. One signature for all."""

from constrained_gpt.decoding.beam import beam
from constrained_gpt.decoding.options import Options, Path
from constrained_gpt.decoding.sampling import sample
from constrained_gpt.decoding.smc import smc

STRATEGIES = {"sample": sample, "smc": smc, "beam": beam}

__all__ = ["STRATEGIES", "Options", "Path", "beam", "sample", "smc"]
