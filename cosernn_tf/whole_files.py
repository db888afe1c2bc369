"""Files that are there whole or not at all, and their checksums."""

import contextlib
import hashlib
import io
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Written:
    """A file that was written."""

    length: int
    sha256: str


class WatchedFile(io.RawIOBase):
    """A file to write once, from start to end, that knows its checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._checksum = hashlib.sha256()
        self._length = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._length

    def write(self, data: Any) -> int:
        self._checksum.update(data)
        length = self._file.write(data)
        self._length += length
        return length

    @property
    def written(self) -> Written:
        return Written(self._length, self._checksum.hexdigest())


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[WatchedFile]:
    """A file to write that takes its name at the end, also where a runner tries a step twice.

    Until then an older one is as it was; what was written stays beside it, hidden, if it stops.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("wb") as file:
        yield WatchedFile(file)
    temporary.replace(path)


def write_whole(path: Path, blocks: Iterable[bytes]) -> Written:
    """Writes such a file block by block."""
    with whole_file(path) as file:
        for block in blocks:
            file.write(block)
    return file.written


def write_text(path: Path, text: str) -> Written:
    """Writes such a file of UTF-8."""
    return write_whole(path, [text.encode()])


def write_json(path: Path, content: Any) -> Written:
    """Writes such a file of JSON for people to read, too."""
    return write_text(path, json.dumps(content, indent=2) + "\n")


def write_parquet(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> Written:
    """Writes such a Parquet file, a row group for each table."""
    with (
        whole_file(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for table in tables:
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
    return file.written


def file_sha256(path: Path) -> str:
    """Of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
