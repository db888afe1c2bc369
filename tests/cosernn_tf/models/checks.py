"""What every model must pass, as functions: test_checks.py shows that models which cheat do not."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cosernn_tf.config import ModelConfig
from cosernn_tf.features import embed_sessions
from cosernn_tf.models.base import PREDICTION, cosine_loss_sum
from cosernn_tf.prediction import Predictor
from cosernn_tf.schema import MODEL_INPUTS, SESSION_FEATURES, Per
from cosernn_tf.table import SessionTable
from cosernn_tf.training.step import TrainStep
from cosernn_tf.windows import Batch, PackedBatch, SequenceData, make_batch, sequence_data
from tests.cosernn_tf.models import oracle
from tests.cosernn_tf.models.conftest import call, whole_users
from tests.workspaces import random_embeddings


def assert_causal(model: keras.Model, table: SessionTable, *, last: int) -> None:
    """Nothing of sessions after position `last`, nor the tracks of that one, has a say up to it.

    Through the whole chain, from the table on.
    """
    embeddings = random_embeddings()
    position = table.position
    predictor = Predictor(model)

    def predictions(changed: SessionTable) -> np.ndarray:
        data = sequence_data(changed, embed_sessions(changed, embeddings))
        return predictor(data, whole_users(changed)).embeddings

    random = np.random.default_rng(0)
    after, own = position > last, position >= last
    columns = {}
    for feature in SESSION_FEATURES:
        values = getattr(table, feature.name).copy()
        if feature.per is not Per.USER:
            # A prediction may use context, and time since, of its own session (§5.1.2).
            is_context = feature.name in (
                "session_start", "day_of_week", "hour", "device", "seconds_since_last"
            )  # fmt: skip
            rows = np.flatnonzero(after if is_context else own)
            values[rows] = values[random.permutation(rows)]
        columns[feature.name] = values
    before = predictions(table)
    changed = predictions(dataclasses.replace(table, **columns))
    np.testing.assert_array_equal(changed[~after], before[~after])
    assert np.abs(changed[after] - before[after]).max() > 1e-2

    keep = ~after
    lengths = np.bincount(table.user_of_session[keep], minlength=table.num_users)
    shorter = dataclasses.replace(
        table,
        row_splits=np.concatenate([[0], np.cumsum(lengths)]),
        **{
            feature.name: getattr(table, feature.name)[keep]
            for feature in SESSION_FEATURES
            if feature.per is not Per.USER
        },
    )
    np.testing.assert_allclose(predictions(shorter), before[keep], atol=1e-6)


def assert_padding_and_neighbours_are_nothing(
    model: keras.Model, table: SessionTable, data: SequenceData
) -> None:
    """To the predictions and gradients of windows of unlike lengths, whatever the padding holds."""
    windows = whole_users(table).take(np.array([0, 2, 5]))
    assert len(set(windows.lengths)) == 3
    batch = make_batch(data, windows)
    together = call(model, batch)
    for row, length in enumerate(windows.lengths):
        alone = call(model, make_batch(data, windows.take(np.array([row]))))
        for name, values in alone.items():
            np.testing.assert_allclose(together[name][row, :length], values[0], atol=1e-6)

    padding = np.arange(windows.lengths.max()) >= windows.lengths[:, None]
    filled = _with_other_sessions(batch, data, padding)
    outputs = call(model, filled)
    for name, values in together.items():
        np.testing.assert_allclose(outputs[name][~padding], values[~padding], atol=1e-6)
    for ours, theirs in zip(gradients(model, filled), gradients(model, batch), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6 * max(1.0, np.abs(theirs).max()))


def _with_other_sessions(batch: Batch, data: SequenceData, where: np.ndarray) -> Batch:
    """The batch with inputs and targets of any sessions there."""
    rows = np.random.default_rng(0).integers(0, len(data.target), where.shape)

    def filled(values: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.where(where.reshape(*where.shape, *[1] * (values.ndim - 2)), other[rows], values)

    inputs = {
        spec.name: batch.inputs[spec.name]
        if spec.per is Per.USER
        else filled(batch.inputs[spec.name], data.inputs[spec.name])
        for spec in MODEL_INPUTS
    }
    return dataclasses.replace(batch, inputs=inputs, target=filled(batch.target, data.target))


# Gradients ---------------------------------------------------------------------------------------


def gradients(model: keras.Model, batch: Batch) -> list[np.ndarray]:
    """Of the mean loss, of every weight of `oracle.variables_of`."""
    variables = [variable.value for variable in oracle.variables_of(model).values()]
    with tf.GradientTape() as tape:
        prediction = call(model, batch, training=True)[PREDICTION]
        loss = cosine_loss_sum(prediction, batch.target, batch.weight) / batch.weight.sum()
    return [tf.convert_to_tensor(g).numpy() for g in tape.gradient(loss, variables)]


def step_gradients(model: keras.Model, parts: list[PackedBatch]) -> list[np.ndarray]:
    """The same as training takes them: compiled, packed, in parts; the weights stay as they are."""
    variables = list(oracle.variables_of(model).values())
    before = [variable.numpy() for variable in variables]
    TrainStep(model, keras.optimizers.SGD(1.0), clip_norm=0.0)(parts)
    after = [variable.numpy() for variable in variables]
    for variable, values in zip(variables, before, strict=True):
        variable.assign(values)
    return [old - new for old, new in zip(before, after, strict=True)]


def assert_gradient_of_oracle(
    model: keras.Model,
    config: ModelConfig,
    data_spec: Any,
    batch: Batch,
    found: list[np.ndarray],
    *,
    directions: int = 1,
) -> None:
    """Compares with central differences of the oracle's loss along random directions.

    For each weight by itself, and for all of them at once. The oracle counts in float64: with steps
    of 1e-6 its differences are off by 1e-10 from rounding, and by 1e-12 of the third derivative, so
    that all of the tolerance is the model's, which counts in float32: it sums over sessions and
    steps what may cancel, and 1e-4 of the gradient's length is a thousand times its precision. A
    direction at random of n places sees 1/√n of that length, 1/45 for the largest weights here.
    """
    weights = oracle.weights_of(model)
    found_by_name = dict(zip(weights, found, strict=True))
    random = np.random.default_rng(0)

    def loss_at(changes: Mapping[str, np.ndarray]) -> float:
        moved = {name: values + changes.get(name, 0.0) for name, values in weights.items()}
        predictions, _ = oracle.predict(moved, config, data_spec, batch.inputs)
        return oracle.loss(predictions, batch.target, batch.weight)

    step = 1e-6
    for names in [*([name] for name in weights), list(weights)]:
        length = np.sqrt(sum(np.square(found_by_name[name]).sum() for name in names))
        for _ in range(directions):
            direction = {name: random.normal(size=weights[name].shape) for name in names}
            scale = np.sqrt(sum(np.square(values).sum() for values in direction.values()))
            direction = {name: values / scale for name, values in direction.items()}
            ahead, behind = (
                loss_at({name: sign * step * values for name, values in direction.items()})
                for sign in (1, -1)
            )
            expected = (ahead - behind) / (2 * step)
            slope = sum(np.sum(found_by_name[name] * direction[name]) for name in names)
            assert abs(slope - expected) < 1e-4 * length + 1e-7, (names, slope, expected)
