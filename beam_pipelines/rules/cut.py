"""Cuts from session sequences what a vocabulary has no row for, and puts it back."""

import dataclasses
from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosernn_tf.schema import TRACK_CUT
from cosernn_tf.table import SessionTable

CUT_SCHEMA: Final = pa.schema(
    [
        pa.field("user_id", pa.binary(), nullable=False),
        pa.field("track", pa.list_(pa.int32()), nullable=False),
        pa.field("stream_source", pa.list_(pa.int32()), nullable=False),
    ]
)
"""Of users from whom something was cut: the rows of their tracks that are `TRACK_CUT`, and of
their sessions' stream sources that are 0, in order."""

_UNKNOWN_SOURCE: Final = 0


def cut(
    table: SessionTable, *, num_tracks: int, num_stream_sources: int
) -> tuple[SessionTable, pa.Table]:
    """Tracks beyond the vocabulary become `TRACK_CUT`, and stream sources 0, unknown.

    Args:
        table: Tracks and stream sources are rows of the vocabularies with what they leave out,
            which has the rows from their ends on.
        num_tracks: Of the vocabulary.
        num_stream_sources: Of the vocabulary.

    Returns:
        The table, and what was cut, of `CUT_SCHEMA`.
    """
    track_is_cut = table.track >= num_tracks
    source_is_cut = table.stream_source >= num_stream_sources
    if not (track_is_cut.any() or source_is_cut.any()):
        return table, CUT_SCHEMA.empty_table()
    is_unknown = source_is_cut | (table.stream_source == _UNKNOWN_SOURCE)
    cells = pa.table(
        [
            pa.array(table.user_id.tolist(), pa.binary()),
            _lists(table, table.track, track_is_cut),
            _lists(table, table.stream_source, is_unknown),
        ],
        CUT_SCHEMA,
    )
    of_session = track_is_cut.any(axis=1) | source_is_cut
    of_user = np.add.reduceat(of_session, table.row_splits[:-1]) > 0
    return dataclasses.replace(
        table,
        track=np.where(track_is_cut, TRACK_CUT, table.track),
        stream_source=np.where(source_is_cut, _UNKNOWN_SOURCE, table.stream_source),
    ), cells.filter(pa.array(of_user))


def restore(table: SessionTable, cells: pa.Table) -> SessionTable:
    """The table that `cut` was given, or some of its users, from what it gave."""
    users = pa.array(table.user_id.tolist(), pa.binary())
    rows = pc.index_in(users, cells["user_id"].combine_chunks())
    has_cells = rows.is_valid().to_numpy(zero_copy_only=False)[table.user_of_session]
    cells = cells.take(rows.drop_null())
    track, stream_source = table.track.copy(), table.stream_source.copy()
    track[has_cells[:, None] & (track == TRACK_CUT)] = _flat(cells["track"])
    stream_source[has_cells & (stream_source == _UNKNOWN_SOURCE)] = _flat(cells["stream_source"])
    return dataclasses.replace(table, track=track, stream_source=stream_source)


def by_user(parts: Iterable[pa.Table]) -> pa.Table:
    """What was cut from tables of distinct users, together, by user."""
    return pa.concat_tables(parts).sort_by("user_id").combine_chunks()


def _lists(table: SessionTable, values: np.ndarray, chosen: np.ndarray) -> pa.Array:
    """The chosen values of each user, (S,) or (S, 10), as a list."""
    of_session = chosen.reshape(len(chosen), -1).sum(axis=1)
    ends = np.concatenate([[0], np.cumsum(of_session)])[table.row_splits]
    return pa.ListArray.from_arrays(
        ends.astype(np.int32), pa.array(values[chosen].astype(np.int32)), type=CUT_SCHEMA[1].type
    )


def _flat(lists: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.list_flatten(lists).to_numpy())
