"""Evaluates runs, heuristics and oracles on a split (§6): writes `workspace/evaluation/`."""

import dataclasses
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging
from tqdm import tqdm

import cosernn_tf
from cosernn_tf.config import RESERVED_RUN_NAMES, TrainConfig
from cosernn_tf.dataset import read_shard, read_shards
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.config import METRICS_FILE, SCORES_FILE, EvaluationConfig
from cosernn_tf.evaluation.heuristics import (
    HEURISTICS,
    ORACLES,
    predict_heuristics,
    predict_oracles,
)
from cosernn_tf.evaluation.report import metrics_json
from cosernn_tf.evaluation.scores import score_schema, score_sessions
from cosernn_tf.evaluation.summary import Summary, SummaryBuilder
from cosernn_tf.features import SessionEmbeddings, embed_sessions
from cosernn_tf.models.base import load_model
from cosernn_tf.prediction import Predictor
from cosernn_tf.provenance import describe_machine
from cosernn_tf.runs import check_run_data, open_run
from cosernn_tf.sessions import shard_of
from cosernn_tf.staging import staged
from cosernn_tf.table import SessionTable, in_blocks
from cosernn_tf.tracks import TrackEmbeddings, load_track_embeddings
from cosernn_tf.windows import MIN_EARLIER_SESSIONS, evaluation_windows, sequence_data
from cosernn_tf.workspace import SessionsDirectory, Workspace, open_sessions

SESSIONS_PER_BLOCK: Final = 50_000
"""Sessions scored at once, with some 3 KB of vectors each: bounds memory at about 150 MB."""

_VERSIONS: Final = ("keras", "numpy", "tensorflow")


def evaluate_runs(
    workspace: Workspace,
    runs: Sequence[str] | None,
    *,
    config: EvaluationConfig,
    output: Path | None = None,
    sessions_per_block: int = SESSIONS_PER_BLOCK,
) -> Summary:
    """Scores the heuristics, the runs and the oracles on the sessions of a split.

    Every run is a reference of the paired tests, the first is that of the printed table.

    Args:
        workspace: With sessions, track embeddings and runs.
        runs: Names; None: all finished runs that were trained on the workspace's data.
        config: What is scored.
        output: Directory to write, replaced as a whole; None: the workspace's.
        sessions_per_block: Sessions scored at once; changes no score.

    Raises:
        UserError: Something is missing in the workspace, a run is unknown, unfinished, trained on
            other data or named as a heuristic is, or the split has nothing to score.
    """
    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    _require_users(sessions, config.exclude_users)
    configs = choose_runs(workspace, runs, sessions=sessions, tracks=tracks)
    predictors = {name: Predictor(load_model(workspace.run(name))) for name in configs}
    scorer = _Scorer(sessions, tracks.vectors, configs, predictors, config)
    builder = SummaryBuilder([*HEURISTICS, *configs, *ORACLES], references=list(configs))
    schema = score_schema(with_predictions=config.save_predictions)
    with staged(output or workspace.evaluation, marker=METRICS_FILE) as staging:
        with pq.ParquetWriter(staging / SCORES_FILE, schema, compression="zstd") as writer:
            for scores, without_target in scorer.blocks(sessions_per_block):
                writer.write_table(scores)
                builder.add(scores, without_target=without_target)
        summary = builder.build()
        if not summary.sessions:
            raise UserError(_nothing_to_score(sessions, summary, config))
        content = {
            **metrics_json(summary),
            "provenance": _provenance(sessions, tracks, configs, config),
        }
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        (staging / METRICS_FILE).write_text(text, encoding="utf-8")
    return summary


def choose_runs(
    workspace: Workspace,
    names: Sequence[str] | None,
    *,
    sessions: SessionsDirectory,
    tracks: TrackEmbeddings,
) -> dict[str, TrainConfig]:
    """The runs to evaluate: those named, or all that can be, by name; logs those left out.

    Raises:
        UserError: A named run cannot be evaluated on the workspace's data.
    """
    if names is not None:
        return {name: _checked_run(workspace.run(name), sessions, tracks) for name in names}
    chosen = {}
    for run in sorted(workspace.runs.glob("[!.]*")):
        try:
            chosen[run.name] = _checked_run(run, sessions, tracks)
        except UserError as error:
            logging.warning("Left out: %s", error)
    if not chosen:
        logging.warning("%s has no finished run: heuristics and oracles only", workspace.runs)
    return chosen


def _checked_run(run: Path, sessions: SessionsDirectory, tracks: TrackEmbeddings) -> TrainConfig:
    if run.name in RESERVED_RUN_NAMES:
        raise UserError(
            f"run {run.name!r} has the name of a heuristic or an oracle: rename {run}, or train it "
            "under another --run"
        )
    config = open_run(run)
    check_run_data(run, sessions, tracks)
    return config


def _require_users(sessions: SessionsDirectory, users: Sequence[str]) -> None:
    """Raises `UserError` for a user that the log does not have: a typo would exclude nobody."""
    shards = sessions.manifest.shards
    for number, user in zip(shard_of(users, len(shards)), users, strict=True):
        shard = shards[number]
        if not shard.users or user.encode() not in read_shard(sessions, shard).user_id.tolist():
            raise UserError(
                f"user {user!r} is not in {sessions.path}: --exclude_users takes user_ids of the "
                "listening log"
            )


class _Scorer:
    """Scores blocks of users."""

    def __init__(
        self,
        sessions: SessionsDirectory,
        track_embeddings: np.ndarray,
        configs: Mapping[str, TrainConfig],
        predictors: Mapping[str, Predictor],
        config: EvaluationConfig,
    ) -> None:
        self._sessions = sessions
        self._track_embeddings = track_embeddings
        self._configs = configs
        self._predictors = predictors
        self._config = config
        self._train_listens = sessions.tracks["train_listens"].to_numpy()
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
        in_split = self._in_split(table)
        has_sessions = np.bincount(table.user_of_session[in_split], minlength=table.num_users) > 0
        excluded = np.array([user in self._excluded for user in table.user_id], bool)
        # The others' sessions are nobody's history.
        table = table.select_users(np.flatnonzero(has_sessions & ~excluded))
        in_split = self._in_split(table)
        embeddings = embed_sessions(table, self._track_embeddings)
        scores = score_sessions(
            table,
            embeddings,
            self._track_embeddings,
            sessions_mask=in_split,
            predictions=self._predictions(table, embeddings),
            relevance=self._config.relevance,
            devices=self._sessions.devices,
            save_predictions=self._config.save_predictions,
        )
        return scores, int(np.count_nonzero(in_split & ~embeddings.has_played))

    def _in_split(self, table: SessionTable) -> np.ndarray:
        """(S,) bool."""
        mask: np.ndarray = table.session_start >= self._first
        return mask if self._before is None else mask & (table.session_start < self._before)

    def _predictions(
        self, table: SessionTable, embeddings: SessionEmbeddings
    ) -> dict[str, np.ndarray]:
        """(S, dim) by model, in the order of Table 2; a run's are zero outside the split."""
        predictions = predict_heuristics(table, embeddings, self._train_listens)
        inputs = {name for predictor in self._predictors.values() for name in predictor.inputs}
        data = sequence_data(table, embeddings, inputs)
        for name, predictor in self._predictors.items():
            windows = evaluation_windows(
                table,
                first=self._first,
                before=self._before,
                max_sessions=max(self._configs[name].max_sessions, 2 * MIN_EARLIER_SESSIONS),
            )
            of_run = predictor(data, windows)
            predictions[name] = np.zeros_like(embeddings.played)
            predictions[name][of_run.sessions] = of_run.embeddings
        return predictions | predict_oracles(
            table, embeddings, self._track_embeddings, seed=self._config.oracle_seed
        )


def _nothing_to_score(
    sessions: SessionsDirectory, summary: Summary, config: EvaluationConfig
) -> str:
    excluded = f" of users not in --exclude_users ({len(config.exclude_users)})"
    return (
        f"the {config.split} split of {sessions.path} has no session to score: "
        f"{summary.without_target} sessions{excluded if config.exclude_users else ''}, none with a "
        "played track that has an embedding. Sessionise a longer log, or embed more of its tracks"
    )


def _provenance(
    sessions: SessionsDirectory,
    tracks: TrackEmbeddings,
    configs: Mapping[str, TrainConfig],
    config: EvaluationConfig,
) -> dict[str, Any]:
    """What the metrics were computed from, and how."""
    return {
        "evaluation": dataclasses.asdict(config),
        "boundaries": dataclasses.asdict(sessions.manifest.split),
        "sessions_sha256": sessions.sha256,
        "embeddings_sha256": tracks.sha256,
        "min_earlier_sessions": MIN_EARLIER_SESSIONS,
        "runs": {name: run_config.to_dict() for name, run_config in configs.items()},
        "versions": {
            "cosernn_tf": cosernn_tf.__version__,
            "python": platform.python_version(),
            **{package: version(package) for package in _VERSIONS},
        },
        "machine": describe_machine(),
    }
