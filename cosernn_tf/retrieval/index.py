"""The index of a run: its embedded tracks in a searcher, with the recall measured when built.

A directory holds `index.json` (an `IndexDescription`), `rows.npy` (the row of each indexed vector),
what the searcher of its kind saves, and what has changed since (`Changes`).
"""

import dataclasses
import math
import time
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from absl import logging

from cosernn_tf.config import require
from cosernn_tf.errors import UserError
from cosernn_tf.provenance import describe_machine
from cosernn_tf.retrieval.approximate import (
    ScannMissingError,
    ScannSearcher,
    ScannSettings,
)
from cosernn_tf.retrieval.changes import ADDED, REMOVED, Changes, is_among
from cosernn_tf.retrieval.contract import Searcher
from cosernn_tf.retrieval.description import DESCRIPTION, IndexDescription
from cosernn_tf.retrieval.exact import ExactSearcher
from cosernn_tf.retrieval.track_index import TrackIndex
from cosernn_tf.retrieval.tuning import tune
from cosernn_tf.runs import MODEL_FILE
from cosernn_tf.staging import staged
from cosernn_tf.tracks import TrackEmbeddings
from cosernn_tf.whole_files import file_sha256
from cosernn_tf.workspace import SUCCESS

ROWS: Final = "rows.npy"

AUTO: Final = "auto"
EXACT: Final = "exact"
SCANN: Final = "scann"
KINDS: Final = (AUTO, EXACT, SCANN)
"""What `--index` takes."""

_SCANN_FROM: Final = 20_000
"""Vectors from which `auto` approximates: below, exact search answers within a millisecond."""
_PARTITIONED_FROM: Final = 100_000
"""Vectors from which choosing leaves is quicker than scoring the hash codes of all."""

PACKAGES: Final = {EXACT: ("numpy",), SCANN: ("numpy", "scann", "tensorflow")}
"""Whose versions matter to an index, by its kind."""

_TIMED_SECONDS: Final = 2.0
"""That single searches are timed at most."""


def build_index(
    embeddings: TrackEmbeddings,
    queries: np.ndarray,
    output: Path,
    *,
    kind: str = AUTO,
    min_recall: float = 0.98,
    k: int = 100,
) -> IndexDescription:
    """Indexes the tracks that have an embedding and measures the index on `queries`.

    In the directory of a run, as of all commands, the index belongs to the model that is there.
    ScaNN takes the cheapest settings that reach `min_recall`. If none does, the index falls back to
    exact search, with a warning. Tracks that were added to an older index in its place, and removed
    from it, are taken over if its embeddings are the same.

    Args:
        embeddings: Of the track vocabulary.
        queries: (n, dim) float32 held-out predictions.
        output: Directory to write, replaced as a whole.
        kind: `exact`, `scann`, or `auto`: ScaNN where the catalogue is large and it is installed.
        min_recall: Least share of the k exact neighbours to find.
        k: Neighbours that searches usually ask for.

    Raises:
        UserError: An option out of range, no track has an embedding, or `kind` is `scann` and it
            cannot be imported or there is no query to measure it with.
    """
    require(kind in KINDS, f"--index={kind} is unknown: choose from {', '.join(KINDS)}")
    require(0 <= min_recall <= 1, f"--min_recall={min_recall} must be between 0 and 1")
    require(k >= 1, f"--k={k} must be at least 1")
    changes = _changes_before(output, embeddings)
    rows, vectors = _embedded(embeddings, changes)
    require(
        len(rows) > 0,
        "no track has an embedding, so there is nothing to index: run cosernn_tf.embed_tracks "
        "on a longer log, or with a lower --min_count",
    )
    queries = np.ascontiguousarray(queries, np.float32)
    k = min(k, len(rows))

    exact = ExactSearcher.build(vectors)
    approximate, reached = None, 1.0
    if kind == SCANN or (kind == AUTO and len(rows) >= _SCANN_FROM):
        try:
            approximate, reached = _approximate(vectors, queries, exact, k=k, min_recall=min_recall)
        except (ScannMissingError, _NoQueriesError) as error:
            if kind == SCANN:
                raise
            logging.warning("%s. Falling back to exact search", error)
    searcher: Searcher = approximate or exact

    median, p99 = latency_ms(searcher, queries, k)
    description = IndexDescription(
        kind=SCANN if approximate else EXACT,
        tracks=len(rows),
        k=k,
        min_recall=min_recall,
        recall=reached,
        queries=len(queries),
        settings=approximate.settings if approximate else None,
        latency_median_ms=median,
        latency_p99_ms=p99,
        vocabulary_sha256=str(embeddings.description["vocabulary_sha256"]),
        embeddings_sha256=embeddings.sha256,
        model_sha256=model_sha256_of(output),
        machine=describe_machine(PACKAGES[SCANN if approximate else EXACT]),
        added=len(changes.rows),
        removed=len(changes.removed),
    )
    changes = dataclasses.replace(changes, is_indexed=is_among(changes.rows, rows))
    with staged(output, marker=DESCRIPTION) as staging:
        np.save(staging / ROWS, rows)
        searcher.save(staging)
        changes.save(staging)
        (staging / DESCRIPTION).write_text(description.to_json(), encoding="utf-8")
    logging.info(
        "Indexed %d tracks (%s), recall@%d %.4f: %s",
        len(rows),
        description.kind,
        k,
        reached,
        output,
    )
    return description


def open_index(path: Path, embeddings: TrackEmbeddings) -> TrackIndex:
    """Opens the index of `embeddings`, and of the model beside it.

    Raises:
        UserError: There is none, it is damaged, it is of other embeddings or was measured on
            another model, or it needs ScaNN and that cannot be imported.
    """
    again = f"run cosernn_tf.build_index --run={path.parent.name}"
    if not (path / SUCCESS).is_file() or not (path / DESCRIPTION).is_file():
        raise UserError(f"{path} has no finished index of tracks: {again}")
    where = path / DESCRIPTION
    description = IndexDescription.from_json(where.read_text(encoding="utf-8"), where=where)
    _check_checksums(description, embeddings, where=where, again=again)
    _check_model(description, path, again=again)
    try:
        rows = np.asarray(np.load(path / ROWS, mmap_mode="r"))
        changes = Changes.load(path)
        searcher: Searcher = (
            ExactSearcher.load(path, description.tracks)
            if description.settings is None
            else ScannSearcher.load(path, description.settings)
        )
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        raise UserError(f"{path} is damaged ({error}): {again}") from error
    if not len(rows) == searcher.size == description.tracks:
        raise UserError(
            f"{path} is damaged ({len(rows)} rows, {searcher.size} vectors, "
            f"{description.tracks} in {DESCRIPTION}): {again}"
        )
    if (len(changes.rows), len(changes.removed)) != (description.added, description.removed):
        raise UserError(
            f"{path} is damaged ({len(changes.rows)} tracks added and {len(changes.removed)} "
            f"removed, {description.added} and {description.removed} in {DESCRIPTION}): {again}"
        )
    return TrackIndex(description, rows, searcher, embeddings.vectors, changes)


def _changes_before(path: Path, embeddings: TrackEmbeddings) -> Changes:
    """Those of the index that is about to be replaced, if they are of the same embeddings."""
    if not any((path / name).is_file() for name in (ADDED, REMOVED)):
        return Changes.none()
    try:
        where = path / DESCRIPTION
        description = IndexDescription.from_json(where.read_text(encoding="utf-8"), where=where)
        _check_checksums(description, embeddings, where=where, again="")
        changes = Changes.load(path)
    except (OSError, ValueError, pa.ArrowException, UserError) as error:
        logging.warning(
            "Tracks that were added to the index before, or removed from it, are not taken over "
            "(%s): give them to cosernn_tf.build_index again",
            error,
        )
        return Changes.none()
    logging.info(
        "Taking over %d tracks that were added to the index, and %d that were removed",
        len(changes.rows),
        len(changes.removed),
    )
    return changes


def _embedded(embeddings: TrackEmbeddings, changes: Changes) -> tuple[np.ndarray, np.ndarray]:
    """Rows and vectors of all tracks that have an embedding and were not removed."""
    total = changes.num_rows(len(embeddings.vectors))
    vectors = np.zeros((total, embeddings.vectors.shape[1]), np.float32)
    vectors[: len(embeddings.vectors)] = embeddings.vectors
    vectors[changes.rows] = changes.vectors
    vectors[changes.removed] = 0
    (rows,) = np.nonzero(vectors.any(axis=1))
    return rows, vectors if len(rows) == total else vectors[rows]


class _NoQueriesError(UserError):
    """ScaNN cannot be measured."""


def _approximate(
    vectors: np.ndarray, queries: np.ndarray, exact: ExactSearcher, *, k: int, min_recall: float
) -> tuple[ScannSearcher | None, float]:
    """ScaNN with the cheapest settings that reach `min_recall`, and its recall; None if none do."""
    if not len(queries):
        raise _NoQueriesError(
            "there is no held-out prediction to measure ScaNN's recall with (the validation split "
            "has no session): sessionise a longer log, or use --index=exact"
        )
    logging.info("Building a ScaNN index of %d vectors", len(vectors))
    leaves = round(math.sqrt(len(vectors))) if len(vectors) >= _PARTITIONED_FROM else 0
    built = ScannSearcher.build(vectors, ScannSettings(k, leaves, leaves, k))
    tuned = tune(built, queries, exact.search(queries, k), k=k, min_recall=min_recall)
    if tuned.reached:
        return tuned.searcher, tuned.recall
    logging.warning(
        "ScaNN reaches recall@%d %.4f, below --min_recall=%s, on %d held-out predictions. "
        "Falling back to exact search",
        k,
        tuned.recall,
        min_recall,
        len(queries),
    )
    return None, 1.0


def latency_ms(
    searcher: Searcher | TrackIndex, queries: np.ndarray, k: int
) -> tuple[float, float] | tuple[None, None]:
    """Median and 99th percentile of searches with one query."""
    if not len(queries):
        return None, None
    seconds: list[float] = []
    for query in queries:
        if sum(seconds) > _TIMED_SECONDS:
            break
        started = time.perf_counter()
        searcher.search(query[None], k)
        seconds.append(time.perf_counter() - started)
    median, p99 = 1000 * np.percentile(seconds, [50, 99])
    return float(median), float(p99)


def _check_checksums(
    description: IndexDescription, embeddings: TrackEmbeddings, *, where: Path, again: str
) -> None:
    for what, found, wanted in (
        (
            "another track vocabulary",
            description.vocabulary_sha256,
            embeddings.description["vocabulary_sha256"],
        ),
        ("other track embeddings", description.embeddings_sha256, embeddings.sha256),
    ):
        if found != wanted:
            raise UserError(
                f"{where} belongs to {what} than the workspace holds now: {again} (after "
                "cosernn_tf.train --overwrite, if the run was trained on the former ones)"
            )


def model_sha256_of(path: Path) -> str | None:
    """Of the model in the run that an index is part of; None if there is none."""
    model = path.parent / MODEL_FILE
    return file_sha256(model) if model.is_file() else None


def _check_model(description: IndexDescription, path: Path, *, again: str) -> None:
    found = model_sha256_of(path)
    if found is None:
        return
    if description.model_sha256 is None:
        logging.warning(
            "%s does not say which model it was measured on, so that its recall may be another "
            "one's: %s",
            path / DESCRIPTION,
            again,
        )
    elif found != description.model_sha256:
        raise UserError(
            f"{path / DESCRIPTION} was measured on predictions of another model than "
            f"{path.parent / MODEL_FILE} is now: {again}"
        )
