"""Vocabularies: counted in the training split only, bucket by bucket, then merged (decision 8).

Tracks are merged range by range of their ids: a range is one thread's work and a part of the
memory, and ids in a later range are greater. So only numbers are left to be ordered all at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.buckets import grouped
from beam_pipelines.rules.spill import Part, Spill, from_bytes, load, to_bytes
from cosernn_tf.permutations import inverse
from cosernn_tf.schema import UNKNOWN
from cosernn_tf.sessions import NULL, Listens, Sessions
from cosernn_tf.workspace import Split

TRACK_SCHEMA: Final = pa.schema([("track_id", pa.string()), ("train_listens", pa.int64())])
SOURCE_SCHEMA: Final = pa.schema([("stream_source", pa.string()), ("train_listens", pa.int64())])

_ROW: Final = "row"


@dataclass(frozen=True)
class Counts:
    """Distinct values and how many training listens each has; tables of `value`, `listens`."""

    tracks: pa.Table
    stream_sources: pa.Table


@dataclass(frozen=True)
class MergedTracks:
    """The tracks of a range, of all buckets."""

    tracks: pa.Table
    """Of `TRACK_SCHEMA`, ids ascending."""
    ranks: tuple[np.ndarray, ...]
    """For each table that was merged, the rows here of its values: (values,) int32."""


@dataclass(frozen=True)
class TrackOrder:
    """The rows of the vocabulary, the most listened to first, then by id."""

    rows: np.ndarray
    """(tracks,) int32 row of each track, the tracks by id; all tracks have one."""
    num_tracks: int
    """Of the vocabulary: a track with a row from here on is cut."""


def count_values(
    sessions: Sessions,
    split: Split,
    *,
    track_id: pa.Array,
    stream_source: pa.Array,
    counted: Listens | None = None,
) -> Counts:
    """All tracks and sources of the sessions, counted over the listens of the training split.

    Args:
        sessions: Tracks and sources are codes.
        split: Boundaries.
        track_id: What the codes of tracks stand for.
        stream_source: What the codes of stream sources stand for.
        counted: Listens to take away again, since an older run has counted them.
    """
    start = sessions.table.session_start[sessions.session_of_listen]
    in_training = start < split.validation_start
    tracks = _bincount(sessions.listens.track[in_training], len(track_id))
    sources = _bincount(sessions.listens.stream_source[in_training], len(stream_source))
    if counted is not None:
        tracks -= _bincount(counted.track, len(track_id))
        sources -= _bincount(counted.stream_source, len(stream_source))
    return Counts(
        tracks=pa.table({"value": track_id, "listens": tracks}),
        stream_sources=pa.table({"value": stream_source, "listens": sources}),
    )


def _bincount(codes: np.ndarray, length: int) -> np.ndarray:
    """(length,) how often each code occurs; nulls do not count."""
    return np.bincount(codes[codes != NULL], minlength=length)


def choose_splitters(samples: Iterable[Sequence[str]], num_ranges: int) -> tuple[str, ...]:
    """Ids that begin the second and the later ranges, about as many tracks in each.

    Args:
        samples: Of the track ids.
        num_ranges: At most; fewer where the samples have fewer ids.
    """
    ids = sorted({id for sample in samples for id in sample}, key=str.encode)
    places = [len(ids) * number // num_ranges for number in range(1, num_ranges)]
    return tuple(dict.fromkeys(ids[place] for place in places if place))


def split_by_range(
    tracks: pa.Table, splitters: Sequence[str]
) -> tuple[np.ndarray, Mapping[int, pa.Table]]:
    """The rows of each range that has any, of a table with the column `value`.

    Returns:
        (n,) the rows of the table in the order of the ranges, one after the other, and the ranges.
    """
    values = tracks["value"]
    number = np.zeros(len(values), np.int16)
    for splitter in splitters:
        number += pc.greater_equal(values, splitter).to_numpy()
    order = np.argsort(number, kind="stable")
    return order, dict(grouped(tracks, number))


def merge_tracks(tables: Sequence[pa.Table]) -> MergedTracks:
    """The tracks of a range, and their training listens, from its tables of `value`, `listens`."""
    merged = pa.concat_tables(tables)
    encoded = merged["value"].combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    ranks = inverse(order, np.int32)[encoded.indices.to_numpy()]
    # Whole numbers below 2**53, which floats are exact for.
    listens = np.bincount(ranks, weights=merged["listens"].to_numpy(), minlength=len(order))
    ends = np.cumsum([table.num_rows for table in tables])
    return MergedTracks(
        tracks=pa.table(
            [encoded.dictionary.take(pa.array(order)), listens.astype(np.int64)], TRACK_SCHEMA
        ),
        ranks=tuple(np.split(ranks, ends[:-1])),
    )


def order_tracks(listens: np.ndarray, *, min_track_listens: int) -> TrackOrder:
    """The order of the vocabulary.

    Args:
        listens: (tracks,) int64 training listens of all tracks by id.
        min_track_listens: Tracks with fewer are cut.
    """
    order = np.argsort(-listens, kind="stable")
    num_tracks = int(np.count_nonzero(listens >= min_track_listens))
    return TrackOrder(inverse(order, np.int32), num_tracks)


def in_row_order(
    ranges: Iterable[pa.Table], rows: np.ndarray, spill: Spill, *, rows_at_once: int
) -> Iterator[pa.Table]:
    """The tracks of all ranges in the order of their rows, in tables of `rows_at_once`.

    Args:
        ranges: Each in memory by itself.
        rows: (tracks,) of the tracks of all ranges.
        spill: For what is on its way.
        rows_at_once: Of a table; the last has the rest.
    """
    parts: dict[int, list[Part]] = {}
    start = 0
    for tracks in ranges:
        own = rows[start : start + tracks.num_rows]
        start += tracks.num_rows
        table = tracks.append_column(_ROW, pa.array(own))
        slices = dict(grouped(table, own // rows_at_once))
        placed = spill.put([to_bytes(piece) for piece in slices.values()])
        for number, part in zip(slices, placed, strict=True):
            parts.setdefault(number, []).append(part)
    for _, placed in sorted(parts.items()):
        table = pa.concat_tables([from_bytes(load(part)) for part in placed]).combine_chunks()
        order = np.argsort(table[_ROW].to_numpy())
        yield table.take(pa.array(order)).drop_columns([_ROW])


def divided(
    tables: Iterator[pa.Table], num_rows: int
) -> tuple[Iterator[pa.Table], Iterator[pa.Table]]:
    """The first `num_rows` rows, and the others, which may be read after the first only."""
    others: list[pa.Table] = []

    def first() -> Iterator[pa.Table]:
        left = num_rows
        while left:
            table = next(tables)
            own, other = table.slice(0, left), table.slice(left)
            left -= own.num_rows
            if other.num_rows:
                others.append(other)
            yield own

    return first(), chain(others, tables)


def merge_stream_sources(tables: Iterable[pa.Table]) -> pa.Table:
    """`unknown`, then the stream sources that occur in training, the most frequent first, by name.

    Args:
        tables: Of every bucket, `value` and `listens`.

    Returns:
        Of `SOURCE_SCHEMA`.
    """
    listens = {UNKNOWN: 0}
    for table in tables:
        for value, number in zip(*(column.to_pylist() for column in table.columns), strict=True):
            listens[value] = listens.get(value, 0) + number
    names = [name for name, number in listens.items() if number and name != UNKNOWN]
    names.sort(key=lambda name: (-listens[name], name.encode()))
    names.insert(0, UNKNOWN)
    return pa.table([names, [listens[name] for name in names]], SOURCE_SCHEMA)
