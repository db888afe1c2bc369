"""The checks of every model fail for models that cheat, each in one way."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from cosernn_tf.models.base import PREDICTION
from cosernn_tf.windows import make_batch
from tests.cosernn_tf.models.checks import (
    assert_causal,
    assert_gradient_of_oracle,
    assert_padding_and_neighbours_are_nothing,
    gradients,
)
from tests.cosernn_tf.models.conftest import DATA, DEFAULTS, build, whole_users

HONEST = DEFAULTS["cosernn"]


class Cheat(keras.layers.Layer):
    """Gives another prediction; all have the same shape `(batch, sessions, dim)`."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self._change = change

    def call(self, inputs: Any) -> Any:
        return self._change(inputs)


def cheating(change: Callable[[Any], Any]) -> keras.Model:
    model = build(HONEST)
    return keras.Model(
        model.input, {**model.output, PREDICTION: Cheat(change)(model.output[PREDICTION])}
    )


def glimpse(u: Any) -> Any:
    """A thousandth of the next session's prediction."""
    return u + 1e-3 * ops.roll(u, -1, axis=1)


CHEATS = {
    "the next session": (glimpse, True),
    "the mean over all sessions": (lambda u: u - ops.mean(u, axis=1, keepdims=True), True),
    "the last session": (lambda u: u + 0.01 * u[:, -1:], True),
    "other users": (lambda u: u + 0.01 * ops.mean(u, axis=0, keepdims=True), False),
}
"""What they look at, and whether that is the user's own future."""


def test_an_honest_model_passes(table, data):
    model = cheating(lambda u: u)
    assert_causal(model, table, last=4)
    assert_padding_and_neighbours_are_nothing(model, table, data)


@pytest.mark.parametrize("cheat", [name for name, (_, own) in CHEATS.items() if own])
def test_a_model_that_looks_at_the_future_fails(table, cheat):
    with pytest.raises(AssertionError, match=r"[Nn]ot equal"):
        assert_causal(cheating(CHEATS[cheat][0]), table, last=4)


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_model_that_looks_at_padding_or_neighbours_fails(table, data, cheat):
    with pytest.raises(AssertionError, match=r"[Nn]ot equal"):
        assert_padding_and_neighbours_are_nothing(cheating(CHEATS[cheat][0]), table, data)


def test_a_gradient_that_is_wrong_for_one_weight_fails(table, data):
    batch = make_batch(data, whole_users(table).take(np.array([1, 2, 3])))
    model = build(HONEST)
    found = gradients(model, batch)
    for number, wrong in (
        (0, 0.0 * found[0]),
        (len(found) // 2, np.roll(found[len(found) // 2], 1)),
        (len(found) - 1, 1.1 * found[-1]),
    ):
        others = [*found[:number], wrong, *found[number + 1 :]]
        with pytest.raises(AssertionError):
            assert_gradient_of_oracle(model, HONEST, DATA, batch, others)
