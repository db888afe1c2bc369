"""Evaluates runs, heuristics and oracles on a split (§6): writes `workspace/evaluation/`."""

import dataclasses
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from absl import logging

import cosernn_tf
from cosernn_tf.config import RESERVED_RUN_NAMES, TrainConfig, require
from cosernn_tf.dataset import read_shard
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.catalogue import Catalogue
from cosernn_tf.evaluation.config import (
    METRICS_FILE,
    SCORES_FILE,
    SESSIONS_PER_BLOCK,
    EvaluationConfig,
    PredictionFile,
)
from cosernn_tf.evaluation.given_predictions import join_predictions
from cosernn_tf.evaluation.heuristics import HEURISTICS, ORACLES
from cosernn_tf.evaluation.report import metrics_json
from cosernn_tf.evaluation.scorer import LoadedRun, Scorer
from cosernn_tf.evaluation.scores import score_schema
from cosernn_tf.evaluation.summary import Summary, SummaryBuilder
from cosernn_tf.models.base import load_model
from cosernn_tf.prediction import Predictor
from cosernn_tf.provenance import describe_machine
from cosernn_tf.runs import check_run_data, open_run
from cosernn_tf.sessions import shard_of
from cosernn_tf.staging import staged
from cosernn_tf.tracks import TrackEmbeddings, load_track_embeddings
from cosernn_tf.windows import MIN_EARLIER_SESSIONS
from cosernn_tf.workspace import SessionsDirectory, Workspace, open_sessions

_VERSIONS: Final = ("keras", "numpy", "tensorflow")


def evaluate_runs(
    workspace: Workspace,
    runs: Sequence[str] | None,
    *,
    config: EvaluationConfig,
    predictions: Sequence[PredictionFile] = (),
    output: Path | None = None,
    sessions_per_block: int = SESSIONS_PER_BLOCK,
) -> Summary:
    """Scores the heuristics, the runs, given predictions and the oracles on a split's sessions.

    Runs, and predictions that are given, are references of the paired tests, the first is that of
    the printed table.

    Args:
        workspace: With sessions, track embeddings and runs.
        runs: Names; None: all finished runs that were trained on the workspace's data.
        config: What is scored.
        predictions: Files of predictions that come from elsewhere; they stand behind the runs.
        output: Directory to write, replaced as a whole; None: the workspace's.
        sessions_per_block: Sessions scored at once; changes no score.

    Raises:
        UserError: Something is missing in the workspace, a run is unknown, unfinished, trained on
            other data or named as a heuristic is, a file of predictions is at fault or named as a
            run is, or the split has nothing to score.
    """
    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    _require_users(sessions, config.exclude_users)
    configs = choose_runs(workspace, runs, sessions=sessions, tracks=tracks)
    for file in predictions:
        if file.name in configs:
            raise UserError(
                f"{file} has the name of {workspace.run(file.name)}: choose another, as name=file"
            )
    references = [*configs, *(file.name for file in predictions)]
    models = [*HEURISTICS, *references, *ORACLES]
    builder = SummaryBuilder(models, references=references, bootstrap=config.bootstrap)
    schema = score_schema(with_catalogue=config.catalogue, with_predictions=config.save_predictions)
    catalogue = None
    # Without an embedded track there is nothing to score, which is said below.
    if config.catalogue and tracks.vectors.any():
        catalogue = Catalogue(
            tracks.vectors, sessions.train_listens, models=models, relevance=config.relevance
        )
    with staged(output or workspace.evaluation, marker=METRICS_FILE) as staging:
        with tempfile.TemporaryDirectory(dir=staging) as folder:
            given = {
                file.name: join_predictions(
                    file,
                    sessions,
                    tracks.vectors,
                    split=config.split,
                    exclude_users=frozenset(user.encode() for user in config.exclude_users),
                    folder=Path(folder),
                )
                for file in predictions
            }
            scorer = Scorer(
                sessions,
                tracks.vectors,
                runs={
                    name: LoadedRun(Predictor(load_model(workspace.run(name))), run.max_sessions)
                    for name, run in configs.items()
                },
                given=given,
                config=config,
                catalogue=catalogue,
            )
            with pq.ParquetWriter(staging / SCORES_FILE, schema, compression="zstd") as writer:
                for scores, without_target in scorer.blocks(sessions_per_block):
                    writer.write_table(scores)
                    builder.add(scores, without_target=without_target)
        summary = builder.build()
        if not summary.sessions:
            raise UserError(_nothing_to_score(sessions, summary, config))
        content = {
            **metrics_json(summary),
            "catalogue": None if catalogue is None else catalogue.summary(),
            "provenance": {
                **_provenance(sessions, tracks, configs, config),
                "predictions": {
                    file.name: {
                        "file": str(file.path),
                        "rows": given[file.name].rows,
                        "sha256": given[file.name].sha256,
                    }
                    for file in predictions
                },
            },
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
        require(all(names), f"--runs={','.join(names)} has an empty name: give --runs= for none")
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
    """What the metrics were computed from, and how; but for given predictions."""
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
