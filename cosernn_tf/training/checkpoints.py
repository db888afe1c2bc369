"""What of a run is on disk while it goes on: checkpoints, the best weights, the history.

The file `checkpoint`, which TensorFlow renames into place, is what counts: it names the newest
checkpoint, and that has the history. Best weights and `history.json` follow it, so that a process
which is killed at any moment leaves no more to mend than names.
"""

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import keras
import tensorflow as tf
from absl import logging

from cosernn_tf.config import CheckpointConfig
from cosernn_tf.errors import UserError
from cosernn_tf.runs import HISTORY
from cosernn_tf.training.progress import Progress
from cosernn_tf.whole_files import write_json

CHECKPOINTS: Final = "checkpoints"
BEST_WEIGHTS: Final = "checkpoints/best.weights.h5"

_LATEST: Final = "checkpoint"
_OF_EPOCH: Final = "checkpoints/epoch-{}.weights.h5"
"""Weights that are the best once a checkpoint says so."""


class Checkpoints:
    """Of one run: weights, optimizer and `Progress`, always of the same moment.

    What else the rest of a run depends on is a function of (seed, epoch, batch). A layer that draws
    numbers must do so from a `keras.random.SeedGenerator`, which is among the model's variables.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        run: Path,
        *,
        config: CheckpointConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads nothing yet.

        Args:
            model: Whose weights are kept.
            optimizer: Of them, built.
            run: The run's directory.
            config: When there is to be a checkpoint within an epoch.
            clock: Seconds.
        """
        self._model = model
        self._run = run
        self._config = config
        self._clock = clock
        self._saved_at = clock()
        self._saved = Progress()
        with tf.device("CPU"):  # a GPU has no text
            self._progress = tf.Variable("", dtype=tf.string)
        state = tf.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            progress=self._progress,
            # Of generators of random numbers, which TensorFlow does not find in a model.
            random=[variable.value for variable in model.variables if not _is_in(variable, model)],
        )
        (run / CHECKPOINTS).mkdir(exist_ok=True)
        self._manager = tf.train.CheckpointManager(state, str(run / CHECKPOINTS), max_to_keep=1)

    def restore(self) -> Progress:
        """Sets weights and optimizer to those of the latest checkpoint, if there is one.

        Raises:
            UserError: It is damaged, or of another version.
        """
        latest = self._manager.latest_checkpoint
        progress = Progress()
        if latest is not None:
            try:
                self._manager.checkpoint.restore(latest).assert_existing_objects_matched()
                progress = Progress.from_json(self._progress.numpy().decode())
            except (AssertionError, LookupError, TypeError, ValueError, tf.errors.OpError) as error:
                raise UserError(
                    f"the checkpoint {latest} is damaged or of another version "
                    f"({str(error).splitlines()[0]}): to train from the start, remove "
                    f"{self._run / CHECKPOINTS}"
                ) from error
            logging.info("Resuming run %s %s", self._run.name, progress.moment)
        self._saved = progress
        self._publish(progress)
        self._clean_up(latest)
        return progress

    def is_due(self, progress: Progress) -> bool:
        """Whether a checkpoint is to be written within the epoch, by batches or by time."""
        steps, minutes = self._config.steps, self._config.minutes
        by_steps = steps and progress.under_way.batches % steps == 0
        by_time = minutes and self._clock() - self._saved_at >= 60 * minutes
        return bool(by_steps or by_time)

    def save(self, progress: Progress) -> None:
        """Writes a checkpoint; killed on the way, the one before it holds."""
        if progress == self._saved:
            return
        self._progress.assign(progress.to_json())
        self._manager.save()
        self._saved, self._saved_at = progress, self._clock()

    def save_epoch(self, progress: Progress) -> None:
        """Writes a checkpoint at the end of an epoch, whose weights are kept if it is the best."""
        result = progress.history[-1]
        if progress.best is result:
            self._model.save_weights(self._run / _OF_EPOCH.format(result.epoch))
        self.save(progress)
        self._publish(progress)

    def load_best(self) -> None:
        """Sets the weights to those of the best epoch."""
        self._model.load_weights(self._run / BEST_WEIGHTS)

    def _publish(self, progress: Progress) -> None:
        """Gives best weights and history their names, now that a checkpoint says what they are."""
        if progress.best is not None:
            weights = self._run / _OF_EPOCH.format(progress.best.epoch)
            if weights.is_file():
                weights.replace(self._run / BEST_WEIGHTS)
        if progress.history:
            history = [dataclasses.asdict(epoch) for epoch in progress.history]
            write_json(self._run / HISTORY, history)

    def _clean_up(self, latest: str | None) -> None:
        """Removes what a process that was killed has left half written."""
        kept = {_LATEST, Path(BEST_WEIGHTS).name}
        for path in (self._run / CHECKPOINTS).iterdir():
            is_of_latest = latest is not None and path.stem == Path(latest).name
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in kept and not is_of_latest:
                path.unlink()


def _is_in(variable: keras.Variable, model: keras.Model) -> bool:
    """Whether it is a weight; variables have no order and no truth to compare them by."""
    return any(variable is weight for weight in model.weights)
