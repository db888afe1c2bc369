"""Groups of scored sessions: by history, time, activity, age and context."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosernn_tf.schema import (
    AGE_BUCKET_STARTS,
    AGE_UNKNOWN,
    PERIOD_OF_HOUR,
    PERIODS,
    SECONDS_PER_DAY,
    UNKNOWN,
    age_bucket,
)

EARLIER_SESSIONS: Final = "earlier_sessions"
DAYS_SINCE_TRAINING: Final = "days_since_training"
ACTIVITY: Final = "activity"
AGE: Final = "age"
PERIOD: Final = "period"
DEVICE: Final = "device"

EARLIER_EDGES: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 400)
"""Numbers of earlier sessions from which the groups of the cold-start curve start."""
ACTIVITY_QUANTILES: Final = (0.25, 0.5, 0.75)
"""Of users who have a session in training, by how many: between the groups of activity."""
MAX_TIME_GROUPS: Final = 14


@dataclass(frozen=True)
class Grouping:
    """A way to part sessions."""

    dimension: str
    groups: tuple[str, ...]
    """Names, in order."""
    of_session: np.ndarray
    """(S,) int64 row of `groups`."""


def groupings(sessions: pa.Table, *, training_end: int) -> tuple[Grouping, ...]:
    """All ways, by the columns of `scores.parquet`; groups without a session are left out.

    Args:
        sessions: S rows, one a session.
        training_end: UTC seconds, `validation_start` of `metrics.json`.
    """
    ways = (
        _by_history(sessions),
        _by_time(sessions, training_end),
        _by_activity(sessions),
        _by_age(sessions),
        Grouping(PERIOD, PERIODS, PERIOD_OF_HOUR[sessions["hour"].to_numpy()]),
        _by_device(sessions),
    )
    return tuple(map(_without_empty, ways))


def _by_history(sessions: pa.Table) -> Grouping:
    """By the number of earlier sessions: the cold-start curve."""
    place = _places(sessions["earlier_sessions"].to_numpy(), EARLIER_EDGES)
    return Grouping(EARLIER_SESSIONS, _ranges(EARLIER_EDGES), place)


def _by_time(sessions: pa.Table, training_end: int) -> Grouping:
    """By whole days since the training split ended, several in a group if there are many."""
    days = (sessions["session_start"].to_numpy() - training_end) // SECONDS_PER_DAY
    first, last = (int(days.min()), int(days.max())) if len(days) else (0, 0)
    width = max(1, -(-(last - first + 1) // MAX_TIME_GROUPS))
    starts = range(first, last + 1, width)
    names = [_range(start, min(start + width - 1, last)) for start in starts]
    return Grouping(DAYS_SINCE_TRAINING, tuple(names), (days - first) // width)


def _by_activity(sessions: pa.Table) -> Grouping:
    """By how many sessions a user has in training: none, and quarters of those who have any."""
    train = sessions["train_sessions"].to_numpy()
    users = sessions["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first = np.unique(users, return_index=True)
    active = np.sort(train[first][train[first] > 0])
    starts, last = [0], 0
    if len(active):
        # Users with as many sessions are in the same group.
        edges = np.unique(np.quantile(active, ACTIVITY_QUANTILES, method="higher"))
        last = int(active[-1])
        starts += [1, *(edge + 1 for edge in edges.tolist() if edge < last)]
    ends = [*(start - 1 for start in starts[1:]), last]
    names = [_range(start, end) for start, end in zip(starts, ends, strict=True)]
    return Grouping(ACTIVITY, tuple(names), _places(train, starts))


def _by_age(sessions: pa.Table) -> Grouping:
    """By the age buckets of the models; the unknown last."""
    age = sessions["user_age"].fill_null(AGE_UNKNOWN).to_numpy()
    names = (*_ranges(AGE_BUCKET_STARTS), UNKNOWN)
    # Row 0 of the buckets is unknown.
    return Grouping(AGE, names, (age_bucket(age).astype(np.int64) - 1) % len(names))


def _by_device(sessions: pa.Table) -> Grouping:
    """By device, the one with the most sessions first, the unknown last."""
    counts = {row["values"]: row["counts"] for row in sessions["device"].value_counts().to_pylist()}
    names = sorted(counts, key=lambda name: (name == UNKNOWN, -counts[name], name))
    place = pc.index_in(sessions["device"], pa.array(names, pa.string()))
    return Grouping(DEVICE, tuple(names), place.to_numpy().astype(np.int64))


def _places(values: np.ndarray, starts: Sequence[int]) -> np.ndarray:
    """(n,) the last of the starts that is not beyond each value."""
    place: np.ndarray = np.searchsorted(np.asarray(starts), values, side="right") - 1
    return place


def _ranges(starts: Sequence[int]) -> tuple[str, ...]:
    ends = [start - 1 for start in starts[1:]]
    names = [_range(start, end) for start, end in zip(starts, ends, strict=False)]
    return (*names, f"{starts[-1]} or more")


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _without_empty(grouping: Grouping) -> Grouping:
    count = np.bincount(grouping.of_session, minlength=len(grouping.groups))
    kept = count > 0
    names = tuple(name for name, keep in zip(grouping.groups, kept, strict=True) if keep)
    return Grouping(grouping.dimension, names, (np.cumsum(kept) - 1)[grouping.of_session])
