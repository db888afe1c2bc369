"""Mixed precision: what stays float32, that it learns, and the scale of the loss."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.config import MODEL_NAMES, PRECISIONS, ModelConfig, TrainConfig
from cosernn_tf.errors import UserError
from cosernn_tf.models.base import load_model
from cosernn_tf.models.lstm import StackedLSTM
from cosernn_tf.prediction import Predictor, input_signature
from cosernn_tf.trained_run import open_trained_run
from cosernn_tf.training.precision import make_optimizer
from cosernn_tf.training.run import train_run
from cosernn_tf.training.step import TrainStep
from cosernn_tf.windows import (
    PackedBatch,
    Windows,
    make_batch,
    pack_batch,
    split_by_rows,
    training_windows,
)
from tests.cosernn_tf.training.conftest import CONFIG, make_trainer, new_model

MIXED = PRECISIONS[1:]


def in_precision(precision: str, **changes) -> TrainConfig:
    return dataclasses.replace(CONFIG, precision=precision, **changes)


@pytest.fixture(scope="module")
def windows(feed) -> Windows:
    (block,) = feed.blocks()
    found = training_windows(
        block.table, before=feed.sessions.manifest.split.validation_start, max_sessions=20
    )
    return found.take(np.argsort(found.lengths)[-6:])


@pytest.fixture(scope="module")
def parts(feed, windows) -> list[PackedBatch]:
    (block,) = feed.blocks()
    return [pack_batch(block.data, part) for part in split_by_rows(windows, max_rows=60)]


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="--precision=float16 is unknown: choose from float32, m"):
        TrainConfig(precision="float16")


@pytest.mark.parametrize(
    ("name", "precision"),
    [("cosernn", "mixed_float16"), *((name, "mixed_bfloat16") for name in MODEL_NAMES)],
)
def test_only_the_insides_are_of_low_precision(feed, windows, name, precision):
    config = in_precision(
        precision, model=dataclasses.replace(CONFIG.model, name=name, pathways=())
    )
    model = new_model(feed, config)
    assert keras.config.dtype_policy().name == "float32"
    assert {variable.dtype for variable in model.weights} == {"float32"}
    low = precision.removeprefix("mixed_")
    insides = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.RNN | keras.layers.Dense)
        and layer.name != "attention_weights"
    ]
    assert len(insides) > 2
    assert {layer.compute_dtype for layer in insides} == {low}
    (block,) = feed.blocks()
    batch = make_batch(block.data, windows)
    outputs = model({name: batch.inputs[name] for name in input_signature(model)})
    exact = new_model(feed, dataclasses.replace(config, precision="float32"))(
        {name: batch.inputs[name] for name in input_signature(model)}
    )
    for output, values in outputs.items():
        assert values.dtype == tf.float32
        difference = np.abs(values - exact[output]).max()
        assert 1e-6 < difference < (0.05 if low == "bfloat16" else 0.01)
    # An output that had been rounded would be off by more.
    lengths = np.linalg.norm(outputs["prediction"], axis=-1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-6)


def test_a_gap_that_float16_does_not_have_is_no_infinity(feed):
    layer = new_model(feed, in_precision("mixed_float16")).get_layer(
        "seconds_since_last_standardized"
    )
    seconds = np.array([[65_519.0, 65_520.0, 30 * 86_400.0]], np.float32)
    expected = (np.log1p(seconds) - layer.mean) / layer.deviation
    np.testing.assert_allclose(layer(seconds)[..., 0], expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_lstm_computes_in_its_precision(dtype):
    random = np.random.default_rng(0)
    sequences, h, c = (random.normal(size=shape) for shape in ((3, 7, 5), (3, 4), (3, 4)))
    inputs = [tf.constant(values, tf.float32) for values in (sequences, h, c)]
    exact = StackedLSTM(4)
    ours, keras_layer = (
        StackedLSTM(4, dtype=f"mixed_{dtype}"),
        keras.layers.LSTM(4, return_sequences=True, dtype=f"mixed_{dtype}", use_cudnn=False),
    )

    def run(layer):
        layer.build((None, None, 5))
        for variable, seed in zip(layer.weights, range(3), strict=True):
            variable.assign(np.random.default_rng(seed).normal(size=variable.shape))
        with tf.GradientTape() as tape:
            outputs = layer(inputs[0], initial_state=inputs[1:])
            loss = tf.reduce_sum(tf.square(tf.cast(outputs, tf.float32)))
        return outputs, tape.gradient(loss, [weight.value for weight in layer.weights])

    (expected, gradients), (found, rounded), (theirs, _) = map(run, (exact, ours, keras_layer))
    assert found.dtype == theirs.dtype == dtype
    tolerance = 0.02 if dtype == "bfloat16" else 0.003
    np.testing.assert_allclose(tf.cast(found, tf.float32), expected, atol=tolerance)
    for gradient, exactly in zip(rounded, gradients, strict=True):
        assert gradient.dtype == tf.float32
        np.testing.assert_allclose(gradient, exactly, atol=10 * tolerance)


@pytest.fixture(scope="module")
def losses(feed, tmp_path_factory):
    """Of every epoch, by precision."""
    found = {}
    for precision in PRECISIONS:
        run = tmp_path_factory.mktemp("runs") / precision
        _, trainer = make_trainer(feed, run, in_precision(precision, max_epochs=6))
        found[precision] = [epoch.train_loss for epoch in trainer.train()]
    return found


@pytest.mark.parametrize("precision", MIXED)
def test_training_learns_as_in_float32(losses, precision):
    exact, mixed = losses["float32"], losses[precision]
    assert mixed != exact
    assert exact[0] - exact[-1] > 0.1
    np.testing.assert_allclose(mixed, exact, atol=0.02)


def test_the_scale_of_the_loss_keeps_gradients_that_float16_does_not_have(feed, parts):
    """Unscaled they are below its least number, and descent would not see them."""
    config = in_precision("mixed_float16")

    def moved(scale):
        model = new_model(feed, config)
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0))
        step = TrainStep(model, optimizer, clip_norm=0.0)
        optimizer.dynamic_scale.assign(scale)
        before = model.get_weights()
        step(parts)
        return [after - b for after, b in zip(model.get_weights(), before, strict=True)]

    normal, lost = moved(2.0**10), moved(2.0**-24)
    length, of_lost = (sum(np.abs(change).sum() for change in moves) for moves in (normal, lost))
    assert length > 0.1
    assert of_lost < 0.5 * length


def test_a_gradient_beyond_float16_takes_no_step_and_halves_the_scale(feed, parts):
    config = in_precision("mixed_float16")
    model, optimizer = new_model(feed, config), make_optimizer(config)
    start = model.get_weights()
    step = TrainStep(model, optimizer, clip_norm=0.0)
    optimizer.dynamic_scale.assign(2.0**40)
    step(parts)
    for ours, before in zip(model.get_weights(), start, strict=True):
        np.testing.assert_array_equal(ours, before)
    assert float(optimizer.dynamic_scale) == 2.0**39
    assert int(optimizer.iterations) == 0
    for _ in range(39):
        assert np.isfinite(step(parts).loss)
    assert 1 <= int(optimizer.iterations) < 39
    assert not np.array_equal(model.get_weights()[0], start[0])


def test_gradients_are_clipped_whatever_the_scale_of_the_loss(feed, parts):
    def norm(precision, clip_norm):
        config = in_precision(precision)
        model = new_model(feed, config)
        optimizer = keras.optimizers.SGD(1.0)
        if precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**8)
        before = model.get_weights()
        TrainStep(model, optimizer, clip_norm=clip_norm)(parts)
        changes = [a - b for a, b in zip(model.get_weights(), before, strict=True)]
        return np.sqrt(sum(np.sum(np.square(change)) for change in changes))

    free = norm("float32", 0.0)
    assert free > 0.02
    assert norm("mixed_float16", 0.0) == pytest.approx(free, rel=0.05)
    for precision in PRECISIONS:
        assert norm(precision, 0.01) == pytest.approx(0.01, rel=1e-3)


def test_a_run_goes_on_where_it_was_stopped_with_the_scale_of_its_loss(feed, tmp_path):
    config = in_precision("mixed_float16", max_epochs=2)
    model, trainer = make_trainer(feed, tmp_path / "whole", config)
    whole = trainer.train()
    run = tmp_path / "halves"
    _, trainer = make_trainer(feed, run, dataclasses.replace(config, max_epochs=1))
    trainer.train()
    resumed, trainer = make_trainer(feed, run, config)
    assert [epoch.train_loss for epoch in trainer.train()] == [epoch.train_loss for epoch in whole]
    for ours, theirs in zip(resumed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_trained_model_is_saved_loaded_and_served_in_float32(workspace, feed):
    precision = "mixed_float16"
    config = in_precision(precision, max_epochs=1, model=ModelConfig(lstm_units=6, dense_units=10))
    path = train_run(workspace, config, run=precision)
    assert open_trained_run(workspace, precision).config == config
    model = load_model(path)
    assert model.get_layer("play_lstm").compute_dtype == "float16"
    (block,) = feed.blocks()
    windows = feed.validation_windows(block, max_sessions=20)
    embeddings = Predictor(model)(block.data, windows).embeddings
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)
    inputs = make_batch(block.data.only(config.model.inputs), windows).inputs
    serve = tf.saved_model.load(str(path / "export")).signatures["serving_default"]
    served = serve(**{name: tf.constant(values) for name, values in inputs.items()})
    assert served["prediction"].dtype == tf.float32
    np.testing.assert_allclose(served["prediction"], model(inputs)["prediction"], atol=1e-2)
