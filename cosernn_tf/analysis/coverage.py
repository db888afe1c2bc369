"""What there is to look at, and what a log does not tell."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cosernn_tf.analysis.block import Block
from cosernn_tf.analysis.contexts import DEVICE, Dimension
from cosernn_tf.analysis.distribution import ContextCounts
from cosernn_tf.schema import TRACK_PADDING
from cosernn_tf.sessions import local_day_and_hour


@dataclass(frozen=True)
class Coverage:
    """What there was to look at. Listens are the kept ones, the first 10 of each session."""

    users: int
    sessions: int
    sessions_embedded: int
    """With a track that has an embedding."""
    listens: int
    listens_embedded: int
    listens_skipped: int


class CoverageCounts:
    """Counts it; neither order nor grouping of users matters."""

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        self.contexts = ContextCounts(dimensions)
        self._dimensions = tuple(dimensions)
        self._listens = {d.name: np.zeros(len(d), np.int64) for d in dimensions}
        self._off_utc = 0
        self._sums = np.zeros(4, np.int64)

    def add(self, block: Block) -> None:
        """Adds users of whom no other block has a session."""
        table = block.table
        self.contexts.add(table)
        listens = np.count_nonzero(block.is_embedded_listen, axis=1)
        for dimension in self._dimensions:
            np.add.at(self._listens[dimension.name], dimension.of(table), listens)
        day, hour = local_day_and_hour(table.session_start, np.zeros_like(table.session_start))
        is_off = (day != table.day_of_week) | (hour != table.hour)
        self._off_utc += int(np.count_nonzero(is_off))
        self._sums += (
            np.count_nonzero(listens),
            np.count_nonzero(table.track != TRACK_PADDING),
            listens.sum(),
            np.count_nonzero(table.skipped == 1),
        )

    def listens_in(self, dimension: Dimension) -> np.ndarray:
        """(contexts,) int64 kept listens of tracks with an embedding."""
        return self._listens[dimension.name]

    def coverage(self) -> Coverage:
        """What has been added so far."""
        return Coverage(self.contexts.users, self.contexts.sessions, *self._sums.tolist())

    def notes(self) -> Iterator[str]:
        """What the log does not tell, a sentence each."""
        coverage = self.coverage()
        for dimension in self._dimensions:
            if dimension.name == DEVICE and not self.is_known(dimension):
                yield "The log has no devices: nothing is compared by device."
        if not self._off_utc:
            yield (
                "No session has another local time than UTC, as in a log without "
                "utc_offset_minutes: days, hours and periods are those of UTC."
            )
        if not coverage.listens_skipped:
            yield "No listen is skipped, or the log does not tell: skips are related to nothing."
        if not coverage.sessions_embedded:
            yield "No track of a session has an embedding: nothing is said of music."

    def is_known(self, dimension: Dimension) -> bool:
        """Whether any session has a context that is not the unknown one."""
        return dimension.is_known(self.contexts.sessions_in(dimension))
