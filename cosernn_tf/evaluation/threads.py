"""Work on parts of an array in threads: NumPy lets others run while it computes."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

_THREADS: Final = min(8, len(os.sched_getaffinity(0)))
"""Each holds a part's temporary arrays."""


def in_threads(work: Callable[[np.ndarray], None], rows: np.ndarray, size: int) -> Iterator[int]:
    """Calls `work` with `rows`, up to `size` of them at once, but at least one.

    Each row is given to one call, which may write to what belongs to the rows that it was given.

    Yields:
        How many rows a finished call had, in their order.
    """
    size = max(size, 1)
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    with ThreadPoolExecutor(_THREADS) as pool:
        for part, _ in zip(parts, pool.map(work, parts), strict=True):
            yield len(part)
