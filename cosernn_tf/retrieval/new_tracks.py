"""Files that say which tracks are new and which are taken down."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from absl import logging

from cosernn_tf.config import require
from cosernn_tf.errors import UserError, on_a_line
from cosernn_tf.schema import EMBEDDING_DIM

_UNIT: tuple[float, float] = (1 - 1e-3, 1 + 1e-3)
"""What rounding makes of a length of 1."""


@dataclass(frozen=True)
class NewTracks:
    """Tracks and their embeddings, in the space of those of the workspace."""

    track_ids: pa.Array
    """(tracks,) strings, each once."""
    vectors: np.ndarray
    """(tracks, dim) float32, unit norm."""


def read_new_tracks(path: Path) -> NewTracks:
    """Reads `track_id` and `embedding`, a list of 40 numbers of any length, from a Parquet file.

    Embeddings become unit norm: only their direction counts.

    Raises:
        UserError: There is no such file or column, a value is missing, an embedding has another
            dimension, is zero or not finite, or a track is there twice.
    """
    where = f"--new_tracks={path}"
    table = _read(path, ["track_id", "embedding"], where)
    ids = _strings(table["track_id"], where)
    values = table["embedding"].combine_chunks()
    kind = values.type
    is_list = (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
    require(
        is_list and pa.types.is_floating(kind.value_type),
        f"{where}: embedding is {kind}, it must be a list of floating-point numbers",
    )
    lengths = np.asarray(pc.list_value_length(values).fill_null(0))
    _require_all(
        lengths == EMBEDDING_DIM,
        ids,
        f"{where}: {{count}} embeddings have not {EMBEDDING_DIM} numbers, {{first}}'s is the first",
    )
    flat = values.flatten()
    numbers = np.asarray(flat.cast(pa.float64()).fill_null(np.nan))
    vectors = numbers.reshape(-1, EMBEDDING_DIM)
    _require_all(
        np.isfinite(vectors).all(axis=1),
        ids,
        f"{where}: {{count}} embeddings are not finite, {{first}}'s is the first",
    )
    # By the greatest first: squares of very small numbers are zero.
    greatest = np.abs(vectors).max(axis=1, keepdims=True)
    _require_all(
        greatest[:, 0] > 0, ids, f"{where}: {{count}} embeddings are zero, {{first}}'s is the first"
    )
    scaled = vectors / greatest
    scale = np.linalg.norm(scaled, axis=1, keepdims=True)
    norms = scale * greatest
    others = np.count_nonzero((norms < _UNIT[0]) | (norms > _UNIT[1]))
    if others:
        logging.info(
            "%s: %d embeddings had not unit norm, they do now: only their direction counts",
            where,
            others,
        )
    return NewTracks(ids, (scaled / scale).astype(np.float32))


def read_track_ids(path: Path, *, flag: str) -> pa.Array:
    """Reads track ids, from the column `track_id` of a `.parquet` file or from lines of text.

    Raises:
        UserError: There is no such file or column, no id, or one of them twice.
    """
    where = f"--{flag}={path}"
    if path.suffix == ".parquet":
        ids = _strings(_read(path, ["track_id"], where)["track_id"], where)
    else:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{where} cannot be read: {error}") from error
        ids = _strings(pa.chunked_array([pa.array([*filter(None, lines)], pa.string())]), where)
        require(len(ids) > 0, f"{where} has no track")
    return ids


def _read(path: Path, columns: list[str], where: str) -> pa.Table:
    try:
        schema = pq.read_schema(path)
        missing = [name for name in columns if name not in schema.names]
        require(
            not missing,
            f"{where} has no column {' and '.join(missing)} (it has {', '.join(schema.names)})",
        )
        table = pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{where} cannot be read as Parquet: {error}") from error
    require(table.num_rows > 0, f"{where} has no track")
    return table


def _strings(column: pa.ChunkedArray, where: str) -> pa.Array:
    kind = column.type
    require(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind),
        f"{where}: track_id is {kind}, it must be text",
    )
    require(column.null_count == 0, f"{where}: {column.null_count} rows have no track_id")
    combined = column.cast(pa.string()).combine_chunks()
    ids = combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    require(
        len(repeated) == 0,
        f"{where} has {len(repeated)} tracks more than once, the first is "
        + (on_a_line(repeated.field("values")[0].as_py()) if len(repeated) else ""),
    )
    return ids


def _require_all(good: np.ndarray, ids: pa.Array, message: str) -> None:
    bad = np.flatnonzero(~good)
    if len(bad):
        first = on_a_line(ids[int(bad[0])].as_py())
        raise UserError(message.format(count=len(bad), first=first))
