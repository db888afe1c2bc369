"""Search among some of the rows only, by asking for more neighbours until enough remain.

No searcher knows filters. What is asked for grows until k neighbours remain of every query, so that
of exact search the answer is exact, and of an approximate one as good as without filters: it looks
at more where it is asked for more.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from cosernn_tf.retrieval.contract import NO_ROW, Neighbours

Search = Callable[[np.ndarray, int], Neighbours]
"""Of (n, dim) queries and a k: the min(k, size) best rows."""

_LEAST_MORE: Final = 16
_TIMES_MORE: Final = 4
_DEEPEST: Final = 0.05
"""Share of all rows from which scoring every row is quicker than asking for that many."""


def filtered_search(
    search: Search,
    queries: np.ndarray,
    k: int,
    *,
    size: int,
    rows: int,
    exclude: Sequence[np.ndarray] | None,
    allowed: np.ndarray | None,
    otherwise: Search | None = None,
) -> Neighbours:
    """The k best rows of each query that are allowed and not excluded.

    Args:
        search: Among all rows, with no filter.
        queries: (n, dim) float32.
        k: At least 1.
        size: Rows that `search` can find.
        rows: More than the highest row.
        exclude: For each query the rows that it must not find; others do not matter.
        allowed: (rows,) bool: what all queries may find; None: everything.
        otherwise: Among the allowed rows only; called instead of `search` where too much would have
            to be asked for.

    Returns:
        (n, min(k, size)); `NO_ROW` with a score of -inf at the end where fewer remain.
    """
    k = min(k, size)
    count = len(queries)
    found = Neighbours(
        np.full((count, k), NO_ROW, np.int64), np.full((count, k), -np.inf, np.float32)
    )
    excluded = np.array([len(one) for one in exclude] if exclude is not None else [0] * count)
    share, barred = 1.0, 0
    if allowed is not None:
        number = int(np.count_nonzero(allowed))
        barred = rows - number
        share = number / rows
    pending = np.arange(count)
    more = max(k, _LEAST_MORE)
    while len(pending) and share > 0:
        some = k + min(int(excluded[pending].max()), more) + min(barred, more // 4)
        wanted = min(size, math.ceil(some / share))
        # What two filters bar may be counted twice, which asks for more than is needed.
        wanted = min(wanted, k + int(excluded[pending].max()) + barred)
        if otherwise is not None and wanted > max(_DEEPEST * size, 2 * k):
            search, otherwise, allowed, barred, share = otherwise, None, None, 0, 1.0
            continue
        best = search(queries[pending], wanted)
        kept = _kept(best.rows, rows, exclude=exclude, pending=pending, allowed=allowed)
        order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
        kept_first = np.take_along_axis(kept, order, axis=1)
        width = order.shape[1]
        found.rows[pending, :width] = np.where(
            kept_first, np.take_along_axis(best.rows, order, axis=1), NO_ROW
        )
        found.scores[pending, :width] = np.where(
            kept_first, np.take_along_axis(best.scores, order, axis=1), -np.inf
        )
        is_all = best.rows.shape[1] < wanted or wanted == size
        if is_all:
            break
        pending = pending[kept.sum(axis=1) < k]
        more *= _TIMES_MORE
    return found


def _kept(
    found: np.ndarray,
    rows: int,
    *,
    exclude: Sequence[np.ndarray] | None,
    pending: np.ndarray,
    allowed: np.ndarray | None,
) -> np.ndarray:
    """Which of (n, width) rows pass the filters."""
    kept = found != NO_ROW
    if allowed is not None:
        kept &= allowed[found]
    if exclude is not None:
        is_excluded = np.zeros(rows, bool)
        for place, query in enumerate(pending):
            one = exclude[query]
            one = one[(one >= 0) & (one < rows)]
            is_excluded[one] = True
            kept[place] &= ~is_excluded[found[place]]
            is_excluded[one] = False
    return kept
