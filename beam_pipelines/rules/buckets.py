"""Listens by hash bucket of their users: from batches of rows to the listens of whole users."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.checks import CLEAN_SCHEMA
from beam_pipelines.rules.packing import unpack, with_dictionaries
from beam_pipelines.rules.spill import Part, load
from cosernn_tf.permutations import inverse
from cosernn_tf.sessions import NULL, Listens, shard_of


@dataclass(frozen=True)
class Bucket:
    """The listens of all users of a bucket, and what their codes stand for."""

    listens: Listens
    user_id: np.ndarray
    """(users,) object: str, ascending."""
    track_id: pa.Array
    """(tracks,) string, in no order: to order those of a bucket takes longer than all else."""
    stream_source: pa.Array
    """(sources,) string, ascending."""


def split_by_bucket(table: pa.Table, num_buckets: int) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each bucket that has any, by `shard_of` their column `user_id`."""
    yield from grouped(table, bucket_numbers(table["user_id"], num_buckets))


def bucket_numbers(user_id: pa.ChunkedArray, num_buckets: int) -> np.ndarray:
    """(n,) int64 bucket of each row, by `shard_of` its user."""
    users = user_id.combine_chunks().dictionary_encode()
    return shard_of(users.dictionary.to_pylist(), num_buckets)[users.indices.to_numpy()]


def split_listens(listens: pa.Table, num_buckets: int) -> Iterator[tuple[int, pa.Table]]:
    """The same for listens, in tables for `pack` that name no more users than they have."""
    listens = with_dictionaries(listens)
    users = listens["user_id"].chunk(0)
    bucket_of_user = shard_of(users.dictionary.to_pylist(), num_buckets)
    # A bucket's users side by side, so that they are a stretch of all.
    order = np.argsort(bucket_of_user, kind="stable")
    names = users.dictionary.take(pa.array(order))
    ends = np.cumsum(np.bincount(bucket_of_user, minlength=num_buckets))
    users = users.indices.to_numpy()
    column = listens.column_names.index("user_id")
    listens = listens.set_column(column, "user_id", pa.array(inverse(order, np.int32)[users]))
    for number, rows in grouped(listens, bucket_of_user[users]):
        first = int(ends[number - 1]) if number else 0
        own = pa.DictionaryArray.from_arrays(
            pc.subtract(rows["user_id"].chunk(0), pa.scalar(first, pa.int32())),
            names.slice(first, int(ends[number]) - first),
        )
        yield number, rows.set_column(column, "user_id", own)


def grouped(table: pa.Table, number: np.ndarray) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each number that has any, in their order; `number` is (n,) of small ones."""
    if not len(number):
        return
    counts = np.bincount(number)
    # Numbers of two bytes are sorted in time linear in them.
    small = number.astype(np.min_scalar_type(len(counts)))
    rows = table.take(pa.array(np.argsort(small, kind="stable")))
    starts = np.cumsum(counts) - counts
    for group in np.flatnonzero(counts).tolist():
        yield group, rows.slice(starts[group], counts[group])


def gather_bucket(parts: Iterable[Part]) -> Bucket:
    """The bucket of all the parts (packed, of `CLEAN_SCHEMA`), in any order."""
    return bucket_of(_gathered(parts, CLEAN_SCHEMA))


def gather_rows(parts: Iterable[Part], schema: pa.Schema) -> pa.Table:
    """The rows of all the parts (packed, of the schema), in their order."""
    return _gathered(parts, schema).cast(schema)


def _gathered(parts: Iterable[Part], schema: pa.Schema) -> pa.Table:
    """Of the schema, but that some columns may be dictionaries."""
    tables = [unpack(load(part), schema) for part in parts]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def bucket_of(table: pa.Table) -> Bucket:
    """The bucket of rows of `CLEAN_SCHEMA`, where names may be in dictionaries.

    Its listens stay in their order.
    """
    user, user_id = _ordered_codes(table["user_id"])
    track, track_id = _codes(table["track_id"])
    source, stream_source = _ordered_codes(table["stream_source"])
    listens = Listens(
        user=user,
        track=track,
        stream_source=source,
        **{
            name: table[name].to_numpy()
            for name in (
                "timestamp",
                "ms_played",
                "skipped",
                "device",
                "utc_offset_minutes",
                "track_duration_ms",
            )
        },
    )
    ids = np.array(user_id.to_pylist(), object)
    return Bucket(listens, ids, track_id, stream_source)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """Codes (n,) int32, `NULL` for null, and the distinct values they stand for, in no order.

    Of a dictionary, there may be values that no row has.
    """
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = pc.fill_null(encoded.indices, NULL).to_numpy(zero_copy_only=False)
    return codes, encoded.dictionary


def _ordered_codes(column: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """The same, but the values ascending, and only those that a row has."""
    codes, values = _codes(column)
    (used,) = np.nonzero(np.bincount(codes[codes != NULL], minlength=len(values)))
    order = used[pc.sort_indices(values.take(pa.array(used))).to_numpy()]
    # Null, -1, reads the number appended at the end.
    rank = np.full(len(values) + 1, NULL, np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[codes], values.take(pa.array(order))
