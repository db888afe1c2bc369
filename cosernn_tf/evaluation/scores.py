"""Scores of every model on every test session: the rows of `scores.parquet`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from cosernn_tf.evaluation import metrics
from cosernn_tf.evaluation.candidates import (
    Relevance,
    SessionCandidates,
    TrackCandidates,
    session_candidates,
    track_candidates,
)
from cosernn_tf.evaluation.catalogue import Catalogue
from cosernn_tf.evaluation.catalogue_metrics import CATALOGUE_METRICS
from cosernn_tf.evaluation.threads import in_threads
from cosernn_tf.features import SessionEmbeddings, normalize
from cosernn_tf.schema import AGE_UNKNOWN, DEVICES
from cosernn_tf.table import SessionTable

GATHERED_ELEMENTS: Final = 2**19
"""Default number of candidate coordinates gathered at once by a thread: 2 MB, so that they stay in
cache."""


@dataclass(frozen=True)
class ScoreColumn:
    """A column of `scores.parquet`."""

    name: str
    type: pa.DataType
    nullable: bool
    meaning: str


USER_AGE: Final = "user_age"
TRAIN_SESSIONS: Final = "train_sessions"
EARLIER_SESSIONS: Final = "earlier_sessions"
ATTENTION_OFFSET: Final = "attention_offset"

SCORE_COLUMNS: Final = (
    ScoreColumn("model", pa.string(), False, "a run, a heuristic or an oracle"),
    ScoreColumn("user_id", pa.string(), False, "as in the log"),
    ScoreColumn("session_start", pa.int64(), False, "UTC seconds"),
    ScoreColumn("day_of_week", pa.int64(), False, "0 = Monday, local"),
    ScoreColumn("hour", pa.int64(), False, "0..23, local"),
    ScoreColumn("device", pa.string(), False, "of the session's first listen"),
    *(
        ScoreColumn(
            metric.name,
            pa.float64(),
            metric.k is not None,
            metric.meaning + ("" if metric.k is None else "; null where not scored"),
        )
        for metric in metrics.METRICS
    ),
    ScoreColumn(USER_AGE, pa.int64(), True, "years; null where unknown"),
    ScoreColumn(TRAIN_SESSIONS, pa.int64(), False, "the user's sessions in the training split"),
    ScoreColumn(EARLIER_SESSIONS, pa.int64(), False, "the user's sessions before this one"),
    ScoreColumn(
        ATTENTION_OFFSET, pa.float64(), True, "β̂, the weight of û; null where a model has none"
    ),
)
CATALOGUE_COLUMNS: Final = tuple(
    ScoreColumn(metric.name, pa.float64(), True, f"{metric.meaning}; null without any")
    for metric in CATALOGUE_METRICS
)
PREDICTION_COLUMN: Final = ScoreColumn(
    "prediction", pa.list_(pa.float32()), False, "the vector, with --save_predictions"
)


def score_schema(*, with_catalogue: bool = False, with_predictions: bool = False) -> pa.Schema:
    """The columns of `scores.parquet`."""
    columns = [
        *SCORE_COLUMNS,
        *(CATALOGUE_COLUMNS if with_catalogue else ()),
        *((PREDICTION_COLUMN,) if with_predictions else ()),
    ]
    return pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns])


def score_sessions(
    table: SessionTable,
    embeddings: SessionEmbeddings,
    track_embeddings: np.ndarray,
    *,
    sessions_mask: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    training_end: int,
    attention: Mapping[str, np.ndarray] | None = None,
    relevance: Relevance = Relevance.ANY,
    devices: Sequence[str] = DEVICES,
    catalogue: Catalogue | None = None,
    save_predictions: bool = False,
    gathered_elements: int = GATHERED_ELEMENTS,
) -> pa.Table:
    """Scores predictions on the sessions of the mask that have an s⁺ (decision 4).

    Args:
        table: S sessions, whole histories.
        embeddings: Of the table's sessions.
        track_embeddings: (tracks, dim) float32, unit norm, zero where a track has none.
        sessions_mask: (S,) bool, the sessions of the split.
        predictions: By model, (S, dim) of any length; rows of sessions not scored are ignored.
        training_end: UTC seconds, where the validation split starts.
        attention: By model, of those that have it: β̂, (S,).
        relevance: Which tracks of a session are relevant in track ranking.
        devices: The device vocabulary.
        catalogue: That models retrieve from, all of `predictions`; None: they do not.
        save_predictions: Adds the column `prediction`.
        gathered_elements: Candidate coordinates gathered at once; bounds the memory.

    Returns:
        A table of `score_schema`: the models in the order of `predictions`, each with the scored
        sessions in the order of `table`.

    Raises:
        ValueError: A matrix of predictions has another shape, or is not finite where it is scored.
    """
    targets = np.flatnonzero(sessions_mask & embeddings.has_played)
    at_targets = {
        model: _at_targets(model, values, embeddings.played.shape, targets)
        for model, values in predictions.items()
    }
    # In float64: the squares of very long or short vectors would leave the range of float32.
    unit = {
        model: normalize(values.astype(np.float64)).astype(np.float32)
        for model, values in at_targets.items()
    }
    scores: dict[str, dict[str, np.ndarray]] = {
        model: {metrics.COSINE: metrics.cosines(vectors, embeddings.played[targets])}
        for model, vectors in unit.items()
    }
    ranked_sessions = session_candidates(
        table, embeddings.has_played, targets, size=max(metrics.SESSION_SIZES)
    )
    _rank_sessions(
        scores,
        unit,
        embeddings.played,
        candidates=ranked_sessions,
        gathered_elements=gathered_elements,
    )
    ranked_tracks = track_candidates(
        table, track_embeddings, targets, size=max(metrics.TRACK_SIZES), relevance=relevance
    )
    _rank_tracks(
        scores,
        unit,
        track_embeddings,
        candidates=ranked_tracks,
        gathered_elements=gathered_elements,
    )

    if catalogue is not None:
        for model, retrieved in catalogue.score(table, targets, unit).items():
            scores[model] |= retrieved
    none = np.full(table.num_sessions, np.nan)
    for model, of_model in scores.items():
        of_model[ATTENTION_OFFSET] = (attention or {}).get(model, none)[targets]

    schema = score_schema(with_catalogue=catalogue is not None, with_predictions=save_predictions)
    keys = _keys(table, targets, devices=devices, training_end=training_end)
    return pa.concat_tables(
        [
            schema.empty_table(),
            *(
                _rows(schema, model, keys, scores[model], at_targets[model])
                for model in predictions
            ),
        ]
    )


def _at_targets(
    model: str, values: np.ndarray, shape: tuple[int, ...], targets: np.ndarray
) -> np.ndarray:
    """(n, dim) float32 predictions of the scored sessions, checked."""
    if values.shape != shape:
        raise ValueError(
            f"predictions of {model!r} have shape {values.shape}, expected one vector a session of "
            f"the table: {shape}"
        )
    chosen = values[targets].astype(np.float32)
    finite = np.isfinite(chosen).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"predictions of {model!r} are not finite for {np.count_nonzero(~finite)} of "
            f"{len(finite)} scored sessions, the first of them row {targets[~finite][0]}"
        )
    return chosen


def _rank_sessions(
    scores: dict[str, dict[str, np.ndarray]],
    predictions: Mapping[str, np.ndarray],
    played: np.ndarray,
    *,
    candidates: SessionCandidates,
    gathered_elements: int,
) -> None:
    """Adds the metrics of session ranking to each model's scores."""
    sizes = metrics.SESSION_SIZES
    ranks = {(m, k): np.full(len(candidates.count), np.nan) for m in predictions for k in sizes}
    is_scored = {k: candidates.scored(k) for k in sizes}

    def rank(rows: np.ndarray) -> None:
        # The cosines of the largest K hold those of the smaller; what is no candidate is not used.
        vectors = played[candidates.rows[rows]]
        for model, predicted in predictions.items():
            cosines = metrics.cosines(predicted[rows], vectors)
            for k in sizes:
                scored = is_scored[k][rows]
                ranks[model, k][rows[scored]] = metrics.ranks(cosines[scored, :k])

    (rows,) = np.nonzero(is_scored[min(sizes)])
    for _ in in_threads(rank, rows, gathered_elements // (max(sizes) * played.shape[1])):
        pass
    for (model, k), values in ranks.items():
        scores[model][metrics.session_rr(k)] = 1.0 / values
        scores[model][metrics.session_rank(k)] = values


def _rank_tracks(
    scores: dict[str, dict[str, np.ndarray]],
    predictions: Mapping[str, np.ndarray],
    track_embeddings: np.ndarray,
    *,
    candidates: TrackCandidates,
    gathered_elements: int,
) -> None:
    """Adds the metrics of track ranking to each model's scores."""
    sizes = metrics.TRACK_SIZES
    for model in predictions:
        for name in (of(k) for k in sizes for of in (metrics.ap, metrics.recall)):
            scores[model][name] = np.full(len(candidates.count), np.nan)
    is_scored = {k: candidates.scored(k) for k in sizes}

    def rank(rows: np.ndarray) -> None:
        vectors = track_embeddings[candidates.tracks[rows]]
        for model, predicted in predictions.items():
            cosines = metrics.cosines(predicted[rows], vectors)
            knows = predicted[rows].any(axis=1)
            for k in sizes:
                scored = is_scored[k][rows]
                relevant = candidates.relevant[rows[scored], :k]
                ranked = metrics.rank_relevance(cosines[scored, :k], relevant)
                precision = metrics.average_precision(ranked)
                recall = metrics.recall_at(ranked, metrics.RECALL_CUTOFF)
                # Who knows nothing must not gain by the order of recency that candidates come in.
                by_chance = ~knows[scored]
                precision[by_chance] = metrics.chance_average_precision(relevant[by_chance])
                recall[by_chance] = metrics.chance_recall(k, metrics.RECALL_CUTOFF)
                scores[model][metrics.ap(k)][rows[scored]] = precision
                scores[model][metrics.recall(k)][rows[scored]] = recall

    (rows,) = np.nonzero(np.logical_or.reduce(list(is_scored.values())))
    for _ in in_threads(rank, rows, gathered_elements // (max(sizes) * track_embeddings.shape[1])):
        pass


def _keys(
    table: SessionTable, targets: np.ndarray, *, devices: Sequence[str], training_end: int
) -> dict[str, pa.Array]:
    """The columns that say which session it is, and whose; the same for every model."""
    users = pa.array([user.decode() for user in table.user_id], pa.string())
    user = table.user_of_session[targets]
    age = table.user_age[user]
    in_training = table.user_of_session[table.session_start < training_end]
    train_sessions = np.bincount(in_training, minlength=table.num_users)
    return {
        "user_id": users.take(pa.array(user)),
        "session_start": pa.array(table.session_start[targets], pa.int64()),
        "day_of_week": pa.array(table.day_of_week[targets], pa.int64()),
        "hour": pa.array(table.hour[targets], pa.int64()),
        "device": pa.array(devices, pa.string()).take(pa.array(table.device[targets])),
        USER_AGE: pa.array(age, pa.int64(), mask=age == AGE_UNKNOWN),
        TRAIN_SESSIONS: pa.array(train_sessions[user], pa.int64()),
        EARLIER_SESSIONS: pa.array(table.position[targets], pa.int64()),
    }


def _rows(
    schema: pa.Schema,
    model: str,
    keys: Mapping[str, pa.Array],
    scores: Mapping[str, np.ndarray],
    predictions: np.ndarray,
) -> pa.Table:
    """One model's rows."""
    columns = {
        "model": pa.repeat(model, len(predictions)),
        **keys,
        **{
            # A session that is not scored is NaN up to here, and null from here on.
            name: pa.array(values.astype(np.float64), from_pandas=True)
            for name, values in scores.items()
        },
    }
    if PREDICTION_COLUMN.name in schema.names:
        count, dim = predictions.shape
        columns[PREDICTION_COLUMN.name] = pa.ListArray.from_arrays(
            pa.array(np.arange(count + 1) * dim, pa.int32()), pa.array(predictions.ravel())
        )
    return pa.table([columns[name] for name in schema.names], schema=schema)
