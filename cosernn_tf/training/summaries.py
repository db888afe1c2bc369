"""What TensorBoard shows of a run, and when it is written."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import keras
import numpy as np
import tensorflow as tf

from cosernn_tf.config import TrainConfig
from cosernn_tf.evaluation import metrics
from cosernn_tf.evaluation.ranking_sample import SAMPLED_SESSIONS
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

_RANKING: Final = "ranking"
_CURVE: Final = "track_ranking"
_GRADIENT: Final = "step_gradient_norm"

STEPS_APART: Final = 10
"""Gradient steps from one that is shown to the next."""

_RUN: Final = "run"
"""What is said once of a run; the steps of the others are epochs, or gradient steps."""
_STEPS: Final = "steps"
_TRAIN: Final = "train"
_VALIDATION: Final = "validation"

RANKING_NAMES: Final = {
    **{metrics.session_rr(k): f"MRR@{k}" for k in metrics.SESSION_SIZES},
    **{metrics.ap(k): f"mAP@{k}" for k in metrics.TRACK_SIZES},
}
"""What the means over sessions of a metric are called."""

_DESCRIPTIONS: Final = {
    "fit/loss": "Of --loss, mean over training sessions.",
    "fit/cosine": "Of predictions and s⁺. That of train is of weights that still change, so it "
    "begins below that of validation; validation that falls while train rises is overfitting. "
    "That of validation is what epochs are compared by, unless `--best_by` says otherwise.",
    "fit/score": "By which the epoch is chosen that is kept (`--best_by`).",
    "fit/attention_offset": "Mean β̂: 1 is all on the offset û, 0 all on the long-term embedding.",
    "fit/attention": "β̂ of validation sessions: 1 is all on the offset û, 0 all on the long-term "
    "embedding. A user's first session has 1, for want of a long-term embedding.",
    "speed/sessions_per_second": "Training sessions, padding not counted.",
    "speed/seconds": "Of training and validation.",
    "step/loss": "Of one batch.",
    "step/gradient_norm": "Of all gradients, before clipping. Spikes call for `--clip_norm` or a "
    "lower `--learning_rate`.",
    _RANKING: f"Of up to {SAMPLED_SESSIONS:,} validation sessions, the same in every epoch, and in "
    "every run on the same log.",
    _CURVE: "Of the first 1, 2, ... candidates of each ranking, all sampled sessions together: at "
    "threshold 0.9 a tenth is taken. With all taken, on the right, precision is what a random "
    "order has everywhere.",
    _GRADIENT: "Norm of the gradients of a layer's weights, before clipping.",
}
"""By tag, or by what is before its `/`."""


def _described(tag: str) -> str:
    return _DESCRIPTIONS.get(tag) or _DESCRIPTIONS.get(tag.partition("/")[0], "")


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
        self._shown_step = self._step
        self._layers = [variable.path.partition("/")[0] for variable in model.trainable_variables]
        forget_after(self._directory / _TRAIN, epoch)
        forget_after(self._directory / _VALIDATION, epoch)
        forget_after(self._directory / _STEPS, self._step)
        shutil.rmtree(self._directory / _RUN, ignore_errors=True)
        self._writers = {
            name: tf.summary.create_file_writer(str(self._directory / name))
            for name in (_RUN, _STEPS, _TRAIN, _VALIDATION)
        }

    def start(self, config: TrainConfig, predictor: Predictor, feed: Feed) -> None:
        """Flags, graphs and the track space."""
        with self._writers[_RUN].as_default():
            # Four spaces make it preformatted text.
            flags = "".join(f"    {line}\n" for line in config.to_flags().splitlines())
            tf.summary.text("flags", flags, step=0)
            write_layer_graph("layers", self._model, step=0)
            tf.summary.graph(predictor.graph)
        write_track_space(self._directory / _RUN, feed.track_embeddings, feed.sessions.tracks)
        self.flush()

    def batch(self, result: StepResult) -> None:
        """One gradient step in `STEPS_APART`: its loss, rate and gradient norms."""
        # A step that a loss scale left out has not changed the optimizer's number.
        if self._step == self._shown_step or self._step % STEPS_APART:
            return
        if result.gradient_norms is None:
            return
        self._shown_step = self._step
        squares = np.square(result.gradient_norms.numpy().astype(np.float64))
        scalars = {
            "step/loss": result.loss / result.pairs,
            "step/learning_rate": float(self._optimizer.learning_rate.numpy()),
            "step/gradient_norm": np.sqrt(squares.sum()),
        }
        for layer in dict.fromkeys(self._layers):
            of_layer = np.array([name == layer for name in self._layers])
            scalars[f"{_GRADIENT}/{layer}"] = np.sqrt(squares[of_layer].sum())
        self._scalars(_STEPS, scalars, step=self._step)

    def epoch(self, result: EpochResult, validation: Validation) -> None:
        """All that is shown of an epoch."""
        epoch = result.epoch
        of_train = {
            "fit/loss": result.train_loss,
            "fit/cosine": result.train_cosine,
            "fit/attention_offset": result.train_attention,
            "speed/sessions_per_second": result.sessions_per_second,
            "speed/seconds": result.seconds,
        }
        of_validation = {
            "fit/cosine": result.validation_cosine,
            "fit/score": result.validation_score,
            "fit/attention_offset": result.validation_attention,
            **_by_tag(result.validation_ranking, f"{_RANKING}/"),
        }
        self._scalars(_TRAIN, of_train, step=epoch)
        self._scalars(_VALIDATION, of_validation, step=epoch)
        with self._writers[_TRAIN].as_default():
            for variable in self._model.trainable_variables:
                write_histogram(f"weights/{variable.path}", variable.numpy(), step=epoch)
        with self._writers[_VALIDATION].as_default():
            if validation.attention_counts is not None:
                write_binned(
                    "fit/attention",
                    validation.attention_counts,
                    ATTENTION_EDGES,
                    step=epoch,
                    description=_described("fit/attention"),
                )
            if validation.ranking is not None:
                for k, confusion in validation.ranking.confusion.items():
                    write_pr_curve(
                        f"{_CURVE}/{k}", confusion, step=epoch, description=_described(_CURVE)
                    )
        self.flush()

    def finish(self, config: TrainConfig, progress: Progress) -> None:
        """The run's row among others, in the tab "HParams"."""
        best = progress.best
        assert best is not None
        results = {
            "total/best_Cosine": best.validation_cosine,
            **_by_tag(best.validation_ranking, "total/best_"),
            "total/best_epoch": best.epoch,
            "total/train_cosine": best.train_cosine,
            "total/epochs": progress.epoch,
            "total/minutes": sum(epoch.seconds for epoch in progress.history) / 60,
            "total/weights": self._model.count_params(),
        }
        write_hparams(
            self._directory / _RUN,
            config.flag_values(),
            results,
            name=self._directory.parent.name,
        )

    def flush(self) -> None:
        """Puts on disk whatever has been told until now."""
        for writer in self._writers.values():
            writer.flush()

    @property
    def _step(self) -> int:
        return int(self._optimizer.iterations.numpy())

    def _scalars(self, name: str, values: Mapping[str, float | None], *, step: int) -> None:
        """Those that are not None."""
        with self._writers[name].as_default():
            for tag, value in values.items():
                if value is not None:
                    tf.summary.scalar(tag, value, step=step, description=_described(tag))


def _by_tag(means: Mapping[str, float], prefix: str) -> dict[str, float]:
    """`ranking_sample`'s means under the names that papers have for them."""
    return {f"{prefix}{RANKING_NAMES[name]}": value for name, value in means.items()}
