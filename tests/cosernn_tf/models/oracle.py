"""CoSeRNN in plain NumPy, session by session, written from the equations of §5.1."""

from collections.abc import Mapping

import keras
import numpy as np

from cosernn_tf.models.base import DataSpec
from cosernn_tf.schema import DAYS_OF_WEEK, DEVICES, HOURS

Weights = Mapping[str, np.ndarray]


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Every weight in float64, by `layer/variable`."""
    found = {
        f"{layer.name}/{variable.name}": variable.numpy().astype(np.float64)
        for layer in model.layers
        for variable in layer.weights
    }
    assert len(found) == len(model.weights)
    return found


def randomize(model: keras.Model, seed: int, *, scale: float = 0.5) -> None:
    """Weights, biases included, that are not small."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(random.normal(scale=scale, size=variable.shape))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


def dense(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """FC_id."""
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def lstm_cell(
    weights: Weights, name: str, x: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    z = x @ weights[f"{name}/kernel"] + h @ weights[f"{name}/recurrent_kernel"]
    i, f, g, o = np.split(z + weights[f"{name}/bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def one_hot(row: int, size: int) -> np.ndarray:
    return np.eye(size)[row]


def cosernn(
    weights: Weights, data: DataSpec, inputs: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """U and [β̂, β̄] of a batch: `(batch, sessions, dim)`, `(batch, sessions, 2)`."""
    batch, sessions = inputs["hour"].shape
    embeddings, attention = [], []
    for user in range(batch):
        age = inputs["age_bucket"][user]
        state = {
            path: tuple(weights[f"{path}_initial_{part}/embeddings"][age] for part in "hc")
            for path in ("skip", "play")
        }
        for t in range(sessions):
            x = {name: values[user, t] for name, values in inputs.items() if name != "age_bucket"}
            context = [
                one_hot(x["day_of_week"], len(DAYS_OF_WEEK)),
                one_hot(x["hour"], HOURS),
                one_hot(x["device"], len(DEVICES)),
            ]
            gap, count = data.seconds_since_last, data.last_num_tracks
            summary = [
                [(np.log1p(float(x["last_num_tracks"])) - count.mean) / count.deviation],
                one_hot(x["last_stream_source"], data.num_stream_sources),
                [(np.log1p(float(x["seconds_since_last"])) - gap.mean) / gap.deviation],
            ]
            for path, last in (("skip", "last_skipped"), ("play", "last_played")):
                features = np.concatenate([*context, np.sqrt(40) * x[last], *summary])
                features = relu(dense(weights, "transform_1", features))
                features = relu(dense(weights, "transform_2", features))
                state[path] = lstm_cell(weights, f"{path}_lstm", features, *state[path])
            o = np.concatenate([state["skip"][0], state["play"][0]])
            o = relu(dense(weights, "combine_2", relu(dense(weights, "combine_1", o))))
            offset, long_term = dense(weights, "offset", o), x["long_term"]
            beta = softmax(dense(weights, "attention_weights", o))
            if not long_term.any():
                beta = np.array([1.0, 0.0])
            fused = beta[0] * offset + beta[1] * long_term
            embeddings.append(fused / np.linalg.norm(fused))
            attention.append(beta)
    shape = (batch, sessions, -1)
    return np.reshape(embeddings, shape), np.reshape(attention, shape)


def loss(predictions: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Σ (1 - uᵀs⁺) / n over the pairs, those with weight 1 (§5.2.1, decision 14)."""
    terms = [1.0 - predictions[user, t] @ target[user, t] for user, t in np.argwhere(weight == 1.0)]
    return float(sum(terms) / len(terms))
