"""Fig. 3 (§4.3): the context of the session nearest to a session, against chance.

For each session, the source, the nearest of all other sessions of the same user is the target, by
the cosine of their s. Equally near ones, as sessions of the same tracks are, share it. Of this
distribution of the target's context, given the source's, we subtract that of a target drawn
uniformly from the user's other sessions.

Both are means over the sources of a context. Sources may be a sample, targets are all sessions.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.analysis.block import Block
from cosernn_tf.analysis.clustered import ClusteredTotals, sum_by
from cosernn_tf.analysis.contexts import Dimension
from cosernn_tf.analysis.rows import Row, around, finite
from cosernn_tf.evaluation.metrics import EQUAL_COSINES

_ELEMENTS: Final = 2**20
"""Cosines computed at once: 4 MB, so that they stay in cache."""

_NO_SESSION: Final = -np.inf
"""The cosine of what is no other session."""

_SMALL: Final = 64
"""Users with at most so many sessions are searched together, padded to a power of two."""


@dataclass(frozen=True, kw_only=True)
class NearestContext(Row):
    """A cell of a heatmap of Fig. 3. Probabilities are of the target's context, given the source's.

    The excesses of a source add up to 0.
    """

    dimension: str
    source: str
    target: str
    sources: int
    """Sessions whose nearest one was searched, the same for all targets."""
    users: int
    """Whose these are."""
    exact: bool
    """Whether these are all sessions of the source's context that have another one."""
    observed: float | None
    """Of the nearest session."""
    by_chance: float | None
    """Of one of the user's other sessions."""
    excess: float | None
    """Their difference."""
    excess_low: float | None
    excess_high: float | None


class NearestSessions:
    """Gathers Fig. 3 for some dimensions; neither order nor grouping of users matters."""

    def __init__(self, dimensions: Sequence[Dimension], *, rates: Sequence[np.ndarray]) -> None:
        """Starts without sessions.

        Args:
            dimensions: The contexts.
            rates: (contexts,) of each: share of their sessions that are sources, see `sampling`.
        """
        self._dimensions = tuple(dimensions)
        self._rates = tuple(rates)
        # Of the sources of a context: their number, then Σ of targets, then Σ of chance.
        self._totals = [ClusteredTotals(len(d), 1 + 2 * len(d)) for d in dimensions]
        self._sessions = [np.zeros(len(d), np.int64) for d in dimensions]
        """(contexts,) each: what could be a source."""

    def add(self, block: Block) -> None:
        """Adds users of whom no other block has a session."""
        user = block.table.user_of_session
        has_other = (
            np.bincount(user[block.vectors.any(axis=1)], minlength=block.table.num_users) > 1
        )
        (rows,) = np.nonzero(block.vectors.any(axis=1) & has_other[user])
        user, vectors, numbers = user[rows], block.vectors[rows], block.session_numbers[rows]
        codes = [dimension.of(block.table)[rows] for dimension in self._dimensions]
        drawn = [numbers < rate[code] for rate, code in zip(self._rates, codes, strict=True)]
        sizes = [len(dimension) for dimension in self._dimensions]
        (sources,) = np.nonzero(np.logical_or.reduce(drawn))
        found = nearest_contexts(vectors, user, sources=sources, codes=codes, sizes=sizes)
        for i, (size, code) in enumerate(zip(sizes, codes, strict=True)):
            self._sessions[i] += np.bincount(code, minlength=size)
            own = drawn[i][sources]
            rows = sources[own]
            values = [np.ones((len(rows), 1)), found[i][own], by_chance(user, code, size, rows)]
            cells, sums = sum_by(user[rows] * size + code[rows], np.concatenate(values, axis=1))
            self._totals[i].add_groups(cells % size, sums)

    def rows(self) -> tuple[NearestContext, ...]:
        """The cells of the contexts of which there are sources, by dimension and source."""
        return tuple(row for i in range(len(self._dimensions)) for row in self._rows(i))

    def _rows(self, i: int) -> Iterator[NearestContext]:
        dimension, totals, sessions = self._dimensions[i], self._totals[i], self._sessions[i]
        shown = [row for row in dimension.rows(sessions) if sessions[row]]
        sources = np.rint(totals.totals[:, 0]).astype(np.int64)
        for source, target in itertools.product(shown, shown):
            observed, by_chance, low, high = (of[source] for of in _to_target(totals, target))
            yield NearestContext(
                dimension=dimension.name,
                source=dimension.contexts[source],
                target=dimension.contexts[target],
                sources=int(sources[source]),
                users=int(totals.users[source]),
                exact=bool(sources[source] == sessions[source]),
                observed=finite(observed),
                by_chance=finite(by_chance),
                **around("excess", observed - by_chance, low, high),
            )


def _to_target(totals: ClusteredTotals, target: int) -> tuple[np.ndarray, ...]:
    """(sources,) each: the target's probability, that by chance, and the ends of the excess."""
    size = len(totals.totals)
    count, observed, by_chance = totals.totals[:, [0, 1 + target, 1 + size + target]].T
    gradient = np.zeros_like(totals.totals)
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = (observed - by_chance) / count
        gradient[:, 0] = -excess / count
        gradient[:, 1 + target] = 1.0 / count
        gradient[:, 1 + size + target] = -1.0 / count
        return observed / count, by_chance / count, *totals.intervals(excess, gradient)


def by_chance(user: np.ndarray, code: np.ndarray, size: int, rows: np.ndarray) -> np.ndarray:
    """(rows, size) probabilities of the context of one of the user's other sessions.

    Args:
        user: (S,) of each session; each has two or more.
        code: (S,) context of each session, of [0, size).
        size: Contexts.
        rows: The sessions to answer for.
    """
    cells = np.bincount(user * size + code, minlength=(user.max(initial=-1) + 1) * size)
    others = cells.reshape(-1, size)[user[rows]]
    others[np.arange(len(rows)), code[rows]] -= 1
    return others / others.sum(axis=1, keepdims=True)


def nearest_contexts(
    vectors: np.ndarray,
    user: np.ndarray,
    *,
    sources: np.ndarray,
    codes: Sequence[np.ndarray],
    sizes: Sequence[int],
) -> list[np.ndarray]:
    """The contexts of the sessions nearest to some.

    Args:
        vectors: (S, dim) float32, unit norm.
        user: (S,) ascending; each user has two sessions or more.
        sources: (n,) rows, ascending.
        codes: (S,) context of each session, by dimension.
        sizes: Contexts of each dimension.

    Returns:
        By dimension (n, contexts): the share of those equally near (within `EQUAL_COSINES`).
    """
    found = [np.zeros((len(sources), size)) for size in sizes]
    for place, target, weight in _nearest(vectors, user, sources):
        for of_dimension, code in zip(found, codes, strict=True):
            np.add.at(of_dimension, (place, code[target]), weight)
    return found


def _nearest(
    vectors: np.ndarray, user: np.ndarray, sources: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Places in `sources`, rows of their nearest others, and their shares of 1; each (m,)."""
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    lengths = np.diff(starts, append=len(user))
    # Of each user, sources[first:last].
    first, last = np.searchsorted(sources, [starts, starts + lengths])
    has_source = last > first
    size = 1
    while size < _SMALL:
        size *= 2
        of_size = has_source & (lengths > size // 2) & (lengths <= size)
        yield from _nearest_of_small(
            vectors, sources, starts=starts[of_size], lengths=lengths[of_size], size=size
        )
    for row in np.flatnonzero(has_source & (lengths > _SMALL)):
        start, length = starts[row], lengths[row]
        own = vectors[start : start + length]
        step = max(1, _ELEMENTS // length)
        for low in range(first[row], last[row], step):
            place = np.arange(low, min(low + step, last[row]))
            cosines = vectors[sources[place]] @ own.T
            cosines[np.arange(len(place)), sources[place] - start] = _NO_SESSION
            source, target, weight = _highest(cosines)
            yield place[source], start + target, weight


def _nearest_of_small(
    vectors: np.ndarray,
    sources: np.ndarray,
    *,
    starts: np.ndarray,
    lengths: np.ndarray,
    size: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The same of users with at most `size` sessions, many at a time."""
    places = np.arange(size)
    step = max(1, _ELEMENTS // size**2)
    for low in range(0, len(starts), step):
        start, length = starts[low : low + step, None], lengths[low : low + step, None]
        rows = np.minimum(start + places, len(vectors) - 1)
        is_session = places < length
        own = vectors[rows]
        cosines = own @ own.transpose(0, 2, 1)
        cosines[np.broadcast_to(~is_session[:, None], cosines.shape)] = _NO_SESSION
        cosines[:, places, places] = _NO_SESSION
        place = np.searchsorted(sources, rows)
        is_source = is_session & (sources[np.minimum(place, len(sources) - 1)] == rows)
        source, target, weight = _highest(cosines[is_source])
        of_user = np.nonzero(is_source)[0][source]
        yield place[is_source][source], rows[of_user, target], weight


def _highest(cosines: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and weights of what equals the highest of its row; a row's weights are 1."""
    equal = cosines >= cosines.max(axis=1, keepdims=True) - np.float32(EQUAL_COSINES)
    row, column = np.nonzero(equal)
    return row, column, 1.0 / np.count_nonzero(equal, axis=1)[row]
