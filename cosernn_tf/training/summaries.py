"""What TensorBoard shows of a run."""

from pathlib import Path
from typing import Final

import tensorflow as tf

from cosernn_tf.config import TrainConfig
from cosernn_tf.training.progress import EpochResult

TENSORBOARD: Final = "tensorboard"


class Summaries:
    """Event files of one run."""

    def __init__(self, run: Path, config: TrainConfig) -> None:
        self._writers = {
            name: tf.summary.create_file_writer(str(run / TENSORBOARD / name))
            for name in ("train", "validation")
        }
        with self._writers["train"].as_default():
            # Four spaces make it preformatted text.
            flags = "".join(f"    {line}\n" for line in config.to_flags().splitlines())
            tf.summary.text("flags", flags, step=0)

    def epoch(self, result: EpochResult) -> None:
        """Scalars of an epoch."""
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
            with self._writers[name].as_default():
                for tag, value in values.items():
                    if value is not None:
                        tf.summary.scalar(tag, value, step=result.epoch)
        self.flush()

    def flush(self) -> None:
        """Puts on disk whatever has been told until now."""
        for writer in self._writers.values():
            writer.flush()
