"""Vocabularies: counted in the training split only, bucket by bucket, then merged (decision 8)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosernn_tf.schema import TRACK_CUT, UNKNOWN
from cosernn_tf.sessions import NULL, Sessions
from cosernn_tf.workspace import Split

_VALUES_AT_ONCE: Final = 2**22
"""Distinct tracks of buckets held together, some 200 MB."""


@dataclass(frozen=True)
class Counts:
    """Distinct values and how many training listens each has; tables of `value`, `listens`."""

    tracks: pa.Table
    stream_sources: pa.Table


@dataclass(frozen=True)
class Vocabulary:
    """What the rows of session sequences stand for; the row number is the index."""

    tracks: pa.Table
    """`track_id`, `train_listens`."""
    stream_sources: tuple[str, ...]

    def rows(self, counts: Iterable[Counts]) -> Iterator["Rows"]:
        """The rows of the values of each bucket, in turn."""
        sources = pa.array(self.stream_sources, pa.string())
        for group in _groups(counts):
            # Every search builds the hash table of the whole vocabulary anew: a few for all.
            tracks = pa.concat_tables([bucket.tracks for bucket in group])["value"]
            rows = _rows(tracks, self.tracks["track_id"], otherwise=TRACK_CUT)
            ends = np.cumsum([bucket.tracks.num_rows for bucket in group])
            for bucket, own in zip(group, np.split(rows, ends[:-1]), strict=True):
                yield Rows(
                    track=own.astype(np.int32),
                    stream_source=_rows(bucket.stream_sources["value"], sources, otherwise=0),
                )


@dataclass(frozen=True)
class Rows:
    """Rows of the vocabularies for the codes of a bucket."""

    track: np.ndarray
    """(track codes,) int32; `TRACK_CUT` where a track has none."""
    stream_source: np.ndarray
    """(source codes,) int64; 0, unknown, where a source has none."""


def count_values(
    sessions: Sessions, split: Split, *, track_id: pa.Array, stream_source: pa.Array
) -> Counts:
    """All tracks and sources of the sessions, counted over the listens of the training split."""
    start = sessions.table.session_start[sessions.session_of_listen]
    in_training = start < split.validation_start
    tracks = np.bincount(sessions.listens.track[in_training], minlength=len(track_id))
    source = sessions.listens.stream_source[in_training]
    sources = np.bincount(source[source != NULL], minlength=len(stream_source))
    return Counts(
        tracks=pa.table({"value": track_id, "listens": tracks}),
        stream_sources=pa.table({"value": stream_source, "listens": sources}),
    )


def merge_counts(
    counts: Iterable[Counts], *, min_track_listens: int, max_stream_sources: int
) -> Vocabulary:
    """The vocabularies of the whole log, the most listened to first, then by name.

    Args:
        counts: Of every bucket; gone through once, a few held at a time.
        min_track_listens: Tracks with fewer training listens are cut.
        max_stream_sources: At most so many sources beside `unknown`; those that do not occur in
            training are never among them, as a model cannot have learnt them.
    """
    tracks = sources = pa.table(
        {"value": pa.array([], pa.string()), "listens": pa.array([], pa.int64())}
    )
    for group in _groups(counts):
        tracks = _summed([tracks, *(bucket.tracks for bucket in group)])
        sources = _summed([sources, *(bucket.stream_sources for bucket in group)])
    tracks = _ordered(tracks.filter(pc.greater_equal(tracks["listens"], min_track_listens)))
    sources = _ordered(
        sources.filter(
            pc.and_(pc.greater(sources["listens"], 0), pc.not_equal(sources["value"], UNKNOWN))
        )
    )
    return Vocabulary(
        tracks=tracks.rename_columns(["track_id", "train_listens"]).combine_chunks(),
        stream_sources=(UNKNOWN, *sources["value"].to_pylist()[:max_stream_sources]),
    )


def _groups(counts: Iterable[Counts]) -> Iterator[list[Counts]]:
    """Buckets in turn, some at a time: as many as have `_VALUES_AT_ONCE` tracks together."""
    group: list[Counts] = []
    for bucket in counts:
        group.append(bucket)
        if sum(held.tracks.num_rows for held in group) >= _VALUES_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _summed(tables: list[pa.Table]) -> pa.Table:
    summed = pa.concat_tables(tables).group_by("value").aggregate([("listens", "sum")])
    return summed.rename_columns({"listens_sum": "listens"}).select(["value", "listens"])


def _ordered(counts: pa.Table) -> pa.Table:
    return counts.sort_by([("listens", "descending"), ("value", "ascending")])


def _rows(values: pa.Array, vocabulary: pa.Array, *, otherwise: int) -> np.ndarray:
    rows = pc.fill_null(pc.index_in(values, vocabulary), otherwise)
    return np.asarray(rows.to_numpy(), np.int64)
