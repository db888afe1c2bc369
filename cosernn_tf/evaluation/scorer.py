"""Scores blocks of users: their sessions, what each model predicts for them, and the scores."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from cosernn_tf.dataset import read_shards
from cosernn_tf.evaluation.catalogue import Catalogue
from cosernn_tf.evaluation.config import EvaluationConfig
from cosernn_tf.evaluation.given_predictions import GivenPredictions
from cosernn_tf.evaluation.heuristics import predict_heuristics, predict_oracles
from cosernn_tf.evaluation.scores import score_sessions
from cosernn_tf.features import SessionEmbeddings, embed_sessions
from cosernn_tf.prediction import Predictor
from cosernn_tf.table import SessionTable, in_blocks
from cosernn_tf.windows import MIN_EARLIER_SESSIONS, evaluation_windows, sequence_data
from cosernn_tf.workspace import SessionsDirectory


@dataclass(frozen=True)
class LoadedRun:
    """A run that is evaluated."""

    predictor: Predictor
    max_sessions: int
    """Of a window, in training."""


class Scorer:
    """Scores all models on the sessions of a split, block by block."""

    def __init__(
        self,
        sessions: SessionsDirectory,
        track_embeddings: np.ndarray,
        *,
        runs: Mapping[str, LoadedRun],
        given: Mapping[str, GivenPredictions],
        config: EvaluationConfig,
        catalogue: Catalogue | None,
    ) -> None:
        """Scores nothing yet.

        Args:
            sessions: The log.
            track_embeddings: (tracks, dim) float32, unit norm, zero where a track has none.
            runs: By name.
            given: By name, from their first vector on.
            config: What is scored.
            catalogue: That all models retrieve from; None: they do not.
        """
        self._sessions = sessions
        self._track_embeddings = track_embeddings
        self._runs = runs
        self._given = given
        self._config = config
        self._catalogue = catalogue
        self._train_listens = sessions.train_listens
        self._first, self._before = config.split.bounds(sessions.manifest.split)
        self._excluded = {user.encode() for user in config.exclude_users}

    def blocks(self, sessions_per_block: int) -> Iterator[tuple[pa.Table, int]]:
        """For each block: its scores, and how many sessions of the split have no target."""
        total = sum(shard.sessions for shard in self._sessions.manifest.shards)
        with tqdm(total=total, desc="evaluate", unit="session") as bar:
            for table in in_blocks(read_shards(self._sessions), max_sessions=sessions_per_block):
                yield self._score(table)
                bar.update(table.num_sessions)

    def _score(self, table: SessionTable) -> tuple[pa.Table, int]:
        in_split = table.starts_within(self._first, self._before)
        excluded = np.array([user in self._excluded for user in table.user_id], bool)
        is_scored = ~excluded[table.user_of_session[in_split]]
        given = {
            name: vectors.take(len(is_scored))[is_scored] for name, vectors in self._given.items()
        }
        has_sessions = np.bincount(table.user_of_session[in_split], minlength=table.num_users) > 0
        # The others' sessions are nobody's history.
        table = table.select_users(np.flatnonzero(has_sessions & ~excluded))
        in_split = table.starts_within(self._first, self._before)
        embeddings = embed_sessions(table, self._track_embeddings)
        predictions, attention = self._predictions(table, embeddings, given, in_split)
        scores = score_sessions(
            table,
            embeddings,
            self._track_embeddings,
            sessions_mask=in_split,
            predictions=predictions,
            training_end=self._sessions.manifest.split.validation_start,
            attention=attention,
            relevance=self._config.relevance,
            devices=self._sessions.devices,
            catalogue=self._catalogue,
            save_predictions=self._config.save_predictions,
        )
        return scores, int(np.count_nonzero(in_split & ~embeddings.has_played))

    def _predictions(
        self,
        table: SessionTable,
        embeddings: SessionEmbeddings,
        given: Mapping[str, np.ndarray],
        in_split: np.ndarray,
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """(S, dim) by model, in the order of Table 2, and β̂, (S,), of models that have it.

        A run's, and those that were given, are zero outside the split.
        """
        attention = {}
        predictions = predict_heuristics(table, embeddings, self._train_listens)
        inputs = {name for run in self._runs.values() for name in run.predictor.inputs}
        data = sequence_data(table, embeddings, inputs)
        for name, run in self._runs.items():
            windows = evaluation_windows(
                table,
                first=self._first,
                before=self._before,
                max_sessions=max(run.max_sessions, 2 * MIN_EARLIER_SESSIONS),
            )
            of_run = run.predictor(data, windows)
            predictions[name] = np.zeros_like(embeddings.played)
            predictions[name][of_run.sessions] = of_run.embeddings
            if of_run.attention is not None:
                attention[name] = np.zeros(table.num_sessions, np.float32)
                attention[name][of_run.sessions] = of_run.attention[:, 0]
        for name, vectors in given.items():
            predictions[name] = np.zeros_like(embeddings.played)
            predictions[name][in_split] = vectors
        predictions |= predict_oracles(
            table,
            embeddings,
            self._track_embeddings,
            seed=self._config.oracle_seed,
            sessions=np.flatnonzero(in_split),
        )
        return predictions, attention
