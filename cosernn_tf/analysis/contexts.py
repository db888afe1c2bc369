"""The contexts of sessions (§4.1): day, period of day, hour and device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.schema import DAYS_OF_WEEK, HOURS, PERIOD_OF_HOUR, PERIODS, UNKNOWN
from cosernn_tf.table import SessionTable

DAY: Final = "day"
PERIOD: Final = "period"
HOUR: Final = "hour"
DEVICE: Final = "device"
COMPARED: Final = (PERIOD, DEVICE)
"""Those by which music and models are compared (Fig. 2a, 3 and 5)."""


@dataclass(frozen=True)
class Dimension:
    """A way to part sessions by context."""

    name: str
    contexts: tuple[str, ...]
    of: Callable[[SessionTable], np.ndarray]
    """(S,) row of `contexts` of each session."""

    def __len__(self) -> int:
        return len(self.contexts)

    def rows(self, sessions: np.ndarray) -> list[int]:
        """Rows of the contexts to show, in order, of which (contexts,) sessions there are.

        Devices are those that occur, the unknown one last; of times all are shown.
        """
        rows = range(len(self))
        if self.name != DEVICE:
            return list(rows)
        some = [row for row in rows if sessions[row]]
        return sorted(some, key=lambda row: self.contexts[row] == UNKNOWN)

    def is_known(self, sessions: np.ndarray) -> bool:
        """Whether it tells (contexts,) sessions apart at all."""
        return any(sessions[row] for row, name in enumerate(self.contexts) if name != UNKNOWN)


def dimensions(devices: Sequence[str]) -> tuple[Dimension, ...]:
    """All of them, in the order of Fig. 1; `devices` is the device vocabulary."""
    return (
        Dimension(DAY, DAYS_OF_WEEK, lambda table: table.day_of_week),
        Dimension(PERIOD, PERIODS, lambda table: PERIOD_OF_HOUR[table.hour]),
        Dimension(HOUR, tuple(f"{h:02d}" for h in range(HOURS)), lambda table: table.hour),
        Dimension(DEVICE, tuple(devices), lambda table: table.device),
    )
