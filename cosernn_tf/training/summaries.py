"""What TensorBoard shows of a run, and when it is written."""

import shutil
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from cosernn_tf.config import TrainConfig
from cosernn_tf.evaluation import metrics
from cosernn_tf.evaluation.ranking_sample import SampleScores
from cosernn_tf.prediction import Predictor
from cosernn_tf.summaries.event_files import forget_after
from cosernn_tf.summaries.formats import (
    write_binned,
    write_histogram,
    write_hparams,
    write_layer_graph,
    write_pr_curve,
)
from cosernn_tf.summaries.projector import write_track_space
from cosernn_tf.training.feed import Feed
from cosernn_tf.training.progress import EpochResult, Progress
from cosernn_tf.training.step import StepResult
from cosernn_tf.training.validation import ATTENTION_EDGES, Validation

TENSORBOARD: Final = "tensorboard"

STEPS_APART: Final = 10
"""Gradient steps from one that is shown to the next."""

_RUN: Final = "run"
"""What is said once of a run; the steps of the others are epochs, or gradient steps."""
_BATCHES: Final = "batches"
_TRAIN: Final = "train"
_VALIDATION: Final = "validation"

RANKING_TAGS: Final = {
    **{metrics.session_rr(k): f"ranking/MRR@{k}" for k in metrics.SESSION_SIZES},
    **{metrics.ap(k): f"ranking/mAP@{k}" for k in metrics.TRACK_SIZES},
}
"""Tag of each metric."""

_DESCRIPTIONS: Final = {
    "fit/loss": "1 - cosine, mean over sessions. Of *train* while its weights still change, so at "
    "first above *validation*. Validation that rises again while train falls is overfitting.",
    "fit/cosine": "Of the prediction and s⁺. The epoch with the best one of *validation* is kept.",
    "fit/attention_offset": "Mean β̂ (§5.1.4): 1 is all on what the RNN says, 0 all on the long-term "
    "embedding.",
    "attention/offset": "β̂ of the validation sessions. A user's first session has 1: it has no "
    "long-term embedding (decision 7).",
    "batch/gradient_norm": "Global norm, before clipping. Spikes call for `--clip_norm` or a lower "
    "`--learning_rate`, a norm near 0 for a higher one.",
    "ranking/MRR@20": "On a sample of validation sessions, the same at every epoch.",
    "ranking/tracks": "Of the first 1, 2, ... candidates of each ranking, pooled over the sample. "
    "Recall 1 is all candidates: precision there is what a random order has everywhere.",
}


class Summaries:
    """Event files of one run."""

    def __init__(
        self,
        run: Path,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        epoch: int,
    ) -> None:
        """Opens the files of a run that goes on after `epoch` and the optimizer's last step."""
        self._directory = run / TENSORBOARD
        self._model = model
        self._optimizer = optimizer
        self._layers = [variable.path.partition("/")[0] for variable in model.trainable_variables]
        forget_after(self._directory / _TRAIN, epoch)
        forget_after(self._directory / _VALIDATION, epoch)
        forget_after(self._directory / _BATCHES, self._step)
        shutil.rmtree(self._directory / _RUN, ignore_errors=True)
        self._writers = {
            name: tf.summary.create_file_writer(str(self._directory / name))
            for name in (_RUN, _BATCHES, _TRAIN, _VALIDATION)
        }

    def start(self, config: TrainConfig, predictor: Predictor, feed: Feed) -> None:
        """Flags, graphs and the track space."""
        with self._writers[_RUN].as_default():
            # Four spaces make it preformatted text.
            flags = "".join(f"    {line}\n" for line in config.to_flags().splitlines())
            tf.summary.text("flags", flags, step=0)
            write_layer_graph("layers", self._model, step=0)
            tf.summary.graph(predictor.graph)
        write_track_space(
            self._directory / _RUN, feed.track_embeddings, feed.sessions.tracks
        )
        self.flush()

    def batch(self, result: StepResult) -> None:
        """One gradient step in `STEPS_APART`: its loss, rate and gradient norms."""
        if result.gradient_norms is None or self._step % STEPS_APART:
            return
        squares = np.square(result.gradient_norms.numpy().astype(np.float64))
        scalars = {
            "batch/loss": result.loss / result.pairs,
            "batch/learning_rate": float(self._optimizer.learning_rate),
            "batch/gradient_norm": np.sqrt(squares.sum()),
        }
        for layer in dict.fromkeys(self._layers):
            of_layer = np.array([name == layer for name in self._layers])
            scalars[f"gradient_norm_of/{layer}"] = np.sqrt(squares[of_layer].sum())
        self._scalars(_BATCHES, scalars, step=self._step)

    def epoch(self, result: EpochResult, validation: Validation) -> None:
        """All that is shown of an epoch."""
        epoch = result.epoch
        of_train = {
            "fit/loss": result.train_loss,
            "fit/cosine": 1.0 - result.train_loss,
            "fit/attention_offset": result.train_attention,
            "speed/sessions_per_second": result.sessions_per_second,
            "speed/seconds": result.seconds,
        }
        self._scalars(_TRAIN, of_train, step=epoch)
        with self._writers[_TRAIN].as_default():
            for variable in self._model.trainable_variables:
                write_histogram(f"weights/{variable.path}", variable.numpy(), step=epoch)
        of_validation = {
            "fit/loss": 1.0 - result.validation_cosine,
            "fit/cosine": result.validation_cosine,
            "fit/attention_offset": result.validation_attention,
            **{RANKING_TAGS[name]: value for name, value in result.validation_ranking.items()},
        }
        self._scalars(_VALIDATION, of_validation, step=epoch)
