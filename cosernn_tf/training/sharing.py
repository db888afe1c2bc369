"""Which replica of a strategy takes which windows of a batch."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.windows import Windows


@dataclass(frozen=True)
class Share:
    """The replicas that this process feeds: `count` from `first` on, of `of`."""

    first: int = 0
    count: int = 1
    of: int = 1

    def parts(self, windows: Windows, split: Callable[[Windows], list[Windows]]) -> list[Windows]:
        """What the replicas of this process take of a batch, in turn: `count` parts at a time.

        Args:
            windows: Of the whole batch.
            split: Cuts one or more windows into the parts that a replica takes one after the other.
        """
        dealt = deal(windows, self.of)[self.first : self.first + self.count]
        turns = [split(part) if len(part) else [] for part in dealt]
        most = max(map(len, turns))
        nothing = without_target(windows)
        turns = [[*parts, *[nothing] * (most - len(parts))] for parts in turns]
        return [part for parts in zip(*turns, strict=True) for part in parts]


ALL: Final = Share()
"""One replica takes all."""


def deal(windows: Windows, replicas: int) -> list[Windows]:
    """Splits windows among replicas, with about as many sessions for each.

    The longest windows go first, each to whoever has the fewest sessions: no replica has more than
    another by more sessions than the longest window has. Windows keep their order.
    """
    if replicas == 1:
        return [windows]
    loads = [(0, replica) for replica in range(replicas)]
    taker = np.empty(len(windows), np.int64)
    for row in np.argsort(-windows.lengths, kind="stable"):
        load, replica = heapq.heappop(loads)
        taker[row] = replica
        heapq.heappush(loads, (load + int(windows.lengths[row]), replica))
    return [windows.take(np.flatnonzero(taker == replica)) for replica in range(replicas)]


def without_target(windows: Windows) -> Windows:
    """A window of one session that is no target, for a replica that has nothing else to do."""
    start = windows.start[:1]
    return Windows(windows.user[:1], start, start + 1, start + 1)
