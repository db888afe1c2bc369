"""Orders as permutations."""

import numpy as np


def inverse(order: np.ndarray, dtype: type[np.integer] = np.int64) -> np.ndarray:
    """(n,) the place in an order of each row, from the (n,) rows in that order."""
    place = np.empty(len(order), dtype)
    place[order] = np.arange(len(order), dtype=dtype)
    return place
