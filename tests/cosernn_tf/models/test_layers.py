"""The layers on their own; their place in the model is in test_cosernn.py."""

import numpy as np
import pytest

from cosernn_tf.models.layers import LogStandardize, LongTermFusion, OneHot


def test_one_hot_of_a_row_outside_of_the_vocabulary_is_zero():
    encoded = OneHot(3)(np.array([[0, 2, 3, -1]], np.int32))
    np.testing.assert_array_equal(encoded[0], [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])


def test_log_standardize():
    layer = LogStandardize(mean=2.0, deviation=0.5)
    values = layer(np.array([[0.0, 9.0]], np.float32))
    np.testing.assert_allclose(values, [[[-4.0], [2 * np.log(10.0) - 4.0]]], rtol=1e-6)


@pytest.mark.parametrize("deviation", [0.0, -1.0])
def test_log_standardize_refuses_a_deviation_that_is_none(deviation):
    with pytest.raises(ValueError, match=r"deviation must be above 0, got"):
        LogStandardize(mean=0.0, deviation=deviation)


@pytest.mark.parametrize("layer", [OneHot(3), LogStandardize(mean=1.5, deviation=0.25)])
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
