"""What of a run is on disk while it goes on: checkpoints, the best weights, the history."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import keras
import tensorflow as tf
from absl import logging

from cosernn_tf.runs import HISTORY
from cosernn_tf.training.progress import Progress

CHECKPOINTS: Final = "checkpoints"
BEST_WEIGHTS: Final = "checkpoints/best.weights.h5"


class Checkpoints:
    """Of one run: weights, optimizer and `Progress`, always of the same moment."""

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, run: Path
    ) -> None:
        self._model = model
        self._run = run
        self._progress = tf.Variable("", dtype=tf.string)
        state = tf.train.Checkpoint(model=model, optimizer=optimizer, progress=self._progress)
        (run / CHECKPOINTS).mkdir(exist_ok=True)
        self._manager = tf.train.CheckpointManager(state, str(run / CHECKPOINTS), max_to_keep=1)

    def restore(self) -> Progress:
        """Sets weights and optimizer to those of the latest checkpoint, if there is one."""
        if not self._manager.restore_or_initialize():
            return Progress()
        progress = Progress.from_json(self._progress.numpy().decode())
        logging.info("Resuming run %s after epoch %d", self._run.name, progress.epoch)
        return progress

    def save(self, progress: Progress) -> None:
        """Writes a checkpoint; killed on the way, the one before it holds."""
        self._progress.assign(progress.to_json())
        self._manager.save()

    def save_epoch(self, progress: Progress) -> None:
        """Keeps an epoch that has just been finished.

        Best weights and history come before the checkpoint: killed between, the epoch is redone.
        """
        if progress.best is progress.history[-1]:
            self._model.save_weights(self._run / BEST_WEIGHTS)
        history = [dataclasses.asdict(epoch) for epoch in progress.history]
        _write_whole(self._run / HISTORY, history)
        self.save(progress)

    def load_best(self) -> None:
        """Sets the weights to those of the best epoch."""
        self._model.load_weights(self._run / BEST_WEIGHTS)


def _write_whole(path: Path, content: Any) -> None:
    """Writes JSON; killed on the way, the file is the old one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
