"""The lattice inside other engines."""
