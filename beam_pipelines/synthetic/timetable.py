"""When a user's sessions start, and on which device: T sessions in time order."""

from dataclasses import dataclass

import numpy as np

from beam_pipelines.synthetic.config import FIRST_SECOND, SyntheticConfig
from beam_pipelines.synthetic.contexts import device_weights
from beam_pipelines.synthetic.users import User
from cosernn_tf.schema import (
    HOURS,
    PERIOD_OF_HOUR,
    SECONDS_PER_DAY,
    SESSION_GAP_SECONDS,
)

_FIRST_WEEKDAY = (FIRST_SECOND // SECONDS_PER_DAY + 3) % 7
_SATURDAY = 5
_MEAN_SLACK_SECONDS = 240.0
_LONGEST_DELAY_SECONDS = 4_500
_TYPICAL_BREAK_SECONDS = SESSION_GAP_SECONDS + int(_MEAN_SLACK_SECONDS)


@dataclass(frozen=True)
class Contexts:
    """Context of T sessions; every array has shape (T,)."""

    start: np.ndarray
    """UTC seconds."""
    day: np.ndarray
    """Local days since the first of the log, within the log's days."""
    hour: np.ndarray
    """Local."""
    is_weekend: np.ndarray
    device: np.ndarray
    """Row of `LISTENING_DEVICES`."""

    @property
    def period(self) -> np.ndarray:
        periods: np.ndarray = PERIOD_OF_HOUR[self.hour]
        return periods

    @property
    def hours_since_last(self) -> np.ndarray:
        """Start to start; infinite for the first."""
        return np.diff(self.start, prepend=-np.inf) / 3600.0


def draw_contexts(
    config: SyntheticConfig, user: User, lengths: np.ndarray, rng: np.random.Generator
) -> tuple[Contexts, np.ndarray]:
    """Places sessions in the log's days.

    Args:
        config: Gives the days.
        user: Whose sessions.
        lengths: (proposals,) seconds that each session may take; some more than the user has
            sessions, because those that find no room near their time are dropped.
        rng: Of the user.

    Returns:
        Contexts of T sessions, and (T,) which of the proposals they are.
    """
    count = len(lengths)
    offset = 60 * user.utc_offset_minutes
    days = np.arange(config.num_days)
    on_weekend = _is_weekend(days)
    # People have busy and quiet days.
    day_weight = rng.gamma(4.0, 1.0, config.num_days) * np.where(on_weekend, 1.08, 1.0)
    day = rng.choice(days, count, p=day_weight / day_weight.sum())
    cumulative = np.cumsum(user.hour_weights, axis=1)[on_weekend[day].astype(int)]
    hour = np.minimum((rng.random((count, 1)) > cumulative).sum(axis=1), HOURS - 1)
    start = day * SECONDS_PER_DAY + hour * 3600 + rng.integers(0, 3600, count) - offset
    # Local days reach over the ends of the log's UTC days: what is before it goes to its end.
    start = np.sort(start % (config.num_days * SECONDS_PER_DAY)) + FIRST_SECOND
    kept = rng.permutation(_with_room(start, lengths))[: user.num_sessions]
    kept.sort()
    start = separate(start[kept], lengths[kept], rng)
    hour, day, is_weekend = _local(config, start, offset)
    fondness = user.device_affinity * device_weights(hour, is_weekend)
    cumulative = np.cumsum(fondness, axis=1)
    device = (rng.random((len(kept), 1)) * cumulative[:, -1:] > cumulative).sum(axis=1)
    return Contexts(start=start, day=day, hour=hour, is_weekend=is_weekend, device=device), kept


def _with_room(start: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Rows of the sessions, in time order, that can take place near their time one after another.

    One that would have to wait too long is dropped, and takes none of the others' time.
    """
    free = int(start[0]) if len(start) else 0
    rows = []
    for row, (wanted, length) in enumerate(zip(start.tolist(), lengths.tolist(), strict=True)):
        begin = max(wanted, free)
        if begin - wanted <= _LONGEST_DELAY_SECONDS:
            rows.append(row)
            free = begin + length + _TYPICAL_BREAK_SECONDS
    return np.array(rows, np.int64)


def separate(start: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves starts (T,) later, where needed, so that sessions of these lengths stay apart.

    Between the end of one and the start of the next is the inactivity that separates sessions,
    and some slack, so that gaps do not pile up at exactly that length.
    """
    slack = rng.exponential(_MEAN_SLACK_SECONDS, len(start)).astype(np.int64)
    taken = np.cumsum(lengths + SESSION_GAP_SECONDS + slack)
    before = np.concatenate([[0], taken[:-1]])
    # start'_i = max(start_i, start'_{i-1} + taken_{i-1}), all at once.
    moved: np.ndarray = np.maximum.accumulate(start - before) + before
    return moved


def _local(
    config: SyntheticConfig, start: np.ndarray, offset: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    local = start - FIRST_SECOND + offset
    day = local // SECONDS_PER_DAY
    hour = local % SECONDS_PER_DAY // 3600
    return hour, np.clip(day, 0, config.num_days - 1), _is_weekend(day)


def _is_weekend(day: np.ndarray) -> np.ndarray:
    weekend: np.ndarray = (day + _FIRST_WEEKDAY) % 7 >= _SATURDAY
    return weekend
