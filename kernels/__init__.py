"""Numbers: numpy and numba kernels, arrays in, arrays out. No words, no torch."""
