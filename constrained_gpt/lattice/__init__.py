"""The lattice: forms compiled to token masks. See `compile` and `Lattice`."""

from constrained_gpt.lattice.compile import compile
from constrained_gpt.lattice.lattice import Lattice, LatticeError

__all__ = ["Lattice", "LatticeError", "compile"]
