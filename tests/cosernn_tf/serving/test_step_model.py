"""One session at a time against the batch model, for every model."""

import functools

import numpy as np
import pytest

from cosernn_tf.config import ModelConfig
from cosernn_tf.features import embed_sessions
from cosernn_tf.models.encore import MEMORY
from cosernn_tf.prediction import Predictor
from cosernn_tf.schema import MODEL_INPUTS, Per
from cosernn_tf.serving.step_model import Outputs, StepModel
from cosernn_tf.table import SessionTable
from cosernn_tf.windows import SequenceData, sequence_data
from tests.cosernn_tf.models.conftest import CASES, DEFAULTS, build, whole_users
from tests.workspaces import random_embeddings, random_table

TESTED = {
    **DEFAULTS,
    **{name: CASES[name] for name in ("rrn with current_stream_source", "encore of what it needs")},
}


@functools.cache
def stepped_of(config: ModelConfig) -> StepModel:
    """To trace a model takes longer than to step it."""
    return StepModel(build(config))


@pytest.fixture(scope="module")
def table() -> SessionTable:
    return random_table(3, num_users=6, sessions_per_user=[9, 30, 25, 4, 20, 15])


@pytest.fixture(scope="module")
def data(table) -> SequenceData:
    return sequence_data(table, embed_sessions(table, random_embeddings()))


def inputs_at(data: SequenceData, users: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    return {
        spec.name: data.inputs[spec.name][users if spec.per is Per.USER else rows]
        for spec in MODEL_INPUTS
    }


def new_state(model: StepModel, users: int) -> dict[str, np.ndarray]:
    return {name: np.zeros((users, *part.shape), part.dtype) for name, part in model.state.items()}


@pytest.mark.parametrize("case", TESTED)
def test_steps_give_the_predictions_of_whole_sequences(case, table, data):
    assert_steps_are_batches(TESTED[case], table, data)


def test_encore_forgets_the_sessions_that_a_batch_does_not_look_at():
    lengths = [9, MEMORY + 40]
    table = random_table(5, num_users=2, sessions_per_user=lengths)
    assert np.diff(table.row_splits).max() > MEMORY + 10
    data = sequence_data(table, embed_sessions(table, random_embeddings()))
    assert_steps_are_batches(DEFAULTS["encore"], table, data)


def assert_steps_are_batches(config: ModelConfig, table: SessionTable, data: SequenceData) -> None:
    model, stepped = build(config), stepped_of(config)
    expected = Predictor(model)(data, whole_users(table))
    lengths = np.diff(table.row_splits)
    state = new_state(stepped, table.num_users)
    found = np.zeros_like(expected.embeddings)
    attention = np.zeros((len(found), 2), np.float32)
    for number in range(lengths.max()):
        (users,) = np.nonzero(lengths > number)
        rows = table.row_splits[users] + number
        inputs = inputs_at(data, users, rows)
        before = {name: values[users] for name, values in state.items()}
        only = stepped.predict(inputs, before)
        prediction, after = stepped(inputs, before)
        np.testing.assert_allclose(only.embeddings, prediction.embeddings, atol=1e-6)
        found[rows] = prediction.embeddings
        if prediction.attention is not None:
            attention[rows] = prediction.attention
        for name in state:
            state[name][users] = after[name]
    np.testing.assert_allclose(found, expected.embeddings, atol=1e-5)
    if expected.attention is None:
        assert prediction.attention is None
    else:
        np.testing.assert_allclose(attention, expected.attention, atol=1e-5)
    assert state["sessions"].tolist() == lengths.tolist()


def test_the_past_matters(default, table, data):
    """Else that test would pass for a model that forgets."""
    stepped = stepped_of(default)
    users, rows = np.array([2]), table.row_splits[2:3] + 5
    zero = new_state(stepped, 1)
    _, after = stepped(inputs_at(data, users, rows), zero)
    fresh, later = (
        stepped.predict(inputs_at(data, users, rows + 1), state) for state in (zero, after)
    )
    assert isinstance(fresh, Outputs)
    assert np.abs(fresh.embeddings - later.embeddings).max() > 1e-3


def test_users_of_a_batch_are_apart(default, table, data):
    stepped = stepped_of(default)
    users = np.array([1, 2, 4, 5])
    rows = table.row_splits[users] + 3
    inputs = inputs_at(data, users, rows)
    state = {
        name: np.random.default_rng(0).normal(size=values.shape).astype(values.dtype)
        for name, values in new_state(stepped, 4).items()
    }
    state["sessions"] = np.array([3, 0, 3, 3], np.int32)
    together, after = stepped(inputs, state)
    for row in range(len(users)):
        one = slice(row, row + 1)
        alone, after_alone = stepped(
            {name: values[one] for name, values in inputs.items()},
            {name: values[one] for name, values in state.items()},
        )
        np.testing.assert_allclose(alone.embeddings, together.embeddings[one], atol=1e-6)
        for name in state:
            np.testing.assert_allclose(after_alone[name], after[name][one], atol=1e-5)
    nobody = {name: values[:0] for name, values in inputs.items()}
    assert stepped.predict(nobody, new_state(stepped, 0)).embeddings.shape == (0, 40)


@pytest.fixture(params=DEFAULTS)
def default(request):
    return DEFAULTS[request.param]
