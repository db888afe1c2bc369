"""Predictions that come from elsewhere, joined to the sessions of a split."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from cosernn_tf.dataset import read_shard
from cosernn_tf.evaluation.config import EvaluatedSplit, PredictionFile
from cosernn_tf.evaluation.prediction_file import (
    PREDICTION,
    START,
    USER,
    Buckets,
    Faults,
    deal_out,
    name_session,
)
from cosernn_tf.features import is_embedded
from cosernn_tf.schema import EMBEDDING_DIM
from cosernn_tf.table import SessionTable, concatenate
from cosernn_tf.workspace import SessionsDirectory

_START_BITS: Final = 33
"""Of UTC seconds, until the year 2242."""
_NO_KEY: Final = -1
_BEYOND: Final = -2
"""What follows the last key: equal to none."""


@dataclass
class GivenPredictions:
    """The vectors of a file, in the order in which the shards have the sessions of the split."""

    sha256: str
    """Of the file."""
    rows: int
    """Of the file, those of sessions that are not scored included."""
    _vectors: Path
    _taken: int = 0

    def take(self, count: int) -> np.ndarray:
        """(count, dim) float32 of the split's next sessions; zero where the file has none."""
        offset = self._taken * EMBEDDING_DIM * np.dtype(np.float32).itemsize
        vectors = np.fromfile(self._vectors, np.float32, count * EMBEDDING_DIM, offset=offset)
        self._taken += count
        return vectors.reshape(count, EMBEDDING_DIM)


def join_predictions(
    file: PredictionFile,
    sessions: SessionsDirectory,
    track_embeddings: np.ndarray,
    *,
    split: EvaluatedSplit,
    exclude_users: frozenset[bytes],
    folder: Path,
) -> GivenPredictions:
    """Checks a file of predictions and puts it in the order of the sessions.

    Every session that is scored must have one row. Other sessions of the split, of excluded users
    or without an s⁺, may have one, which is ignored; a row of any other session is a fault.

    Args:
        file: Parquet with the columns of `prediction_file.ROWS`; others are ignored.
        sessions: To predict.
        track_embeddings: (tracks, dim) float32, zero where a track has none.
        split: Whose sessions are scored.
        exclude_users: Whose sessions are not.
        folder: For files that take, in all, twice what the vectors do; one of them has to stay
            until the last `take`.

    Raises:
        UserError: The file cannot be read, has other columns, or a row or session that is wrong:
            says how many there are of each kind, and which is the first.
    """
    faults = Faults(file)
    # Not called by the model's name, which may be no file's.
    vectors = folder / f"{hashlib.sha256(file.name.encode()).hexdigest()}.f32"
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        buckets = Buckets(Path(temporary), len(sessions.manifest.shards))
        rows = deal_out(file, buckets, faults)
        faults.stop_if_any()
        with (
            vectors.open("wb") as output,
            tqdm(total=rows, desc=f"join {file.name}", unit="row") as bar,
        ):
            for bucket, numbers in enumerate(buckets.shards):
                given = buckets.take(bucket)
                shards = [sessions.manifest.shards[number] for number in numbers]
                tables = [read_shard(sessions, shard) for shard in shards if shard.users]
                if tables:
                    table = concatenate(tables)
                    in_split = table.starts_within(*split.bounds(sessions.manifest.split))
                    is_scored = in_split & _can_be_scored(table, track_embeddings, exclude_users)
                    _join(given, table, in_split, is_scored=is_scored, faults=faults).tofile(output)
                else:
                    _add_extra(given, np.ones(given.num_rows, bool), faults)
                bar.update(given.num_rows)
        faults.stop_if_any()
    with file.path.open("rb") as content:
        checksum = hashlib.file_digest(content, "sha256").hexdigest()
    return GivenPredictions(checksum, rows, vectors)


def _can_be_scored(
    table: SessionTable, track_embeddings: np.ndarray, exclude_users: frozenset[bytes]
) -> np.ndarray:
    """(S,) bool: has a played track with an embedding, of a user who is not excluded."""
    has_played = (is_embedded(table, track_embeddings) & (table.skipped == 0)).any(axis=1)
    is_excluded = np.array([user in exclude_users for user in table.user_id], bool)
    scored: np.ndarray = has_played & ~is_excluded[table.user_of_session]
    return scored


def _join(
    given: pa.Table,
    table: SessionTable,
    in_split: np.ndarray,
    *,
    is_scored: np.ndarray,
    faults: Faults,
) -> np.ndarray:
    """(n, dim) float32: the vectors of the table's sessions that are in the split."""
    (wanted,) = np.nonzero(in_split)
    user = table.user_of_session[wanted]
    # A user's row and a start in one integer: ascending, as sessions are in time order.
    keys = (user << _START_BITS) | table.session_start[wanted]
    of_row = _keys(given, table)
    place = np.searchsorted(keys, of_row)
    is_known = np.append(keys, _BEYOND)[place] == of_row
    _add_extra(given, ~is_known, faults)

    def name(place: int) -> str:
        return name_session(table.user_id[user[place]], int(table.session_start[wanted[place]]))

    count = np.bincount(place[is_known], minlength=len(wanted))
    faults.add("sessions with more than one row", count > 1, name)
    is_missing = is_scored[wanted] & (count == 0)
    faults.add("sessions that are scored, without a row", is_missing, name)
    vectors = np.zeros((len(wanted), EMBEDDING_DIM), np.float32)
    values = given[PREDICTION].combine_chunks().flatten().to_numpy()
    vectors[place[is_known]] = values.reshape(-1, EMBEDDING_DIM)[is_known]
    return vectors


def _keys(given: pa.Table, table: SessionTable) -> np.ndarray:
    """(rows,) int64 key of each row's session; negative of users and starts that there are not."""
    row_of_user = {user: row for row, user in enumerate(table.user_id.tolist())}
    users = given[USER].combine_chunks().dictionary_encode()
    rows = [row_of_user.get(user.encode(), -1) for user in users.dictionary.to_pylist()]
    user = np.array(rows, np.int64)[users.indices.to_numpy()]
    start = given[START].to_numpy()
    possible = (user >= 0) & (start >= 0) & (start < 1 << _START_BITS)
    return np.where(possible, (user << _START_BITS) | start, _NO_KEY)


def _add_extra(given: pa.Table, is_extra: np.ndarray, faults: Faults) -> None:
    def name(row: int) -> str:
        return name_session(given[USER][row].as_py(), given[START][row].as_py())

    faults.add("rows of no session of the split", is_extra, name)
