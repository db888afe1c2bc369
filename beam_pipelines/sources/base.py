"""What a source of listens is, whatever its format."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from beam_pipelines.rules.rows import RawListens
from beam_pipelines.sources.files import FileVersion

ROWS_PER_BATCH: Final = 2**18
"""Rows read at once: some 30 MB of them, the same again while they are checked."""

LISTENS_PER_UNIT: Final = 2**18
"""Fewer are not worth a unit of their own, if there are more in the same file."""

BYTES_PER_BATCH: Final = 128 * 2**20
"""Of Parquet files, decompressed: fewer rows at once where rows are big."""

BYTES_PER_BLOCK: Final = 32 * 2**20
"""Of text files; a row must be shorter."""


@dataclass(frozen=True)
class Unit:
    """A part of a file that is read by itself, in parallel with the others."""

    path: str
    part: int = 0
    """First row group of a Parquet file."""
    first_row: int = 1
    """Number of its first row in the file, counted from 1."""
    parts: int = 1
    """How many row groups."""
    listens: int | None = None
    """How many it has, where that is known before it is read."""
    version: FileVersion | None = None
    """Of the file, when the job began."""


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
