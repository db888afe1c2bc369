"""What steps hand on: bytes, or where on disk they are, so that a runner's memory stays small."""

import io
import os
import struct
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Spilled:
    """A stretch of a file."""

    path: str
    offset: int
    length: int


Part = bytes | Spilled


@dataclass(frozen=True)
class Spill:
    """Where the parts of a run go: a directory that every worker reaches, or along with the rows.

    Runners that shuffle through the memory of one process need the directory. What goes along with
    the rows is compressed, as it goes through a network.
    """

    directory: str | None = None

    def put(self, parts: Iterable[Any]) -> list[Part]:
        """Puts parts away, bytes or what holds them, one after the other; `load` gets them back.

        One file holds all of a call's.
        """
        if self.directory is None:
            return [_compressed(bytes(part)) for part in parts]
        path = Path(self.directory) / uuid.uuid4().hex
        placed: list[Part] = []
        offset = 0
        with path.open("wb") as file:
            for part in parts:
                length = file.write(part)
                placed.append(Spilled(str(path), offset, length))
                offset += length
        return placed


_CODEC: Final = "lz4"
_LENGTH: Final = struct.Struct("<Q")


def _compressed(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + pa.compress(data, _CODEC, asbytes=True)


def load(part: Part) -> bytes:
    """The bytes of a part."""
    if isinstance(part, bytes):
        (length,) = _LENGTH.unpack_from(part)
        data = pa.decompress(part[_LENGTH.size :], length, _CODEC, asbytes=True)
        return bytes(data)
    with open(part.path, "rb") as file:
        data = os.pread(file.fileno(), part.length, part.offset)
    if len(data) != part.length:
        raise OSError(f"{part.path} is shorter than it was written: is the disk full?")
    return data


def load_array(part: Part, dtype: type[np.generic]) -> np.ndarray:
    """The numbers of a part, (n,), for reading; from disk only those that are looked at."""
    if isinstance(part, bytes) or not part.length:
        return np.frombuffer(load(part), dtype)
    count = part.length // np.dtype(dtype).itemsize
    return np.memmap(part.path, dtype, "r", part.offset, (count,))


def load_pieces(part: Part, lengths: Iterable[int]) -> Iterator[bytes]:
    """The bytes of a part in pieces of these lengths, one at a time in memory."""
    with io.BytesIO(load(part)) if isinstance(part, bytes) else open(part.path, "rb") as stream:
        stream.seek(0 if isinstance(part, bytes) else part.offset)
        for length in lengths:
            piece = stream.read(length)
            if len(piece) != length:
                raise OSError("a part is shorter than it was written: is the disk full?")
            yield piece


def to_bytes(table: pa.Table) -> bytes:
    """Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def from_bytes(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
