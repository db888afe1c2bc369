"""A study in the tab "HParams" of TensorBoard: a row a trial."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import tensorflow as tf
from tensorboard.plugins.hparams import api

from cosernn_tf.summaries.formats import write_hparams as write_row
from experiments.tuning.report import figures_of
from experiments.tuning.space import Dimension, Space
from experiments.tuning.trials import Trial

TENSORBOARD: Final = "tensorboard"

_METRICS: Final = ("score", "best_epoch", "epochs", "sessions_per_second", "seconds")


def write_hparams(folder: Path, space: Space, trials: Sequence[Trial]) -> None:
    """Writes `folder` anew: what is searched, and of each trial its flags, state and figures."""
    shutil.rmtree(folder, ignore_errors=True)
    writer = tf.summary.create_file_writer(str(folder))
    with writer.as_default():
        api.hparams_config(
            hparams=[api.HParam(d.flag, _domain(d)) for d in space.dimensions],
            metrics=[api.Metric(name) for name in _METRICS],
        )
    writer.close()
    for trial in trials:
        flags = {**trial.flags, "state": str(trial.state)}
        write_row(folder / trial.name, flags, figures_of(trial), name=trial.name)


def _domain(dimension: Dimension) -> api.Domain:
    if not dimension.is_range:
        return api.Discrete(dimension.values)
    low, high = dimension.values
    if dimension.is_whole:
        return api.IntInterval(int(low), int(high))
    return api.RealInterval(float(low), float(high))
