"""The layers on their own; their place in the model is in test_cosernn.py."""

import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.models.layers import (
    ByteDropout,
    LogStandardize,
    LongTermFusion,
    Modulate,
    OneHot,
    UnitNorm,
    UserEmbedding,
    modulation,
)


def test_one_hot_of_a_row_outside_of_the_vocabulary_is_zero():
    encoded = OneHot(3)(np.array([[0, 2, 3, -1]], np.int32))
    np.testing.assert_array_equal(encoded[0], [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(("rate", "dropped"), [(0.1, 26), (0.5, 128), (0.001, 1), (0.999, 255)])
def test_dropout_drops_its_share_and_scales_the_rest(rate, dropped):
    layer = ByteDropout(rate, seed=1)
    # 3 values of the last word are not used.
    values = tf.random.uniform((1001, 1, 101), 1.0, 2.0, seed=2)
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = layer(values, training=True)
    gradient = tape.gradient(found, values).numpy()
    found, share = found.numpy(), dropped / 256
    assert abs((found == 0).mean() - share) < 5 * np.sqrt(share * (1 - share) / found.size)
    scale = np.where(found == 0, 0.0, 1 / (1 - share))
    np.testing.assert_allclose(found, values * scale, rtol=1e-6)
    np.testing.assert_allclose(gradient, scale, rtol=1e-6)
    assert not np.array_equal(found, layer(values, training=True))
    np.testing.assert_array_equal(found, ByteDropout(rate, seed=1)(values, training=True))
    np.testing.assert_array_equal(values, layer(values))


def test_log_standardize():
    layer = LogStandardize(mean=2.0, deviation=0.5)
    values = layer(np.array([[0.0, 9.0]], np.float32))
    np.testing.assert_allclose(values, [[[-4.0], [2 * np.log(10.0) - 4.0]]], rtol=1e-6)


@pytest.mark.parametrize("deviation", [0.0, -1.0])
def test_log_standardize_refuses_a_deviation_that_is_none(deviation):
    with pytest.raises(ValueError, match=r"deviation must be above 0, got"):
        LogStandardize(mean=0.0, deviation=deviation)


@pytest.mark.parametrize(
    "layer",
    [
        OneHot(3),
        ByteDropout(0.3, seed=7),
        LogStandardize(mean=1.5, deviation=0.25),
        UserEmbedding(["ü", "b\n"], 4),
    ],
)
def test_layers_come_back_from_their_configuration(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_fusion():
    offset = np.array([[[3.0, 0.0], [3.0, 0.0]]], np.float32)
    long_term = np.array([[[0.0, 1.0], [0.0, 0.0]]], np.float32)
    attention = np.array([[[0.2, 0.8], [0.2, 0.8]]], np.float32)
    embedding, used = LongTermFusion()([offset, long_term, attention])
    # 0.2 (3, 0) + 0.8 (0, 1) = (0.6, 0.8), which has unit length; û alone is scaled to it.
    np.testing.assert_allclose(embedding, [[[0.6, 0.8], [1.0, 0.0]]], atol=1e-6)
    np.testing.assert_allclose(used, [[[0.2, 0.8], [1.0, 0.0]]])


def test_modulation():
    states = np.array([[[2.0, -3.0, 4.0]]], np.float32)
    weights = np.array([[[0.0, 0.5, -2.0]]], np.float32)
    np.testing.assert_allclose(Modulate()([states, weights]), [[[2.0, -4.5, -4.0]]])


def test_modulation_begins_near_the_identity():
    layer = modulation(300, name="w")
    factors = layer(np.ones((1, 1, 1), np.float32)).numpy()
    assert abs(factors.mean()) < 0.01
    assert 0.04 < factors.std() < 0.06
    assert len(layer.weights) == 1  # nothing where nothing modulates


def test_unit_norm():
    vectors = np.array([[[3.0, 4.0], [0.0, 0.0]]], np.float32)
    np.testing.assert_allclose(UnitNorm()(vectors), [[[0.6, 0.8], [0.0, 0.0]]], atol=1e-6)


def test_user_embedding():
    """Ids are bytes to it, whatever is in them; all that it does not know share a row."""
    layer = UserEmbedding(["ü", "a b", "b\n"], 2)
    ids = ["b\n", "nobody", "ü", "", "a b", "b"]
    assert layer(np.array([name.encode() for name in ids], object)).shape == (6, 1, 2)
    layer.set_weights([np.arange(8.0).reshape(4, 2)])
    found = layer(np.array([*(name.encode() for name in ids), b"\xff"], object))
    np.testing.assert_array_equal(found[:, 0, 0] // 2, [3, 0, 1, 0, 2, 0, 0])
    np.testing.assert_array_equal(found[:, 0, 1] - found[:, 0, 0], np.ones(7))


def test_user_embedding_of_nobody():
    layer = UserEmbedding([], 3)
    assert layer(np.array([b"a", b"b"], object)).shape == (2, 1, 3)
    assert layer.embeddings.shape == (1, 3)


@pytest.mark.parametrize("layer", ["unit norm", "fusion"])
def test_the_gradient_of_unit_norm_at_zero(layer):
    """Below a length of 1e-6 it is linear, so that central differences are exact there."""
    random = np.random.default_rng(0)
    target, direction = random.normal(size=(2, 1, 1, 40)).astype(np.float32)
    zero = np.zeros_like(target)

    def cosine(vectors):
        if layer == "unit norm":
            unit = UnitNorm()(vectors)
        else:
            unit, _ = LongTermFusion()([vectors, zero, np.full((1, 1, 2), 0.5, np.float32)])
        return tf.reduce_sum(unit * target)

    offset = tf.constant(zero)
    with tf.GradientTape() as tape:
        tape.watch(offset)
        value = cosine(offset)
    assert float(value) == 0.0
    slope = float(tf.reduce_sum(tape.gradient(value, offset) * direction))
    step = 1e-9
    ahead, behind = (float(cosine(sign * step * direction)) for sign in (1, -1))
    assert np.isfinite(slope)
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-5)
