"""Fig. 2a (§4.2): how alike the tracks are that are listened to in a context, over all users.

Of a context with n listens L whose tracks have unit vectors v, all n(n - 1)/2 pairs of two listens
are compared. A track that is listened to twice is there twice, as in "all tracks appearing in each
specific context ... millions of plays".

The mean cosine of all these pairs needs none of them: with S = Σ v it is (|S|² - n) / (n (n - 1)).
Quantiles need them all; they are of the pairs of a sample of listens where there are too many.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cosernn_tf.analysis.block import Block
from cosernn_tf.analysis.clustered import (
    ClusteredTotals,
    correction,
    intervals,
    sum_by,
    t_quantile,
)
from cosernn_tf.analysis.contexts import Dimension
from cosernn_tf.analysis.rows import Row, around

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of a box: its middle ones, and the ends of its whiskers."""

_USERS_PER_CHUNK: Final = 4_096
"""Users whose sums by context are spread out at once: some 10 MB."""


@dataclass(frozen=True, kw_only=True)
class ContextSimilarity(Row):
    """A box of Fig. 2a: cosines of pairs of listens in a context."""

    dimension: str
    context: str
    listens: int
    """Kept listens of tracks with an embedding."""
    users: int
    """Who have these."""
    mean: float | None
    """Of all pairs."""
    mean_low: float | None
    mean_high: float | None
    difference: float | None
    """To the mean of the context with the most listens; None there."""
    difference_low: float | None
    difference_high: float | None
    sampled: int
    """Listens of which all pairs were compared for the quantiles."""
    exact: bool
    """Whether these are all."""
    p05: float | None
    p05_low: float | None
    p05_high: float | None
    p25: float | None
    p25_low: float | None
    p25_high: float | None
    p50: float | None
    p50_low: float | None
    p50_high: float | None
    p75: float | None
    p75_low: float | None
    p75_high: float | None
    p95: float | None
    p95_low: float | None
    p95_high: float | None


def mean_cosine(sums: np.ndarray, count: np.ndarray | int) -> np.ndarray:
    """Of all pairs of different rows among some, from their sum; NaN with fewer than two.

    Args:
        sums: (..., dim) of unit vectors.
        count: (...) how many they are.
    """
    squares = np.square(sums.astype(np.float64)).sum(axis=-1)
    pairs = np.where(np.greater(count, 1), np.multiply(count, np.subtract(count, 1)), np.nan)
    return np.asarray((squares - count) / pairs)


class SimilarityWithin:
    """Gathers Fig. 2a for one dimension; neither order nor grouping of users matters."""

    def __init__(self, dimension: Dimension, *, rates: np.ndarray, dim: int) -> None:
        """Starts without sessions.

        Args:
            dimension: The contexts.
            rates: (contexts,) share of their listens whose pairs are compared, see `sampling`.
            dim: Of the track embeddings.
        """
        self._dimension = dimension
        self._rates = rates
        self._dim = dim
        # A context's part of a user's sums: Σ v, and how many.
        self._totals = ClusteredTotals(1, len(dimension) * (dim + 1))
        self._users = np.zeros(len(dimension), np.int64)
        self._drawn: list[np.ndarray] = []
        """(n, 4) each: what was drawn by, context, track, and number of the user."""
        self._num_users = 0

    def add(self, block: Block) -> None:
        """Adds users of whom no other block has a session."""
        table = block.table
        context = self._dimension.of(table)
        self._add_sums(block, context)
        drawn = block.listen_numbers < self._rates[context][:, None]
        session, place = np.nonzero(drawn & block.is_embedded_listen)
        user = self._num_users + table.user_of_session[session]
        # A place in the order of the sample that does not depend on that of the blocks.
        number = block.listen_numbers[session, place] * 2.0**53
        columns = (number, context[session], table.track[session, place], user)
        self._drawn.append(np.stack([column.astype(np.int64) for column in columns], axis=1))
        self._num_users += table.num_users

    def _add_sums(self, block: Block, context: np.ndarray) -> None:
        contexts = len(self._dimension)
        listens = np.count_nonzero(block.is_embedded_listen, axis=1)
        values = np.concatenate([block.sums, listens[:, None]], axis=1)
        some = listens > 0
        key = block.table.user_of_session[some] * contexts + context[some]
        cells, sums = sum_by(key, values[some])
        self._users += np.bincount(cells % contexts, minlength=contexts)
        for first in range(0, block.table.num_users, _USERS_PER_CHUNK):
            last = min(first + _USERS_PER_CHUNK, block.table.num_users)
            start, end = np.searchsorted(cells, [first * contexts, last * contexts])
            spread = np.zeros(((last - first) * contexts, self._dim + 1))
            spread[cells[start:end] - first * contexts] = sums[start:end]
            self._totals.add(spread.reshape(last - first, 1, -1))

    def rows(self, track_embeddings: np.ndarray) -> tuple[ContextSimilarity, ...]:
        """The boxes of the contexts that have a listen."""
        totals = self._totals.totals.reshape(len(self._dimension), self._dim + 1)
        listens = np.rint(totals[:, -1]).astype(np.int64)
        shown = [row for row in self._dimension.rows(listens) if listens[row]]
        if not shown:
            return ()
        means = self._means(totals, most=int(listens.argmax()))
        drawn = np.concatenate(self._drawn)
        drawn = drawn[np.argsort(drawn[:, 0], kind="stable"), 1:]
        rows = []
        for row in shown:
            of_context = drawn[drawn[:, 0] == row]
            rows.append(
                ContextSimilarity(
                    dimension=self._dimension.name,
                    context=self._dimension.contexts[row],
                    listens=int(listens[row]),
                    users=int(self._users[row]),
                    sampled=len(of_context),
                    exact=len(of_context) == int(listens[row]),
                    **means[row],
                    **quantiles_of_pairs(track_embeddings[of_context[:, 1]], of_context[:, 2]),
                )
            )
        return tuple(rows)

    def _means(self, totals: np.ndarray, *, most: int) -> list[dict[str, Any]]:
        """Of each context, the columns of its mean and of the difference to context `most`."""
        sums, count = totals[:, :-1], totals[:, -1]
        squares = np.square(sums).sum(axis=1)
        mean = mean_cosine(sums, count)
        with np.errstate(invalid="ignore", divide="ignore"):
            # Of |S|² / n², to which the mean comes near.
            of_sums = 2 * sums / np.square(count)[:, None]
            of_count = -2 * squares / count**3
        contexts = len(count)
        gradient = np.zeros((contexts, *totals.shape))
        rows = np.arange(contexts)
        gradient[rows, rows] = np.nan_to_num(np.column_stack([of_sums, of_count]))
        columns = []
        for row in rows:
            itself = self._interval(gradient[row], mean[row], self._users[row])
            step, users = mean[row] - mean[most], min(self._users[row], self._users[most])
            difference = self._interval(gradient[row] - gradient[most], step, users)
            nothing = (np.nan, np.nan, np.nan)
            columns.append(
                around("mean", mean[row], *itself)
                | around("difference", *(nothing if row == most else (step, *difference)))
            )
        return columns

    def _interval(self, gradient: np.ndarray, value: float, users: int) -> tuple[float, float]:
        variance = self._totals.variance(gradient.reshape(1, -1))
        low, high = intervals(np.array([value]), variance, np.array([users]))
        return float(low[0]), float(high[0])


def quantiles_of_pairs(vectors: np.ndarray, user: np.ndarray) -> dict[str, Any]:
    """The columns of the quantiles of the cosines of all pairs, with their intervals.

    The interval of a quantile q of probability p is Woodruff's: that of the share of pairs not
    above q, F(q), is turned into one of q. F(q) is a mean over pairs, whose deviation is to first
    order the sum over listens i of 2 (F_i(q) - F(q)) / n, F_i being that of the pairs that i is in.

    Args:
        vectors: (n, dim) float32, unit norm.
        user: (n,) number of the user whose listen it is.
    """
    count = len(vectors)
    if count < 2:
        nothing = [around(_name(p), np.nan, np.nan, np.nan) for p in QUANTILES]
        return {name: value for columns in nothing for name, value in columns.items()}
    cosines = vectors @ vectors.T
    pairs = cosines[np.tri(count, k=-1, dtype=bool)]
    pairs.sort()
    np.fill_diagonal(cosines, np.inf)
    _, own = np.unique(user, return_inverse=True)
    users = np.array([own.max() + 1])
    columns: dict[str, Any] = {}
    for p in QUANTILES:
        value = _quantile(pairs, p)
        share = np.count_nonzero(cosines <= value, axis=1) / (count - 1)
        of_user = np.bincount(own, 2 * (share - share.mean()) / count)
        variance = np.square(of_user).sum() * correction(users)
        margin = float((t_quantile(users) * np.sqrt(variance))[0])
        ends = (_quantile(pairs, p - margin), _quantile(pairs, p + margin))
        columns |= around(_name(p), value, *ends)
    return columns


def _name(probability: float) -> str:
    return f"p{round(100 * probability):02d}"


def _quantile(ordered: np.ndarray, probability: float) -> float:
    """By linear interpolation; the least or greatest beyond 0 and 1, NaN for NaN."""
    if np.isnan(probability):
        return np.nan
    place = np.clip(probability, 0.0, 1.0) * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    step = float(ordered[above]) - float(ordered[below])
    return float(ordered[below]) + (place - below) * step
