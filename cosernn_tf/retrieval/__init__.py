"""Nearest-neighbour search over track embeddings: one contract, exact and ScaNN (§1, §7)."""
