"""The files of a log, written block by block so that memory does not grow with the users."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.synthetic.catalogue import Catalogue
from beam_pipelines.synthetic.listening import Listens
from beam_pipelines.synthetic.sources import SOURCES
from beam_pipelines.synthetic.users import User
from cosernn_tf.schema import AGE_UNKNOWN, DEVICES, LISTEN_SCHEMA, USER_SCHEMA

LISTENS: Final = "listens"
PLAYLISTS: Final = "playlists.jsonl.gz"
USERS: Final = "users.parquet"
SUMMARY: Final = "log.json"

USERS_PER_ROW_GROUP: Final = 20
USERS_PER_FILE: Final = 100


def listens_file(number: int, files: int) -> str:
    return f"{LISTENS}-{number:05d}-of-{files:05d}.parquet"


class LogWriter:
    """Writes `listens/` and `users.parquet`: users in order, the listens of each in time order."""

    def __init__(self, directory: Path, catalogue: Catalogue, num_users: int) -> None:
        self._directory = directory / LISTENS
        self._directory.mkdir()
        self._track_ids = pa.array(catalogue.track_ids.tolist(), pa.string())
        self._duration_ms = catalogue.duration_ms
        self._num_files = -(-num_users // USERS_PER_FILE)
        self._num_users = 0
        self._block: list[tuple[User, Listens]] = []
        self._users = pq.ParquetWriter(directory / USERS, USER_SCHEMA, compression="zstd")
        self._listens: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        if exception_type is None:
            self._write_block()
        self._close_file()
        self._users.close()

    def add(self, user: User, listens: Listens) -> None:
        self._block.append((user, listens))
        self._num_users += 1
        if self._num_users % USERS_PER_ROW_GROUP == 0:
            self._write_block()
        if self._num_users % USERS_PER_FILE == 0:
            self._close_file()

    def _write_block(self) -> None:
        if not self._block:
            return
        if self._listens is None:
            number = (self._num_users - 1) // USERS_PER_FILE
            path = self._directory / listens_file(number, self._num_files)
            self._listens = pq.ParquetWriter(path, LISTEN_SCHEMA, compression="zstd")
        self._listens.write_table(self._table())
        ages = [None if user.age == AGE_UNKNOWN else user.age for user, _ in self._block]
        ids = [user.user_id for user, _ in self._block]
        self._users.write_table(pa.table([ids, ages], schema=USER_SCHEMA))
        self._block.clear()

    def _close_file(self) -> None:
        if self._listens is not None:
            self._listens.close()
            self._listens = None

    def _table(self) -> pa.Table:
        """The block as canonical listens."""
        users = [user for user, _ in self._block]
        parts = [listens for _, listens in self._block]
        row = np.repeat(np.arange(len(users)), [len(part.track) for part in parts])
        track = np.concatenate([part.track for part in parts])
        offsets = np.array([user.utc_offset_minutes for user in users], np.int32)
        columns = {
            "user_id": _strings([user.user_id for user in users], row),
            "track_id": self._track_ids.take(pa.array(track)),
            "timestamp": np.concatenate([part.timestamp for part in parts]),
            "ms_played": np.concatenate([part.ms_played for part in parts]),
            "skipped": np.concatenate([part.is_skipped for part in parts]),
            "device": _strings(DEVICES, np.concatenate([part.device for part in parts])),
            "stream_source": _strings(
                [source.name for source in SOURCES],
                np.concatenate([part.source for part in parts]),
            ),
            "utc_offset_minutes": offsets[row],
            "track_duration_ms": self._duration_ms[track],
        }
        return pa.table(columns, schema=LISTEN_SCHEMA)


def _strings(values: Iterable[str], rows: np.ndarray) -> pa.Array:
    return pa.array(list(values), pa.string()).take(pa.array(rows))


def write_playlists(path: Path, playlists: Iterator[tuple[str, list[str]]]) -> int:
    """Writes JSON Lines, gzip without a time stamp; returns the number of lines."""
    count = 0
    # The file name and the time would otherwise stand in the header and differ between runs.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        for playlist_id, track_ids in playlists:
            line = json.dumps({"playlist_id": playlist_id, "track_ids": track_ids})
            file.write(line.encode() + b"\n")
            count += 1
    return count


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
