"""Epochs: train, validate, keep the best, stop early, resume."""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from tqdm import tqdm

from cosernn_tf.config import TrainConfig
from cosernn_tf.errors import UserError
from cosernn_tf.models.base import ATTENTION
from cosernn_tf.prediction import Predictor
from cosernn_tf.training.feed import Feed
from cosernn_tf.training.step import TrainStep

CHECKPOINTS: Final = "checkpoints"
TENSORBOARD: Final = "tensorboard"
BEST_WEIGHTS: Final = "checkpoints/best.weights.h5"
HISTORY: Final = "history.json"


@dataclass(frozen=True)
class EpochResult:
    """Figures of one epoch; cosines are means over sessions."""

    epoch: int
    train_loss: float
    train_attention: float | None
    """Mean β̂, the attention on the offset; None of a model that has no attention."""
    validation_cosine: float
    validation_attention: float | None
    sessions_per_second: float
    """Training sessions, padding not counted."""
    seconds: float
    """Of training and validation."""


@dataclass(frozen=True)
class Validation:
    """Of one pass over the validation split."""

    cosine: float
    attention: float | None
    """Mean β̂; None of a model that has no attention."""
    sessions: int


def validate(predictor: Predictor, feed: Feed, *, max_sessions: int) -> Validation:
    """Mean cosine of prediction and s⁺ over the validation sessions that have an s⁺."""
    cosine, count = 0.0, 0
    attention: float | None = None
    for block in feed.blocks():
        windows = feed.validation_windows(block, max_sessions=max_sessions)
        predictions = predictor(block.data, windows)
        scored = block.data.is_target[predictions.sessions]
        target = block.data.target[predictions.sessions]
        cosine += float(np.sum((predictions.embeddings * target)[scored], dtype=np.float64))
        if predictions.attention is not None:
            on_offset = predictions.attention[scored, 0].sum(dtype=np.float64)
            attention = (attention or 0.0) + float(on_offset)
        count += int(scored.sum())
    if count == 0:
        raise UserError(
            "the validation split has no session with a played, embedded track: sessionise a "
            "longer log, or with more --validation_days"
        )
    return Validation(cosine / count, None if attention is None else attention / count, count)


class Trainer:
    """Trains `model` in `run`, one call of `epochs` from wherever the last one stopped."""

    def __init__(self, model: keras.Model, feed: Feed, config: TrainConfig, run: Path) -> None:
        self._feed = feed
        self._config = config
        self._run = run
        self._model = model
        optimizer = keras.optimizers.Adam(config.learning_rate)
        self._step = TrainStep(model, optimizer, clip_norm=config.clip_norm)
        self._predictor = Predictor(model)
        self._has_attention = ATTENTION in model.output
        self._epoch = tf.Variable(0, dtype=tf.int64)
        self._best_epoch = tf.Variable(0, dtype=tf.int64)
        self._best_cosine = tf.Variable(-np.inf, dtype=tf.float64)
        state = tf.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            epoch=self._epoch,
            best_epoch=self._best_epoch,
            best_cosine=self._best_cosine,
        )
        (run / CHECKPOINTS).mkdir(exist_ok=True)
        self._checkpoints = tf.train.CheckpointManager(state, str(run / CHECKPOINTS), max_to_keep=1)
        if self._checkpoints.restore_or_initialize():
            logging.info("Resuming run %s after epoch %d", run.name, int(self._epoch))

    def train(self) -> list[EpochResult]:
        """Trains until patience or `max_epochs` ends it; `BEST_WEIGHTS` are loaded at the end."""
        writers = {
            name: tf.summary.create_file_writer(str(self._run / TENSORBOARD / name))
            for name in ("train", "validation")
        }
        with writers["train"].as_default():
            # Four spaces make it preformatted text.
            flags = "".join(f"    {line}\n" for line in self._config.to_flags().splitlines())
            tf.summary.text("flags", flags, step=0)
        history = self._read_history()
        while self._wants_another_epoch():
            result = self._train_epoch(int(self._epoch) + 1)
            history.append(result)
            _summarize(writers, result)
            self._keep(result, history)
        self._model.load_weights(self._run / BEST_WEIGHTS)
        return history

    def _wants_another_epoch(self) -> bool:
        epoch, best = int(self._epoch), int(self._best_epoch)
        return epoch < self._config.max_epochs and epoch - best < self._config.patience

    def _train_epoch(self, epoch: int) -> EpochResult:
        config = self._config
        loss = attention = 0.0
        pairs = 0
        batches = self._feed.training_batches(
            epoch=epoch,
            batch_size=config.batch_size,
            max_sessions=config.max_sessions,
            seed=config.seed,
        )
        pairs_of_epoch = self._feed.training_pairs
        if not pairs_of_epoch:
            raise UserError(
                "the training split has no session with a played, embedded track: check the track "
                "embeddings (cosernn_tf.embed_tracks) and the split in manifest.json"
            )
        started = time.perf_counter()
        description = f"epoch {epoch}/{config.max_epochs}"
        with tqdm(total=pairs_of_epoch, desc=description, unit=" sessions") as bar:
            for groups in batches:
                step = self._step(groups)
                if not np.isfinite(step.loss):
                    raise UserError(
                        f"the loss is {step.loss} in epoch {epoch} of run {self._run.name!r}: use "
                        f"a lower --learning_rate than {config.learning_rate}, or --clip_norm"
                    )
                loss += step.loss
                pairs += step.pairs
                attention += step.attention
                bar.update(step.pairs)
                bar.set_postfix(loss=f"{loss / max(pairs, 1):.4f}", refresh=False)
        training_seconds = time.perf_counter() - started
        validation = validate(self._predictor, self._feed, max_sessions=config.max_sessions)
        return EpochResult(
            epoch=epoch,
            train_loss=loss / pairs,
            train_attention=attention / pairs if self._has_attention else None,
            validation_cosine=validation.cosine,
            validation_attention=validation.attention,
            sessions_per_second=pairs / training_seconds,
            seconds=time.perf_counter() - started,
        )

    def _keep(self, result: EpochResult, history: list[EpochResult]) -> None:
        """Best weights and history before the checkpoint: killed between, the epoch is redone."""
        self._epoch.assign(result.epoch)
        is_best = result.validation_cosine > float(self._best_cosine)
        if is_best:
            self._best_epoch.assign(result.epoch)
            self._best_cosine.assign(result.validation_cosine)
            self._model.save_weights(self._run / BEST_WEIGHTS)
        _write_whole(self._run / HISTORY, [dataclasses.asdict(epoch) for epoch in history])
        self._checkpoints.save(checkpoint_number=result.epoch)
        epochs_left = self._config.max_epochs - result.epoch if self._wants_another_epoch() else 0
        logging.info(
            "Epoch %d: loss %.4f, validation cosine %.4f%s, %.0f sessions/s, %s",
            result.epoch,
            result.train_loss,
            result.validation_cosine,
            " (best)" if is_best else "",
            result.sessions_per_second,
            f"at most {epochs_left * result.seconds / 60:.1f} min left" if epochs_left else "done",
        )

    def _read_history(self) -> list[EpochResult]:
        """Of the epochs that the checkpoint has, for a resumed run."""
        path = self._run / HISTORY
        if not int(self._epoch) or not path.is_file():
            return []
        epochs = [EpochResult(**fields) for fields in json.loads(path.read_text("utf-8"))]
        return epochs[: int(self._epoch)]


def _summarize(writers: dict[str, tf.summary.SummaryWriter], result: EpochResult) -> None:
    scalars = {
        "train": {
            "loss": result.train_loss,
            "attention_offset": result.train_attention,
            "sessions_per_second": result.sessions_per_second,
        },
        "validation": {
            "cosine": result.validation_cosine,
            "loss": 1.0 - result.validation_cosine,
            "attention_offset": result.validation_attention,
        },
    }
    for name, values in scalars.items():
        with writers[name].as_default():
            for tag, value in values.items():
                if value is not None:
                    tf.summary.scalar(tag, value, step=result.epoch)
        writers[name].flush()


def _write_whole(path: Path, content: Any) -> None:
    """Writes JSON; killed on the way, the file is the old one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
