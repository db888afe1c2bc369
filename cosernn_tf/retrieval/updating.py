"""Tracks that come and go between two trainings: an index takes them without being built again."""

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from absl import logging

from cosernn_tf.config import require
from cosernn_tf.errors import UserError, on_a_line
from cosernn_tf.provenance import describe_machine
from cosernn_tf.retrieval.changes import ADDED, REMOVED, Changes, is_among
from cosernn_tf.retrieval.contract import Neighbours, recall
from cosernn_tf.retrieval.description import DESCRIPTION, INDEX_VERSION, IndexDescription
from cosernn_tf.retrieval.exact import ExactSearcher
from cosernn_tf.retrieval.index import PACKAGES, latency_ms, model_sha256_of, open_index
from cosernn_tf.retrieval.new_tracks import NewTracks
from cosernn_tf.retrieval.track_index import TrackIndex
from cosernn_tf.staging import staged
from cosernn_tf.tracks import TrackEmbeddings
from cosernn_tf.workspace import SUCCESS

_MANY_BESIDE: Final = 20_000
"""Tracks beside the searcher from which it is time to build again."""
_SAME: Final = 1e-5


def update_index(
    path: Path,
    embeddings: TrackEmbeddings,
    vocabulary: pa.ChunkedArray,
    queries: np.ndarray,
    *,
    new: NewTracks | None = None,
    remove: pa.Array | None = None,
    restore: pa.Array | None = None,
) -> IndexDescription:
    """Adds tracks to an index and takes some out; recall and latency are measured again.

    New tracks are searched exactly, beside the searcher; `build_index` makes them part of it. Of
    tracks that are there already with the same embedding, and of removals of unknown tracks, only
    the number is told, so that a list may be given twice.

    Args:
        path: Of the index, replaced as a whole.
        embeddings: Of the track vocabulary.
        vocabulary: Its track ids.
        queries: (n, dim) float32 held-out predictions.
        new: Tracks with embeddings in the same space.
        remove: Ids of tracks that must not be found any more.
        restore: Ids of tracks that were removed, and may be found again.

    Raises:
        UserError: There is no such index (see `open_index`), a new track is there already with
            another embedding, or has been removed, or no track would be left.
    """
    index = open_index(path, embeddings)
    changes = index.changes
    if new is not None:
        changes = _with_new(changes, new, embeddings, vocabulary)
    if remove is not None:
        changes = _without(changes, remove, vocabulary)
    if restore is not None:
        changes = _with_restored(changes, restore, index.rows, embeddings, vocabulary)
    index = index.with_changes(changes)
    require(index.size > 0, "no track would be left in the index")
    description = _measured(index, queries, model_sha256=model_sha256_of(path))
    with staged(path, marker=DESCRIPTION) as staging:
        _take_over(path, staging)
        changes.save(staging)
        (staging / DESCRIPTION).write_text(description.to_json(), encoding="utf-8")
    logging.info(
        "%d tracks (%d added since the embeddings were made, %d removed), recall@%d %.4f: %s",
        index.size,
        description.added,
        description.removed,
        description.k,
        description.recall,
        path,
    )
    again = f"run cosernn_tf.build_index --run={path.parent.name}"
    if description.recall < description.min_recall:
        logging.warning("Recall is below --min_recall=%s: %s", description.min_recall, again)
    elif len(index.side_rows) > _MANY_BESIDE:
        logging.warning(
            "%d tracks are searched one by one: %s to search quicker", len(index.side_rows), again
        )
    return description


# Changes -----------------------------------------------------------------------------------------


def _with_new(
    changes: Changes, new: NewTracks, embeddings: TrackEmbeddings, vocabulary: pa.ChunkedArray
) -> Changes:
    _refuse(
        _is_in(new.track_ids, changes.removed_ids),
        new.track_ids,
        "were removed from the index (--restore_tracks takes that back)",
    )
    before = np.asarray(pc.index_in(new.track_ids, changes.track_ids).fill_null(-1))
    is_there = before >= 0
    apart = np.abs(new.vectors[is_there] - changes.vectors[before[is_there]]).max(axis=1, initial=0)
    differs = np.zeros(len(before), bool)
    differs[is_there] = apart > _SAME
    _refuse(differs, new.track_ids, "were added before with another embedding")
    if is_there.any():
        logging.info("%d of the new tracks were added before, and stay", is_there.sum())
    fresh = ~is_there
    ids, vectors = new.track_ids.filter(pa.array(fresh)), new.vectors[fresh]
    rows = np.asarray(pc.index_in(ids, vocabulary).fill_null(-1)).astype(np.int64)
    known = rows >= 0
    embedded = np.zeros(len(rows), bool)
    embedded[known] = embeddings.vectors[rows[known]].any(axis=1)
    _refuse(embedded, ids, "have an embedding in the track vocabulary")
    first = changes.num_rows(len(embeddings.vectors))
    rows[~known] = first + np.arange(np.count_nonzero(~known))
    return _with_added(changes, rows, ids, vectors)


def _with_added(changes: Changes, rows: np.ndarray, ids: pa.Array, vectors: np.ndarray) -> Changes:
    rows = np.concatenate([changes.rows, rows])
    order = np.argsort(rows)
    fresh = np.zeros(len(ids), bool)
    return dataclasses.replace(
        changes,
        rows=rows[order],
        track_ids=pa.concat_arrays([changes.track_ids, ids]).take(pa.array(order)),
        vectors=np.concatenate([changes.vectors, vectors])[order],
        is_indexed=np.concatenate([changes.is_indexed, fresh])[order],
    )


def _without(changes: Changes, ids: pa.Array, vocabulary: pa.ChunkedArray) -> Changes:
    rows = _rows_of(ids, changes, vocabulary)
    unknown = rows < 0
    if unknown.any():
        first = on_a_line(ids[int(np.argmax(unknown))].as_py())
        logging.warning(
            "%d of the tracks to remove are not in the catalogue, %s is the first",
            unknown.sum(),
            first,
        )
    fresh = ~unknown & ~is_among(rows, changes.removed)
    removed = np.concatenate([changes.removed, rows[fresh]])
    order = np.argsort(removed)
    removed_ids = pa.concat_arrays([changes.removed_ids, ids.filter(pa.array(fresh))])
    return dataclasses.replace(
        changes, removed=removed[order], removed_ids=removed_ids.take(pa.array(order))
    )


def _with_restored(
    changes: Changes,
    ids: pa.Array,
    indexed: np.ndarray,
    embeddings: TrackEmbeddings,
    vocabulary: pa.ChunkedArray,
) -> Changes:
    """What was built without them comes back beside the searcher."""
    removed = _is_in(ids, changes.removed_ids)
    _refuse(~removed, ids, "were not removed")
    rows = _rows_of(ids, changes, vocabulary)
    kept = ~np.isin(changes.removed, rows)
    is_added = np.isin(changes.rows, rows)
    changes = dataclasses.replace(
        changes,
        removed=changes.removed[kept],
        removed_ids=changes.removed_ids.filter(pa.array(kept)),
        is_indexed=np.where(is_added, is_among(changes.rows, indexed), changes.is_indexed),
    )
    lost = ~is_among(rows, indexed) & ~is_among(rows, changes.rows)
    lost[lost] = embeddings.vectors[rows[lost]].any(axis=1)
    return _with_added(
        changes, rows[lost], ids.filter(pa.array(lost)), embeddings.vectors[rows[lost]]
    )


def _rows_of(ids: pa.Array, changes: Changes, vocabulary: pa.ChunkedArray) -> np.ndarray:
    """(n,) int64; -1: unknown."""
    rows = np.asarray(pc.index_in(ids, vocabulary).fill_null(-1)).astype(np.int64)
    place = np.asarray(pc.index_in(ids, changes.track_ids).fill_null(-1))
    rows[place >= 0] = changes.rows[place[place >= 0]]
    return rows


def _is_in(ids: pa.Array, others: pa.Array) -> np.ndarray:
    return np.asarray(pc.is_in(ids, others))


def _refuse(bad: np.ndarray, ids: pa.Array, why: str) -> None:
    if bad.any():
        first = on_a_line(ids[int(np.argmax(bad))].as_py())
        raise UserError(f"{bad.sum()} of the tracks {why}, {first} is the first: leave them out")


# Measuring and writing ---------------------------------------------------------------------------


def _measured(
    index: TrackIndex, queries: np.ndarray, *, model_sha256: str | None
) -> IndexDescription:
    before = index.description
    k = min(before.k, index.size)
    found = before.recall
    if len(queries) and before.settings is not None:
        rows = index.live_rows()
        exact = ExactSearcher.build(index.vectors_of(rows)).search(queries, k)
        found = recall(index.search(queries, k), Neighbours(rows[exact.rows], exact.scores))
    median, p99 = latency_ms(index, queries, k)
    return dataclasses.replace(
        before,
        recall=found,
        queries=len(queries),
        latency_median_ms=median,
        latency_p99_ms=p99,
        added=len(index.changes.rows),
        removed=len(index.changes.removed),
        model_sha256=model_sha256,
        machine=describe_machine(PACKAGES[before.kind]),
        index_version=INDEX_VERSION,
    )


def _take_over(path: Path, staging: Path) -> None:
    """The files of the searcher, which never change, as links where the file system has them."""
    for source in path.rglob("*"):
        target = staging / source.relative_to(path)
        if source.is_dir():
            target.mkdir()
        elif source.name not in (SUCCESS, DESCRIPTION, ADDED, REMOVED):
            with contextlib.suppress(OSError):
                os.link(source, target)
                continue
            shutil.copy2(source, target)
