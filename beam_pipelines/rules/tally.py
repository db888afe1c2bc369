"""What happened to the rows of a run, counted; tallies of parts add up to that of the whole."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cosernn_tf.schema import SECONDS_PER_DAY
from cosernn_tf.workspace import Split

READ: Final = "read"
KEPT: Final = "kept"
DUPLICATES: Final = "duplicates"
REJECTED: Final = "rejected_"
"""Prefix of the counters of rejected rows; the reason follows."""


@dataclass(frozen=True)
class Tally:
    """Counters, and the span of the clean listens (UTC seconds; None without any)."""

    counters: Mapping[str, int] = field(default_factory=dict)
    first_timestamp: int | None = None
    last_timestamp: int | None = None

    def __add__(self, other: "Tally") -> "Tally":
        counters = Counter(self.counters)
        counters.update(other.counters)
        firsts = [t.first_timestamp for t in (self, other) if t.first_timestamp is not None]
        lasts = [t.last_timestamp for t in (self, other) if t.last_timestamp is not None]
        return Tally(
            dict(sorted(counters.items())),
            min(firsts, default=None),
            max(lasts, default=None),
        )

    def split(self, *, validation_days: int, test_days: int) -> Split:
        """Boundaries counted back from the last listen (decision 8)."""
        test_start = (self.last_timestamp or 0) - test_days * SECONDS_PER_DAY
        return Split(test_start - validation_days * SECONDS_PER_DAY, test_start)
