"""Epochs: train, validate, keep the best, stop early, resume."""

import dataclasses
import time
from pathlib import Path
from typing import NoReturn

import keras
import numpy as np
from absl import logging
from tqdm import tqdm

from cosernn_tf.config import CheckpointConfig, TrainConfig
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.ranking_sample import RankingSample
from cosernn_tf.models.base import ATTENTION
from cosernn_tf.models.losses import create_loss
from cosernn_tf.prediction import Predictor
from cosernn_tf.training.checkpoints import BEST_WEIGHTS, CHECKPOINTS, Checkpoints
from cosernn_tf.training.devices import Devices, one_device
from cosernn_tf.training.divergence import DivergenceError, diverged, not_finite
from cosernn_tf.training.feed import Feed
from cosernn_tf.training.interruption import undisturbed
from cosernn_tf.training.precision import make_optimizer
from cosernn_tf.training.progress import EpochResult, Progress
from cosernn_tf.training.step import TrainStep
from cosernn_tf.training.summaries import Summaries
from cosernn_tf.training.validation import validate
from cosernn_tf.windows import PackedBatch


class Trainer:
    """Trains `model` in `run`, from wherever the last one stopped."""

    def __init__(
        self,
        model: keras.Model,
        feed: Feed,
        config: TrainConfig,
        run: Path,
        *,
        checkpoints: CheckpointConfig | None = None,
        devices: Devices | None = None,
    ) -> None:
        self._devices = devices or one_device()
        self._feed = feed
        self._config = config
        self._run = run
        with self._devices.strategy.scope():
            optimizer = make_optimizer(config)
            loss = create_loss(config, feed.track_embeddings)
        self._step = TrainStep(
            model, optimizer, clip_norm=config.clip_norm, loss=loss, devices=self._devices
        )
        self._predictor = Predictor(model)
        self._has_attention = ATTENTION in model.output
        self._checkpoints = Checkpoints(
            model, optimizer, run, config=checkpoints or CheckpointConfig()
        )
        self.progress = self._agreed(self._checkpoints.restore())
        self._devices.copy_from_chief([*model.variables, *optimizer.variables])
        self._summaries = Summaries(run, model, optimizer, epoch=self.progress.epoch)
        self._ranking = RankingSample(feed.track_embeddings)

    def train(self) -> list[EpochResult]:
        """Trains until patience or `max_epochs` ends it; the best weights are loaded at the end.

        Raises:
            DivergenceError: The loss is not finite, or the cosine far below what it was.
            KeyboardInterrupt: Training was stopped, and a checkpoint is written.
        """
        self._summaries.start(self._config, self._predictor, self._feed)
        try:
            while _wants_another_epoch(self.progress, self._config):
                self._train_batches()
                self._finish_epoch()
        except KeyboardInterrupt:
            with undisturbed():
                self._save()
            logging.info(
                "Run %s is saved %s: the same command goes on from there",
                self._run.name,
                self.progress.moment,
            )
            raise
        self._summaries.finish(self._config, self.progress)
        if self._devices.is_chief:
            self._checkpoints.load_best()
        return list(self.progress.history)

    def _train_batches(self) -> None:
        """What is left of an epoch."""
        config, epoch, done = self._config, self.progress.epoch + 1, self.progress.under_way
        batches = self._feed.training_batches(
            epoch=epoch,
            batch_size=config.batch_size,
            max_sessions=config.max_sessions,
            seed=config.seed,
            skip=done.batches,
        )
        pairs_of_epoch = self._feed.training_pairs
        if not pairs_of_epoch:
            raise UserError(
                "the training split has no session with a played, embedded track: check the track "
                "embeddings (cosernn_tf.embed_tracks) and the split in manifest.json"
            )
        description = f"epoch {epoch}/{config.max_epochs}"
        with tqdm(
            total=pairs_of_epoch, desc=description, unit=" sessions", initial=done.pairs
        ) as bar:
            before = time.perf_counter()
            for parts in batches:
                with undisturbed():
                    before = self._train_batch(parts, since=before)
                done = self.progress.under_way
                bar.update(done.pairs - bar.n)
                bar.set_postfix(loss=f"{done.loss / max(done.pairs, 1):.4f}", refresh=False)

    def _train_batch(self, parts: list[PackedBatch], *, since: float) -> float:
        """One step, and a checkpoint if it is time for one; gives the time at which it ended."""
        step = self._step(parts)
        if reason := not_finite(step):
            self._diverge(reason, batch=self.progress.under_way.batches + 1)
        self._summaries.batch(step)
        seconds = time.perf_counter() - since
        sums = self.progress.under_way.after(step, seconds=seconds)
        self.progress = dataclasses.replace(self.progress, under_way=sums)
        if reason := diverged(sums, self.progress.history, is_whole=False):
            self._diverge(reason, batch=sums.batches)
        if self._checkpoints.is_due(self.progress):
            self._save()
        return time.perf_counter()

    def _finish_epoch(self) -> None:
        """Validates, and keeps what has been found."""
        started = time.perf_counter()
        epoch, sums = self.progress.epoch + 1, self.progress.under_way
        if reason := diverged(sums, self.progress.history, is_whole=True):
            self._diverge(reason, batch=sums.batches)
        validation = validate(
            self._predictor,
            self._feed,
            max_sessions=self._config.max_sessions,
            ranking=self._ranking,
        )
        if not np.isfinite(validation.cosine):
            self._diverge(f"the validation cosine is {validation.cosine}", batch=sums.batches)
        result = EpochResult(
            epoch=epoch,
            train_loss=sums.loss / sums.pairs,
            train_cosine=sums.cosine / sums.pairs,
            train_attention=sums.attention / sums.pairs if self._has_attention else None,
            validation_cosine=validation.cosine,
            validation_score=validation.score(self._config.best_by),
            validation_attention=validation.attention,
            sessions_per_second=sums.pairs / sums.seconds,
            seconds=sums.seconds + time.perf_counter() - started,
            validation_ranking=dict(validation.ranking.means) if validation.ranking else {},
        )
        with undisturbed():
            self.progress = self._agreed(self.progress.finish(result))
            self._summaries.epoch(result, validation)
            self._checkpoints.save_epoch(self.progress)
            _log_epoch(self.progress, self._config)

    def _agreed(self, progress: Progress) -> Progress:
        """The chief's, to the last digit: all processes have to stop at the same moment."""
        return Progress.from_json(self._devices.as_chief(progress.to_json()))

    def _save(self) -> None:
        self._summaries.flush()
        self._checkpoints.save(self.progress)

    def _diverge(self, reason: str, *, batch: int) -> NoReturn:
        config, best = self._config, self.progress.best
        kept = (
            f"the weights of epoch {best.epoch}, the best, are in {self._run / BEST_WEIGHTS}"
            if best
            else f"no epoch is finished; if there is a checkpoint, it is in "
            f"{self._run / CHECKPOINTS}"
        )
        clip = f"a lower --clip_norm than {config.clip_norm}" if config.clip_norm else "--clip_norm"
        raise DivergenceError(
            f"{reason} in epoch {self.progress.epoch + 1}, batch {batch} of {self._run}, "
            f"which is stopped: {kept}; try a lower --learning_rate than "
            f"{config.learning_rate}, or {clip}, with another --run or with --overwrite"
        )


def _wants_another_epoch(progress: Progress, config: TrainConfig) -> bool:
    return config.goes_on_after([epoch.validation_score for epoch in progress.history])


def _log_epoch(progress: Progress, config: TrainConfig) -> None:
    result = progress.history[-1]
    epochs_left = config.max_epochs - result.epoch if _wants_another_epoch(progress, config) else 0
    logging.info(
        "Epoch %d: loss %.4f, validation cosine %.4f%s%s, %.0f sessions/s, %s",
        result.epoch,
        result.train_loss,
        result.validation_cosine,
        "" if config.best_by == "cosine" else f", score {result.validation_score:.4f}",
        " (best)" if progress.best is result else "",
        result.sessions_per_second,
        f"at most {epochs_left * result.seconds / 60:.1f} min left" if epochs_left else "done",
    )
