"""What happened to the rows of a run, counted; tallies of parts add up to that of the whole."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cosernn_tf.schema import SECONDS_PER_DAY
from cosernn_tf.workspace import Split

READ: Final = "read"
USERS_READ: Final = "users_read"
KEPT: Final = "kept"
DUPLICATES: Final = "duplicates"
DEVICES_OTHER: Final = "devices_other"
REJECTED: Final = "rejected_"
"""Prefix of the counters of rejected rows; the reason follows."""
REJECTED_USERS: Final = f"{REJECTED}users_"
"""Those of `--users`, which are no listens."""


class Example(NamedTuple):
    """A rejected row, to be shown."""

    file: str
    row: int
    content: str


@dataclass(frozen=True)
class Tally:
    """Counters, and the span of the clean listens (UTC seconds; None without any)."""

    counters: Mapping[str, int] = field(default_factory=dict)
    first_timestamp: int | None = None
    last_timestamp: int | None = None
    examples: Mapping[str, Example] = field(default_factory=dict)
    """By counter of rejected rows, the first of them."""

    def __add__(self, other: "Tally") -> "Tally":
        counters = Counter(self.counters)
        counters.update(other.counters)
        firsts = [t.first_timestamp for t in (self, other) if t.first_timestamp is not None]
        lasts = [t.last_timestamp for t in (self, other) if t.last_timestamp is not None]
        examples = dict(self.examples)
        for name, example in other.examples.items():
            examples[name] = min(example, examples.get(name, example))
        return Tally(
            dict(sorted(counters.items())),
            min(firsts, default=None),
            max(lasts, default=None),
            examples,
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Tally":
        """From `vars` of one, also by way of JSON."""
        examples = {name: Example(*example) for name, example in fields["examples"].items()}
        return cls(**{**fields, "examples": examples})

    def split(self, *, validation_days: int, test_days: int, last_before: int = 0) -> Split:
        """Boundaries counted back from the last listen, also of an older run (decision 8)."""
        last = max(self.last_timestamp or 0, last_before)
        test_start = last - test_days * SECONDS_PER_DAY
        return Split(test_start - validation_days * SECONDS_PER_DAY, test_start)
