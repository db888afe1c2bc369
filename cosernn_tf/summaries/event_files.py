"""Event files of a run that goes on: nothing in them is later than where it goes on from."""

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from absl import logging


def forget_after(directory: Path, step: int) -> None:
    """Removes the events of later steps, and what a killed process left half written.

    A run that was killed goes on from its last checkpoint, and will write the steps after it
    again: TensorBoard would show both. Each file is replaced as a whole.

    Args:
        directory: Of event files; it need not exist.
        step: The last one that stays.
    """
    for path in sorted(directory.glob("events.out.tfevents.*")):
        partial = path.with_name(f".{path.name}.partial")
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for record in _records(path):
                if tf.compat.v1.Event.FromString(record).step <= step:
                    writer.write(record)
        partial.replace(path)


def _records(path: Path) -> Iterator[bytes]:
    """The records of a file, up to where it breaks off."""
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            yield record.numpy()
    except tf.errors.DataLossError:
        logging.info("The last event of %s was not written to its end: left out", path)
