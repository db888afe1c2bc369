"""What a model must know of the training data before its graph can be made."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LogStatistics:
    """Mean and standard deviation of log1p of a feature over the training split."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class DataSpec:
    """Vocabulary sizes, statistics and users of the training split."""

    num_stream_sources: int
    last_num_tracks: LogStatistics
    seconds_since_last: LogStatistics
    users: tuple[str, ...] = ()
    """Who have a training pair, sorted; empty for models that do not ask who the user is."""
