"""A training run from a workspace: track embeddings, model, exports, index."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from cosernn_tf.config import CheckpointConfig, EmbeddingConfig, TrainConfig
from cosernn_tf.embedding import embed_tracks, playlists_sha256
from cosernn_tf.errors import UserError
from cosernn_tf.models import create
from cosernn_tf.models.base import MODEL_FILE, load_model
from cosernn_tf.models.one_step import step, step_signature
from cosernn_tf.models.recurrence import portable
from cosernn_tf.playlists import FORMATS
from cosernn_tf.prediction import input_signature
from cosernn_tf.provenance import describe_machine
from cosernn_tf.retrieval.held_out import held_out_predictions
from cosernn_tf.retrieval.index import build_index
from cosernn_tf.runs import (
    DIVERGED,
    EXPORT,
    FLAGFILE,
    INDEX,
    PROVENANCE,
    RunIdentity,
    training_run,
)
from cosernn_tf.staging import DISK_TROUBLES
from cosernn_tf.tracks import TrackEmbeddings, load_track_embeddings
from cosernn_tf.training.devices import Devices, leading, lost_workers_told, open_devices
from cosernn_tf.training.divergence import DivergenceError
from cosernn_tf.training.feed import Feed
from cosernn_tf.training.loop import Trainer
from cosernn_tf.training.precision import precision
from cosernn_tf.whole_files import write_json, write_text
from cosernn_tf.workspace import SUCCESS, SessionsDirectory, Workspace, open_sessions


def train_run(
    workspace: Workspace,
    config: TrainConfig,
    *,
    run: str,
    checkpoints: CheckpointConfig | None = None,
    strategy: str = "none",
    playlists: Path | None = None,
    playlists_format: str = FORMATS[0],
    overwrite: bool = False,
) -> Path:
    """Trains a model on the workspace's session sequences; a finished, equal run is left as it is.

    Args:
        workspace: Has session sequences; track embeddings are made if it has none.
        config: Of the model and its training.
        run: Name of the run directory.
        checkpoints: When there are to be checkpoints within an epoch; by default now and then.
        strategy: Of `config.STRATEGIES`. Of several processes the chief's writes the run directory.
        playlists: For the track embeddings, if they have to be made.
        playlists_format: One of `playlists.FORMATS`.
        overwrite: Whether a run of that name may be replaced.

    Returns:
        The run directory.

    Raises:
        UserError: No session sequences, a run with other flags or data, a loss that is not finite
            or a cosine far below what it was, a full disk; of several processes, another one's end.
    """
    sessions = open_sessions(workspace.sessions)
    path = workspace.run(run)
    devices = open_devices(strategy)
    if not devices.is_chief:
        with lost_workers_told(devices):
            _help_chief(workspace, config, sessions, devices)
        return path
    with lost_workers_told(devices), leading(devices) as begin:
        embeddings = ensure_track_embeddings(
            workspace, sessions, playlists, playlists_format=playlists_format
        )
        identity = RunIdentity.of(config, sessions, embeddings)
        with training_run(path, identity, overwrite=overwrite) as folder:
            if folder is None:
                logging.info("%s is finished and has the same flags and data: left as it is", path)
            else:
                begin(identity.to_json())
                feed = _feed(config, sessions, embeddings, devices)
                with _disk_troubles_told(folder):
                    _train(
                        folder, config, feed, embeddings, checkpoints=checkpoints, devices=devices
                    )
    return path


def _help_chief(
    workspace: Workspace, config: TrainConfig, sessions: SessionsDirectory, devices: Devices
) -> None:
    """Trains with the chief; what is written is thrown away."""
    if not devices.is_begun():
        logging.info("The chief does not train: its messages say why")
        return
    embeddings = load_track_embeddings(workspace.tracks, sessions)
    devices.require_same(RunIdentity.of(config, sessions, embeddings).to_json())
    feed = _feed(config, sessions, embeddings, devices)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            _model(config, feed, devices), feed, config, Path(folder), devices=devices
        )
        try:
            trainer.train()
        except DivergenceError as error:
            raise UserError("training has diverged: the chief's messages say how") from error


def _feed(
    config: TrainConfig,
    sessions: SessionsDirectory,
    embeddings: TrackEmbeddings,
    devices: Devices,
) -> Feed:
    return Feed(sessions, embeddings.vectors, inputs=config.model.inputs, share=devices.share)


def _model(config: TrainConfig, feed: Feed, devices: Devices) -> keras.Model:
    keras.utils.set_random_seed(config.seed)
    # Else the order of sums depends on threads, on a GPU above all.
    tf.config.experimental.enable_op_determinism()
    with precision(config), devices.strategy.scope():
        return create(config.model, feed.data_spec()).build()


@contextlib.contextmanager
def _disk_troubles_told(run: Path) -> Iterator[None]:
    """Libraries have them as errors of their own, which say what the system says."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        for number, reason in DISK_TROUBLES.items():
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                raise UserError(
                    f"{run} could not be written: {reason}; the last checkpoint is as it was, "
                    "and the same command goes on from there"
                ) from error
        raise


def _train(
    run: Path,
    config: TrainConfig,
    feed: Feed,
    embeddings: TrackEmbeddings,
    *,
    checkpoints: CheckpointConfig | None,
    devices: Devices,
) -> None:
    write_text(run / FLAGFILE, config.to_flags())
    model = _model(config, feed, devices)
    logging.info(
        "Training %s with %s weights in %s; to watch: tensorboard --logdir %s",
        config.model.name,
        f"{model.count_params():,}",
        run,
        run.parent,
    )
    try:
        trainer = Trainer(model, feed, config, run, checkpoints=checkpoints, devices=devices)
        history = trainer.train()
    except DivergenceError as error:
        write_text(run / DIVERGED, f"{error}\n")
        raise
    write_json(run / PROVENANCE, describe_machine())
    best = max(history, key=lambda epoch: epoch.validation_score)
    model.save(run / MODEL_FILE)
    # On one device again, whatever it was trained on.
    model = load_model(run)
    export(model, run / EXPORT)
    queries = held_out_predictions(model, feed, max_sessions=config.max_sessions)
    build_index(embeddings, queries, run / INDEX)
    logging.info(
        "%s: validation cosine %.4f in epoch %d, the best of %d",
        run,
        best.validation_cosine,
        best.epoch,
        len(history),
    )


def export(model: keras.Model, path: Path) -> None:
    """Writes a SavedModel whose signatures take the model's inputs and give named outputs.

    `serve` takes whole sequences, `step` a session of each user and the state before it: see
    `cosernn_tf.models.one_step`. It runs with a GPU and without, wherever it was written.
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    with portable(model):
        archive.add_endpoint("serve", model.__call__, input_signature=[input_signature(model)])
        archive.add_endpoint(
            "step",
            lambda tensors: step(model, tensors),
            input_signature=[step_signature(model)],
        )
        archive.write_out(str(path), verbose=False)


def ensure_track_embeddings(
    workspace: Workspace,
    sessions: SessionsDirectory,
    playlists: Path | None,
    *,
    playlists_format: str = FORMATS[0],
) -> TrackEmbeddings:
    """The track embeddings of the workspace, made first if it has none.

    Args:
        workspace: Where they are, or will be.
        sessions: Whose track vocabulary is embedded.
        playlists: None: those of the embedded default log if `sessions` come from there, else the
            sentences are training-split sessions.
        playlists_format: Of the playlists that are given.

    Raises:
        UserError: There are some, but not of this vocabulary, or not from these playlists.
    """
    if (workspace.tracks / SUCCESS).is_file():
        embeddings = load_track_embeddings(workspace.tracks, sessions)
        if playlists is not None:
            _check_playlists(workspace.tracks, embeddings, playlists, playlists_format)
        logging.info(
            "Track embeddings of %s, made from %s",
            workspace.tracks,
            embeddings.description.get("sentences"),
        )
        return embeddings
    if playlists is None:
        playlists = _playlists_of_default_log(workspace, sessions)
        playlists_format = FORMATS[0]
    logging.info(
        "%s has no track embeddings yet: making them from %s",
        workspace.root,
        "the sessions of the training split" if playlists is None else playlists,
    )
    return embed_tracks(
        sessions,
        playlists=playlists,
        output=workspace.tracks,
        config=EmbeddingConfig(),
        playlists_format=playlists_format,
    )


def _check_playlists(
    path: Path, embeddings: TrackEmbeddings, playlists: Path, playlists_format: str
) -> None:
    made_from = embeddings.description.get("playlists_sha256")
    if made_from != playlists_sha256(playlists, playlists_format):
        flags = f"--playlists={playlists}"
        if playlists_format != FORMATS[0]:
            flags += f" --playlists_format={playlists_format}"
        raise UserError(
            f"the track embeddings in {path} were not made from {flags}: run "
            f"cosernn_tf.embed_tracks {flags} first, or leave the flag out"
        )


def _playlists_of_default_log(workspace: Workspace, sessions: SessionsDirectory) -> Path | None:
    """The playlists of the embedded default log, if the sessions were made from that log."""
    playlists = workspace.log / "playlists.jsonl.gz"
    listens: Any = sessions.manifest.options.get("listens") or []
    paths = [listens] if isinstance(listens, str) else list(listens)
    log = workspace.log.resolve()
    made_from_it = paths and all(Path(path).resolve().is_relative_to(log) for path in paths)
    return playlists if made_from_it and playlists.is_file() else None
