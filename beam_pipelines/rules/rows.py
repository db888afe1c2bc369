"""Raw rows of a log on their way to becoming clean listens, or being rejected."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

MALFORMED: Final = "malformed"
"""Reason against a line that does not have the form of its file."""
NOT_A_TRACK: Final = "not_a_track"
"""Reason against a play of something other than music: a podcast, an audiobook, a video."""

_MAX_CHARACTERS: Final = 1_000
"""That are kept of a malformed row."""


@dataclass(frozen=True)
class RejectedRow:
    """A row that is no listen: kept aside, with where it stood and why."""

    row: int
    """Number in its file, from 1, a header not counted."""
    reason: str
    content: str | None
    """The row as it stood, as text or JSON; None where ids must not be kept."""
    length: int | None = None
    """Characters of a row that could not be parsed."""

    @property
    def shown(self) -> str:
        return f"{self.length:,} characters" if self.content is None else self.content

    def to_dict(self, file: str) -> dict[str, Any]:
        """For `rejected.jsonl`."""
        where = {"file": file, "row": self.row, "reason": self.reason, "content": self.content}
        return where if self.content is not None else {**where, "length": self.length}

    def without_content(self) -> "RejectedRow":
        length = len(self.content or "") if self.length is None else self.length
        return RejectedRow(self.row, self.reason, None, length)


def malformed_row(row: int, text: str) -> RejectedRow:
    return RejectedRow(row, MALFORMED, text[:_MAX_CHARACTERS], len(text))


@dataclass(frozen=True)
class RawListens:
    """n rows in columns of the canonical log's names, each of whatever type the file gave it."""

    columns: dict[str, pa.Array]
    """Canonical columns that the file has."""
    rows: np.ndarray
    """(n,) int64 number of each row in its file, from 1."""
    malformed: tuple[RejectedRow, ...] = ()
    """Rows beside them that are no listens, or could not be parsed at all."""
