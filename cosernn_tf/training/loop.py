"""Epochs: train, validate, keep the best, stop early, resume."""

import time
from pathlib import Path

import keras
import numpy as np
from absl import logging
from tqdm import tqdm

from cosernn_tf.config import TrainConfig
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.ranking_sample import RankingSample
from cosernn_tf.models.base import ATTENTION
from cosernn_tf.prediction import Predictor
from cosernn_tf.training.checkpoints import Checkpoints
from cosernn_tf.training.devices import make_optimizer
from cosernn_tf.training.feed import Feed
from cosernn_tf.training.progress import EpochResult, Progress, Sums
from cosernn_tf.training.step import StepResult, TrainStep
from cosernn_tf.training.summaries import Summaries
from cosernn_tf.training.validation import validate


class Trainer:
    """Trains `model` in `run`, from wherever the last one stopped."""

    def __init__(self, model: keras.Model, feed: Feed, config: TrainConfig, run: Path) -> None:
        self._feed = feed
        self._config = config
        self._run = run
        optimizer = make_optimizer(config)
        self._step = TrainStep(model, optimizer, clip_norm=config.clip_norm)
        self._predictor = Predictor(model)
        self._has_attention = ATTENTION in model.output
        self._checkpoints = Checkpoints(model, optimizer, run)
        self._progress = self._checkpoints.restore()
        self._summaries = Summaries(run, model, optimizer, epoch=self._progress.epoch)
        self._ranking = RankingSample(feed.track_embeddings)

    def train(self) -> list[EpochResult]:
        """Trains until patience or `max_epochs` ends it; the best weights are loaded at the end."""
        self._summaries.start(self._config, self._predictor, self._feed)
        while _wants_another_epoch(self._progress, self._config):
            result = self._train_epoch(self._progress.epoch + 1)
            self._progress = self._progress.finish(result)
            self._checkpoints.save_epoch(self._progress)
            _log_epoch(self._progress, self._config)
        self._summaries.finish(self._config, self._progress)
        self._checkpoints.load_best()
        return list(self._progress.history)

    def _train_epoch(self, epoch: int) -> EpochResult:
        started = time.perf_counter()
        sums = self._train_batches(epoch)
        validation = validate(
            self._predictor,
            self._feed,
            max_sessions=self._config.max_sessions,
            ranking=self._ranking,
        )
        result = EpochResult(
            epoch=epoch,
            train_loss=sums.loss / sums.pairs,
            train_attention=sums.attention / sums.pairs if self._has_attention else None,
            validation_cosine=validation.cosine,
            validation_attention=validation.attention,
            sessions_per_second=sums.pairs / sums.seconds,
            seconds=time.perf_counter() - started,
            validation_ranking=dict(validation.ranking.means) if validation.ranking else {},
        )
        self._summaries.epoch(result, validation)
        return result

    def _train_batches(self, epoch: int) -> Sums:
        config = self._config
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
        sums = Sums()
        description = f"epoch {epoch}/{config.max_epochs}"
        with tqdm(total=pairs_of_epoch, desc=description, unit=" sessions") as bar:
            before = time.perf_counter()
            for groups in batches:
                step = self._step(groups)
                self._require_finite(step, epoch)
                self._summaries.batch(step)
                now = time.perf_counter()
                sums, before = sums.after(step, seconds=now - before), now
                bar.update(step.pairs)
                bar.set_postfix(loss=f"{sums.loss / max(sums.pairs, 1):.4f}", refresh=False)
        return sums

    def _require_finite(self, step: StepResult, epoch: int) -> None:
        if not np.isfinite(step.loss):
            raise UserError(
                f"the loss is {step.loss} in epoch {epoch} of run {self._run.name!r}: use a lower "
                f"--learning_rate than {self._config.learning_rate}, or --clip_norm"
            )


def _wants_another_epoch(progress: Progress, config: TrainConfig) -> bool:
    return config.goes_on_after([epoch.validation_cosine for epoch in progress.history])


def _log_epoch(progress: Progress, config: TrainConfig) -> None:
    result = progress.history[-1]
    epochs_left = config.max_epochs - result.epoch if _wants_another_epoch(progress, config) else 0
    logging.info(
        "Epoch %d: loss %.4f, validation cosine %.4f%s, %.0f sessions/s, %s",
        result.epoch,
        result.train_loss,
        result.validation_cosine,
        " (best)" if progress.best is result else "",
        result.sessions_per_second,
        f"at most {epochs_left * result.seconds / 60:.1f} min left" if epochs_left else "done",
    )
