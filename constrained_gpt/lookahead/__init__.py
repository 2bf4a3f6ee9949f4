"""What a model will make of a line: learned from its own poems, for draws that see corners coming.

`table` holds what was learned and lays it out for a lattice; `collect` and `fit` learn it; `store`
finds it again. It shapes proposals alone: weights account for it (`decoding.Options`).
"""

from constrained_gpt.lookahead.store import find, guide_of, learn, save
from constrained_gpt.lookahead.table import Lookahead

__all__ = ["Lookahead", "find", "guide_of", "learn", "save"]
