"""Event files as TensorBoard reads them, and as they are."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext


def records(directory: Path) -> Iterator[tuple[int, tf.compat.v1.Summary.Value]]:
    """(step, value) of all events."""
    paths = [str(path) for path in sorted(directory.glob("events.*"))]
    for record in tf.data.TFRecordDataset(paths):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            yield event.step, value


def read(directory: Path) -> dict[str, dict[int, np.ndarray]]:
    """Values by tag and step; a step that is there twice is an error."""
    found: dict[str, dict[int, np.ndarray]] = {}
    for step, value in records(directory):
        steps = found.setdefault(value.tag, {})
        assert step not in steps, (value.tag, step)
        steps[step] = tf.make_ndarray(value.tensor)
    return found


def context(directory: Path) -> TBContext:
    """What TensorBoard gives its plugins, of the runs in a directory."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(directory))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(directory))
    return TBContext(data_provider=provider, logdir=str(directory), multiplexer=multiplexer)
