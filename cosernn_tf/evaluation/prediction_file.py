"""Reads a file of predictions that come from elsewhere: checks each row, bounded in memory.

The rows may stand in any order and be more than fit into memory: they are dealt out, on disk, by
the shards of their users.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from cosernn_tf.errors import UserError, on_a_line
from cosernn_tf.evaluation.config import PredictionFile
from cosernn_tf.schema import EMBEDDING_DIM
from cosernn_tf.sessions import shard_of

USER: Final = "user_id"
START: Final = "session_start"
PREDICTION: Final = "prediction"

ROWS: Final = pa.schema(
    [
        pa.field(USER, pa.string(), nullable=False),
        pa.field(START, pa.int64(), nullable=False),
        pa.field(PREDICTION, pa.list_(pa.float32(), EMBEDDING_DIM), nullable=False),
    ]
)
"""Checked rows."""

_LEAST: Final = 1e-25
_GREATEST: Final = 1e25
"""Well within the range of float32, also a hundred millionth of the first: values of vectors."""

_ROWS_AT_ONCE: Final = 16_384
"""Rows read at once: some 3 MB."""

_MAX_BUCKETS: Final = 128
"""Files that are open at once."""


@dataclass
class Faults:
    """What is wrong with a file: of each kind how many, and the first."""

    file: PredictionFile
    _found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, kind: str, mask: np.ndarray, describe: Callable[[int], str]) -> None:
        """Counts the places where `mask` is true; `describe` says of a place which it is."""
        (places,) = np.nonzero(mask)
        if len(places):
            before, first = self._found.get(kind) or (0, describe(int(places[0])))
            self._found[kind] = before + len(places), first

    def stop_if_any(self) -> None:
        """Raises `UserError` with all that was found."""
        if self._found:
            parts = (f"{kind}: {n:,} (first: {first})" for kind, (n, first) in self._found.items())
            raise UserError(
                f"{self.file} cannot be evaluated: {'; '.join(parts)}. WORKSPACE.md has its form, "
                'under "Predictions"'
            )


def name_session(user: str | bytes, start: int) -> str:
    """A session, for people."""
    text = user.decode() if isinstance(user, bytes) else user
    return f"user '{on_a_line(text)}' at {start}"


class Buckets:
    """Rows dealt out by the shards of their users, in files of a folder.

    A bucket has those of one shard, or, of more than 128 shards, of a few neighbours.
    """

    def __init__(self, folder: Path, num_shards: int) -> None:
        self._folder = folder
        count = min(num_shards, _MAX_BUCKETS)
        self._of_shard = np.arange(num_shards) * count // num_shards
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}

    @property
    def shards(self) -> list[list[int]]:
        """Of each bucket, the numbers of its shards, in order."""
        count = self._of_shard[-1] + 1
        return [np.flatnonzero(self._of_shard == bucket).tolist() for bucket in range(count)]

    def write(self, rows: pa.Table) -> None:
        users = rows[USER].combine_chunks().dictionary_encode()
        shards = shard_of(users.dictionary.to_pylist(), len(self._of_shard))
        bucket = self._of_shard[shards][users.indices.to_numpy()]
        for number in np.unique(bucket).tolist():
            if number not in self._writers:
                self._writers[number] = pa.ipc.new_stream(str(self._path(number)), ROWS)
            self._writers[number].write_table(rows.take(np.flatnonzero(bucket == number)))

    def close(self) -> None:
        """Ends all files; after that they can be read."""
        for writer in self._writers.values():
            writer.close()

    def take(self, bucket: int) -> pa.Table:
        """The rows of a bucket, as in `ROWS`; its file is removed."""
        if bucket not in self._writers:
            return ROWS.empty_table()
        path = self._path(bucket)
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            rows = reader.read_all()
        path.unlink()
        return rows

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket}.arrow"


def deal_out(file: PredictionFile, buckets: Buckets, faults: Faults) -> int:
    """Reads and checks all rows; those of batches without a fault go to the buckets.

    Returns:
        The number of rows.

    Raises:
        UserError: The file cannot be read, or has other columns or types.
    """
    rows = 0
    try:
        with contextlib.closing(buckets), pq.ParquetFile(file.path) as parquet:
            _check_columns(file, parquet.schema_arrow)
            batches = parquet.iter_batches(_ROWS_AT_ONCE, columns=list(ROWS.names))
            total = parquet.metadata.num_rows
            with tqdm(total=total, desc=f"read {file.name}", unit="row") as bar:
                for batch in batches:
                    checked = _checked(batch, rows, faults)
                    if checked is not None:
                        buckets.write(checked)
                    rows += batch.num_rows
                    bar.update(batch.num_rows)
    except pa.ArrowInvalid as error:
        raise _unreadable(file, error) from error
    except OSError as error:
        # What the machine cannot do, such as a full disk, is no fault of the file.
        if error.errno is not None:
            raise
        raise _unreadable(file, error) from error
    return rows


def _unreadable(file: PredictionFile, error: Exception) -> UserError:
    # What Arrow says of a file may run over several lines.
    said = on_a_line(" ".join(str(error).split()))[:200]
    return UserError(f"{file} cannot be read as Parquet ({said}): write it again")


def _is_text(found: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def _is_vector(found: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(found):
        return bool(found.list_size == EMBEDDING_DIM and pa.types.is_floating(found.value_type))
    is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
    return bool(is_list and pa.types.is_floating(found.value_type))


_EXPECTED: Final = (
    (USER, _is_text, "strings"),
    (START, pa.types.is_integer, "integers, UTC seconds"),
    (PREDICTION, _is_vector, f"lists of {EMBEDDING_DIM} floating-point numbers"),
)


def _check_columns(file: PredictionFile, schema: pa.Schema) -> None:
    """Raises `UserError` unless the three columns are there, once each and of their types."""
    for name, fits, expected in _EXPECTED:
        count = len(schema.get_all_field_indices(name))
        if count != 1:
            raise UserError(
                f"{file} has {count} columns {name!r}, expected one; its columns are "
                f"{', '.join(map(on_a_line, schema.names)) or 'none'}"
            )
        if not fits(schema.field(name).type):
            found = on_a_line(str(schema.field(name).type))
            raise UserError(f"{file} has {name!r} of type {found}, expected {expected}")


def _checked(batch: pa.RecordBatch, rows_before: int, faults: Faults) -> pa.Table | None:
    """The batch as `ROWS`; None if something is wrong with it."""

    def place(row: int) -> str:
        user, start = (batch[name][row].as_py() for name in (USER, START))
        which = "" if user is None or start is None else f", {name_session(user, start)}"
        return f"row {rows_before + row + 1}{which}"

    columns = [batch[name] for name in ROWS.names]
    is_null = np.logical_or.reduce([c.is_null().to_numpy(zero_copy_only=False) for c in columns])
    faults.add("rows with a null", is_null, place)
    lengths = pc.list_value_length(batch[PREDICTION])
    lengths = lengths.fill_null(EMBEDDING_DIM).to_numpy(zero_copy_only=False)
    is_other = lengths != EMBEDDING_DIM
    kind = f"rows with another number of values than {EMBEDDING_DIM}"
    faults.add(kind, is_other, lambda row: f"{place(row)}, {lengths[row]} values")
    if is_null.any() or is_other.any():
        return None
    values = pc.list_flatten(batch[PREDICTION]).to_numpy(zero_copy_only=False)
    vectors = _in_float32(values.reshape(-1, EMBEDDING_DIM))
    is_infinite = ~np.isfinite(vectors).all(axis=1)
    faults.add("rows with a value that is not finite", is_infinite, place)
    if is_infinite.any():
        return None
    columns = [
        pc.cast(batch[USER], pa.string()),
        # An unsigned start beyond int64 gets negative: no session's, either.
        pc.cast(batch[START], pa.int64(), safe=False),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), EMBEDDING_DIM),
    ]
    return pa.table(columns, schema=ROWS)


def _in_float32(vectors: np.ndarray) -> np.ndarray:
    """As a model's are; what would be zero or infinite there is brought to about unit length."""
    size = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)
    is_far = (size > 0) & np.isfinite(size) & ((size < _LEAST) | (size > _GREATEST))
    scale = np.where(is_far, size, 1)
    return np.asarray(vectors / scale, np.float32)
