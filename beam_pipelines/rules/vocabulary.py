"""Vocabularies: counted in the training split only, bucket by bucket, then merged (decision 8)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosernn_tf.schema import TRACK_CUT, UNKNOWN
from cosernn_tf.sessions import NULL, Sessions
from cosernn_tf.workspace import Split


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

    def track_rows(self, track_id: pa.Array) -> np.ndarray:
        """(n,) int64 row of each track; `TRACK_CUT` where it has none."""
        return _rows(track_id, self.tracks["track_id"], otherwise=TRACK_CUT)

    def stream_source_rows(self, stream_source: pa.Array) -> np.ndarray:
        """(n,) int64 row of each source; 0, unknown, where it has none."""
        return _rows(stream_source, pa.array(self.stream_sources, pa.string()), otherwise=0)


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
        counts: Of every bucket.
        min_track_listens: Tracks with fewer training listens are cut.
        max_stream_sources: At most so many sources beside `unknown`; those that do not occur in
            training are never among them, as a model cannot have learnt them.
    """
    buckets = list(counts)
    tracks = _ordered(pa.concat_tables([bucket.tracks for bucket in buckets]))
    tracks = tracks.filter(pc.greater_equal(tracks["listens"], min_track_listens))
    sources = _ordered(pa.concat_tables([bucket.stream_sources for bucket in buckets]))
    sources = sources.filter(
        pc.and_(pc.greater(sources["listens"], 0), pc.not_equal(sources["value"], UNKNOWN))
    )
    return Vocabulary(
        tracks=tracks.rename_columns(["track_id", "train_listens"]).combine_chunks(),
        stream_sources=(UNKNOWN, *sources["value"].to_pylist()[:max_stream_sources]),
    )


def _ordered(counts: pa.Table) -> pa.Table:
    summed = counts.group_by("value").aggregate([("listens", "sum")])
    summed = summed.rename_columns({"listens_sum": "listens"}).select(["value", "listens"])
    return summed.sort_by([("listens", "descending"), ("value", "ascending")])


def _rows(values: pa.Array, vocabulary: pa.Array, *, otherwise: int) -> np.ndarray:
    rows = pc.fill_null(pc.index_in(values, vocabulary), otherwise)
    return np.asarray(rows.to_numpy(zero_copy_only=False), np.int64)
