"""One step: parts without padding give the gradient of the whole batch, and the loss is a mean."""

import dataclasses
import functools
from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.config import MODEL_NAMES
from cosernn_tf.models import cosernn, jodie, latent_cross, recurrence, rrn
from cosernn_tf.models.base import ATTENTION, PREDICTION, inputs_of
from cosernn_tf.training.step import TrainStep
from cosernn_tf.windows import make_batch, pack_batch, split_by_rows, training_windows
from tests.cosernn_tf.training.conftest import CONFIG, new_model


@pytest.fixture(scope="module")
def data(feed):
    (block,) = feed.blocks()
    return block.data


@pytest.fixture(scope="module")
def windows(feed):
    (block,) = feed.blocks()
    found = training_windows(
        block.table, before=feed.sessions.manifest.split.validation_start, max_sessions=20
    )
    assert len(set(found.lengths)) > 4
    return found


@pytest.fixture(scope="module")
def model(feed):
    return new_model(feed)


@pytest.fixture(scope="module")
def step(model) -> TrainStep:
    """Of plain descent with rate 1; to trace the model takes longer than many steps."""
    return TrainStep(model, keras.optimizers.SGD(1.0), clip_norm=0.0)


def descend(model, parts, step):
    """The change of each weight by a step of plain descent with rate 1, and its result."""
    before = [variable.numpy() for variable in model.trainable_variables]
    result = step(parts)
    after = [variable.numpy() for variable in model.trainable_variables]
    for variable, values in zip(model.trainable_variables, before, strict=True):
        variable.assign(values)
    return [a - b for a, b in zip(after, before, strict=True)], result


def in_parts(data, windows):
    return [pack_batch(data, part) for part in split_by_rows(windows, max_rows=60)]


def test_parts_give_the_step_of_the_whole_batch(model, step, data, windows):
    parts = in_parts(data, windows)
    assert len(parts) > 2
    whole = pack_batch(data, windows)
    by_parts, result = descend(model, parts, step)
    at_once, expected = descend(model, [whole], step)
    assert result.pairs == expected.pairs == np.count_nonzero(whole.weight)
    assert result.loss == pytest.approx(expected.loss, rel=1e-5)
    assert result.cosine == pytest.approx(result.pairs - expected.loss, rel=1e-5)
    assert result.attention == pytest.approx(expected.attention, rel=1e-5)
    for ours, theirs in zip(by_parts, at_once, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert np.abs(theirs).max() > 1e-5


def of_keras(monkeypatch):
    """Models are made of the recurrent layers of Keras."""
    for module, ours, theirs in (
        (cosernn, "StackedLSTM", keras.layers.LSTM),
        (rrn, "StackedLSTM", keras.layers.LSTM),
        (jodie, "StackedRNN", keras.layers.SimpleRNN),
        (latent_cross, "StackedGRU", keras.layers.GRU),
    ):
        monkeypatch.setattr(module, ours, functools.partial(theirs, return_sequences=True))


# Encore has no recurrent layer.
@pytest.mark.parametrize(
    ("name", "on_gpu"),
    [pair for pair in product(MODEL_NAMES, (False, True)) if pair != ("encore", True)],
)
def test_without_padding_the_gradient_is_that_of_keras_on_padded_windows(
    monkeypatch, feed, data, windows, name, on_gpu
):
    """Of a GPU it is the way there and back that is tested: see `recurrence.PackedRNN`."""
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, name=name))
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, pathways=()))
    ours = new_model(feed, config)
    with monkeypatch.context() as patch:
        of_keras(patch)
        theirs = new_model(feed, config)
    kinds = {type(layer).__name__ for layer in theirs.layers}
    assert not any(kind.startswith("Stacked") for kind in kinds)
    for variable, other in zip(theirs.weights, ours.weights, strict=True):
        assert variable.path.split("/")[-1] == other.path.split("/")[-1]
        variable.assign(other)

    batch = make_batch(data, windows)
    assert batch.weight.size > 1.3 * windows.lengths.sum()
    pairs = batch.weight == 1.0
    with tf.GradientTape() as tape:
        outputs = theirs({name: batch.inputs[name] for name in inputs_of(theirs)})
        cosines = tf.reduce_sum(outputs[PREDICTION] * batch.target, axis=-1)
        loss = tf.reduce_mean(1.0 - cosines[pairs])
    expected = tape.gradient(loss, [variable.value for variable in theirs.trainable_variables])

    monkeypatch.setattr(recurrence, "has_gpu", lambda: on_gpu)
    step = TrainStep(ours, keras.optimizers.SGD(1.0), clip_norm=0.0)
    changes, result = descend(ours, [pack_batch(data, windows)], step)
    assert result.loss == pytest.approx(float(loss) * result.pairs, rel=1e-5)
    for change, gradient in zip(changes, expected, strict=True):
        np.testing.assert_allclose(change, -tf.convert_to_tensor(gradient), atol=1e-5)
        assert np.abs(change).max() > 1e-4


def test_a_step_forgets_the_one_before(model, step, data, windows):
    batch = [pack_batch(data, windows)]
    (first, _), (second, _) = (descend(model, batch, step) for _ in range(2))
    for ours, theirs in zip(second, first, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert np.abs(theirs).max() > 1e-5


def test_the_step_descends_the_mean_over_pairs(model, step, data, windows):
    batch = make_batch(data, windows)
    changes, result = descend(model, [pack_batch(data, windows)], step)
    with tf.GradientTape() as tape:
        outputs = model({name: batch.inputs[name] for name in inputs_of(model)})
        cosines = tf.reduce_sum(outputs[PREDICTION] * batch.target, axis=-1)
        losses = 1.0 - cosines[batch.weight == 1.0]
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for change, gradient in zip(changes, gradients, strict=True):
        np.testing.assert_allclose(change, -tf.convert_to_tensor(gradient), atol=1e-6)
    assert result.loss == pytest.approx(float(tf.reduce_sum(losses)), rel=1e-5)
    attention = outputs[ATTENTION].numpy()[batch.weight == 1.0][:, 0]
    assert result.attention == pytest.approx(attention.sum(), rel=1e-5)


def test_gradients_are_clipped_by_their_global_norm(model, step, data, windows):
    batch = [pack_batch(data, windows)]
    free, _ = descend(model, batch, step)
    clipping = TrainStep(model, keras.optimizers.SGD(1.0), clip_norm=1e-3)
    clipped, _ = descend(model, batch, clipping)
    norm = np.sqrt(sum(np.sum(np.square(change)) for change in free))
    assert norm > 1e-3
    for ours, theirs in zip(clipped, free, strict=True):
        np.testing.assert_allclose(ours, theirs * 1e-3 / norm, atol=2e-7)


def test_a_batch_without_a_pair_moves_nothing(model, data, windows):
    """Adam would, on its momentum."""
    step = TrainStep(model, keras.optimizers.Adam(0.1), clip_norm=0.0)
    batch = pack_batch(data, windows)
    before = [variable.numpy() for variable in model.trainable_variables]
    step(in_parts(data, windows))
    moved = [variable.numpy() for variable in model.trainable_variables]
    batch.weight[:] = 0.0
    result = step([batch])
    assert step.traces == 1
    after = [variable.numpy() for variable in model.trainable_variables]
    assert (result.loss, result.pairs) == (0.0, 0)
    for variable, start, once, twice in zip(
        model.trainable_variables, before, moved, after, strict=True
    ):
        assert not np.array_equal(start, once)
        np.testing.assert_array_equal(once, twice)
        variable.assign(start)


@pytest.fixture(scope="module")
def adam_step(model) -> TrainStep:
    return TrainStep(model, keras.optimizers.Adam(0.1), clip_norm=0.0)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e38])
def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(
    model, adam_step, data, windows, number
):
    """Nor one whose norm is not, though the loss is finite."""
    before = [variable.numpy() for variable in model.trainable_variables]
    for row, total in enumerate(adam_step._gradients):
        total.assign(np.full(total.shape, number if row == 1 else 0.0))
    result = adam_step([pack_batch(data, windows)])
    assert np.isfinite(result.loss)
    assert result.gradient_norms is not None
    assert np.isfinite(result.gradient_norms).sum() == len(before) - 1
    for variable, values in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), values)
    assert int(adam_step._optimizer.iterations) == 0
