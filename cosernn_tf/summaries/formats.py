"""Summaries that `tf.summary` lacks, or computes in a way that is too dear for all weights."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.graph import metadata as graph_metadata
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api as hparams_api
from tensorboard.plugins.pr_curve import metadata as pr_curve_metadata

BINS: Final = 30
"""Of a histogram; what TensorBoard itself takes."""

_PRECISION_RECALL_ROWS: Final = 6


def write_histogram(tag: str, values: np.ndarray, *, step: int, description: str = "") -> None:
    """A histogram of all values, in `BINS` equal bins between the least and the greatest.

    `tf.summary.histogram` makes 240 bytes of each value on the way, too much for tables of users.
    """
    # Between weights that are nearly equal, as after a first step, float32 has no room for edges.
    low, high = np.array([values.min(), values.max()] if values.size else [0, 1], np.float64)
    if low == high:
        margin = max(0.5, abs(low) * 2.0**-20)
        low, high = low - margin, high + margin
    counts = np.histogram(values, BINS, range=(low, high))
    write_binned(tag, *counts, step=step, description=description)


def write_binned(
    tag: str, counts: np.ndarray, edges: np.ndarray, *, step: int, description: str = ""
) -> None:
    """A histogram that is counted already.

    Args:
        tag: Its name.
        counts: (bins,) values in each.
        edges: (bins + 1,) ascending.
        step: Where on the axis.
        description: Markdown, shown beside it.
    """
    tf.summary.write(
        tag,
        np.stack([edges[:-1], edges[1:], counts], axis=1).astype(np.float64),
        step=step,
        metadata=histogram_metadata.create_summary_metadata(None, description),
    )


def write_pr_curve(tag: str, confusion: np.ndarray, *, step: int, description: str = "") -> None:
    """A precision-recall curve.

    Args:
        tag: Its name.
        confusion: (4, n) true positives, false positives, true negatives and false negatives at
            thresholds 0, 1 / (n - 1), ..., 1.
        step: Where on the slider.
        description: Markdown, shown beside it.
    """
    true_positives, false_positives, _, false_negatives = confusion.astype(np.float64)
    # TensorBoard leaves out the thresholds at which nothing is taken, 0/0.
    precision = true_positives / np.maximum(true_positives + false_positives, 1)
    recall = true_positives / np.maximum(true_positives + false_negatives, 1)
    rows = np.stack([*confusion, precision, recall]).astype(np.float32)
    assert rows.shape[0] == _PRECISION_RECALL_ROWS
    tf.summary.write(
        tag,
        rows,
        step=step,
        metadata=pr_curve_metadata.create_summary_metadata(None, description, rows.shape[1]),
    )


def write_layer_graph(tag: str, model: keras.Model, *, step: int) -> None:
    """The layers of a functional model, for "Conceptual graph" of TensorBoard's tab "Graphs".

    TensorBoard reads Keras' own description of a model, but fails on one whose outputs have names,
    does not see what a layer takes by name, and needs no settings: this is what it understands.
    """
    layers = [_described(layer) for layer in model.get_config()["layers"]]
    outputs = [[name, 0, 0] for name in model.output_names]
    description = {
        "class_name": "Functional",
        # A name would be a box around all layers, closed at first.
        "config": {"name": "", "layers": layers, "output_layers": outputs},
    }
    metadata = tf.compat.v1.SummaryMetadata(
        plugin_data={"plugin_name": graph_metadata.PLUGIN_NAME_KERAS_MODEL, "content": b"1"}
    )
    tf.summary.write(tag, json.dumps(description), step=step, metadata=metadata)


def _described(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A layer with its name and what it takes, all as arguments without a name."""
    takes = [{"config": tensor} for tensor in _tensors(layer["inbound_nodes"])]
    return {
        "class_name": layer["class_name"],
        "config": {"name": layer["config"]["name"]},
        "inbound_nodes": [{"args": takes}],
    }


def _tensors(of: Any) -> Iterator[dict[str, Any]]:
    """Descriptions of tensors anywhere in a layer's arguments."""
    if isinstance(of, Mapping):
        if "keras_history" in of:
            yield {"keras_history": of["keras_history"]}
        else:
            for value in of.values():
                yield from _tensors(value)
    elif isinstance(of, list | tuple):
        for value in of:
            yield from _tensors(value)


def write_hparams(
    directory: Path,
    hparams: Mapping[str, bool | int | float | str],
    metrics: Mapping[str, float],
    *,
    name: str,
) -> None:
    """One row of the tab "HParams": a run's settings, and what came of them.

    Args:
        directory: Of this row alone: TensorBoard takes all scalars there for results.
        hparams: By name. All rows should have the same names.
        metrics: By name; shown as scalars, too.
        name: Of the row; rows of one name would be taken for repetitions of each other.
    """
    writer = tf.summary.create_file_writer(str(directory))
    with writer.as_default():
        hparams_api.hparams(dict(hparams), trial_id=name)
        for metric, value in metrics.items():
            tf.summary.scalar(metric, value, step=0)
    writer.close()
