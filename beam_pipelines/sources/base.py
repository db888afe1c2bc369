"""What a source of listens gives, whatever its format: raw rows by canonical column."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa

ROWS_PER_BATCH: Final = 2**19
"""Rows read at once: some 100 MB of them, the same again while they are checked."""

BYTES_PER_BLOCK: Final = 32 * 2**20
"""Of text files; a row must be shorter."""

NOT_A_TRACK: Final = "not_a_track"
"""Reason against a play of something other than music: a podcast, an audiobook, a video."""


@dataclass(frozen=True)
class Unit:
    """A part of a file that is read by itself, in parallel with the others."""

    path: str
    part: int = 0
    """Row group of a Parquet file."""
    first_row: int = 1
    """Number of its first row in the file, counted from 1."""


@dataclass(frozen=True)
class RejectedRow:
    """A row that is no listen: kept aside, with where it stood and why."""

    row: int
    """Number in its file, from 1, a header not counted."""
    reason: str
    content: str
    """The row as it stood, as text or JSON."""


@dataclass(frozen=True)
class RawListens:
    """n rows in columns of the canonical log's names, each of whatever type the file gave it."""

    columns: dict[str, pa.Array]
    """Canonical columns that the file has."""
    rows: np.ndarray
    """(n,) int64 number of each row in its file, from 1."""
    malformed: tuple[RejectedRow, ...] = ()
    """Rows beside them that are no listens, or could not be parsed at all."""


class Source(Protocol):
    """A format of listening logs."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files of a directory that are read; a suffix of compression may follow."""
        ...

    def units(self, path: Path) -> list[Unit]:
        """The parts of a file. Raises `UserError` for a file of another format."""
        ...

    def read(self, unit: Unit) -> Iterator[RawListens]:
        """The rows of a part, batch by batch. Raises `UserError` for a damaged file."""
        ...
