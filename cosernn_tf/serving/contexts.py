"""Contexts of sessions to come, as columns of rows of the vocabularies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from cosernn_tf.config import require
from cosernn_tf.models.stepping import SESSIONS
from cosernn_tf.serving.carrier import Starts
from cosernn_tf.serving.listens import Context
from cosernn_tf.sessions import local_day_and_hour
from cosernn_tf.trained_run import TrainedRun


@dataclass(frozen=True)
class ContextColumns:
    """Of n contexts, (n,) each."""

    second: np.ndarray
    """UTC, that the session starts in."""
    day_of_week: np.ndarray
    hour: np.ndarray
    device: np.ndarray
    stream_source: np.ndarray

    def take(self, rows: np.ndarray) -> "ContextColumns":
        return ContextColumns(**{name: values[rows] for name, values in vars(self).items()})

    def after(self, records: np.ndarray, *, gap_seconds: int) -> Starts:
        """How sessions of users start then.

        An open session counts as ended: after less than `gap_seconds` of inactivity it would be no
        new session (§3).

        Args:
            records: (n,) of the users.
            gap_seconds: That separates sessions.
        """
        since = np.maximum(gap_seconds, self.second - records["end"])
        since[records[SESSIONS] == 0] = 0
        return Starts(self.day_of_week, self.hour, self.device, self.stream_source, since)


class ContextReader:
    """Reads contexts for one run."""

    def __init__(self, run: TrainedRun) -> None:
        self._run = run.path.name
        self._devices = {name: row for row, name in enumerate(run.sessions.devices)}
        self._sources = {name: row for row, name in enumerate(run.sessions.stream_sources)}
        self._takes_source = "current_stream_source" in run.config.model.features

    def check(self, context: Context) -> None:
        """Refuses what the run cannot answer.

        Raises:
            UserError: An unknown device or stream source, a stream source that the run does not
                ask for, or a time without offset.
        """
        self._row_of_device(context.device)
        self._row_of_source(context.stream_source)
        self._offset(context)

    def columns(self, contexts: Sequence[Context]) -> ContextColumns:
        """Raises `UserError` as `check`."""
        second = _seconds(contexts)
        day_of_week, hour = self.local(contexts)
        return ContextColumns(
            second,
            day_of_week,
            hour,
            np.array([self._row_of_device(context.device) for context in contexts], np.int64),
            np.array([self._row_of_source(c.stream_source) for c in contexts], np.int64),
        )

    def local(self, contexts: Sequence[Context]) -> tuple[np.ndarray, np.ndarray]:
        """Day of week and hour on the users' clocks, (n,) each."""
        offset = np.array([self._offset(context) for context in contexts], np.int64)
        return local_day_and_hour(_seconds(contexts), offset)

    @staticmethod
    def _offset(context: Context) -> int:
        offset = context.at.utcoffset()
        if offset is None:
            require(False, f"the time {context.at.isoformat()} has no UTC offset")
            raise AssertionError
        return offset // timedelta(minutes=1)

    def _row_of_device(self, name: str) -> int:
        if name not in self._devices:
            choices = ", ".join(self._devices)
            require(False, f"the device {name!r} is unknown: choose from {choices}")
        return self._devices[name]

    def _row_of_source(self, name: str | None) -> int:
        if name is None:
            return 0
        require(
            self._takes_source,
            f"the stream source {name!r} has no use: run {self._run!r} was trained without "
            "current_stream_source among its --features",
        )
        if name not in self._sources:
            choices = ", ".join(self._sources)
            require(False, f"the stream source {name!r} is unknown: choose from {choices}")
        return self._sources[name]


def _seconds(contexts: Sequence[Context]) -> np.ndarray:
    return np.array([math.floor(context.at.timestamp()) for context in contexts], np.int64)
