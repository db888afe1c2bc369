"""Every model in plain NumPy, session by session, written from its paper's equations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from cosernn_tf.config import ModelConfig
from cosernn_tf.models.attention import RECENT
from cosernn_tf.models.data_spec import DataSpec, LogStatistics
from cosernn_tf.models.encore import HEADS, MEMORY
from cosernn_tf.schema import DAYS_OF_WEEK, DEVICES, HOURS

Weights = Mapping[str, np.ndarray]
Inputs = Mapping[str, np.ndarray]
Step = Mapping[str, Any]
"""Inputs of one session."""
Result = tuple[np.ndarray, np.ndarray | None]
"""U and [β̂, β̄] of a batch: `(batch, sessions, dim)`, `(batch, sessions, 2)` or None."""

ORDER = {"skipped": "skip", "played": "play", "all": "all"}
"""Names of pathways in flags and in layers, in the order in which they are concatenated."""


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    """Every weight in float64, by `layer/variable`."""
    found = {name: v.numpy().astype(np.float64) for name, v in variables_of(model).items()}
    assert len(found) == len(model.weights)
    return found


def variables_of(model: keras.Model) -> dict[str, keras.Variable]:
    return {
        f"{layer.name}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.weights
    }


def randomize(model: keras.Model, seed: int, *, scale: float = 0.5) -> None:
    """Weights, biases included, that are not small."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(random.normal(scale=scale, size=variable.shape))


# Parts -------------------------------------------------------------------------------------------


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x)


def dense(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    """FC_id."""
    return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]


def rnn_cell(weights: Weights, name: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    return np.tanh(dense(weights, name, x) + h @ weights[f"{name}/recurrent_kernel"])


def gru_cell(weights: Weights, name: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """With the reset gate after the matrix product, as cuDNN has it; two biases."""
    of_input, of_state = weights[f"{name}/bias"]
    z_x, r_x, g_x = np.split(x @ weights[f"{name}/kernel"] + of_input, 3)
    z_h, r_h, g_h = np.split(h @ weights[f"{name}/recurrent_kernel"] + of_state, 3)
    z, r = sigmoid(z_x + z_h), sigmoid(r_x + r_h)
    return z * h + (1 - z) * np.tanh(g_x + r * g_h)


def lstm_cell(
    weights: Weights, name: str, x: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    z = x @ weights[f"{name}/kernel"] + h @ weights[f"{name}/recurrent_kernel"]
    i, f, g, o = np.split(z + weights[f"{name}/bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def one_hot(row: int, size: int) -> np.ndarray:
    return np.eye(size)[row]


def standardized(value: float, statistics: LogStatistics) -> np.ndarray:
    return np.array([(np.log1p(float(value)) - statistics.mean) / statistics.deviation])


def context(x: Step) -> np.ndarray:
    """c_t."""
    return np.concatenate(
        [
            one_hot(x["day_of_week"], len(DAYS_OF_WEEK)),
            one_hot(x["hour"], HOURS),
            one_hot(x["device"], len(DEVICES)),
        ]
    )


def features(x: Step, pathway: str, config: ModelConfig, data: DataSpec) -> np.ndarray:
    """f_t of a pathway."""
    sources = data.num_stream_sources
    parts = {
        "context": context(x),
        "last_session": np.sqrt(40) * x[f"last_{pathway}"],
        "num_tracks": standardized(x["last_num_tracks"], data.last_num_tracks),
        "stream_source": one_hot(x["last_stream_source"], sources),
        "gap": standardized(x["seconds_since_last"], data.seconds_since_last),
        "current_stream_source": one_hot(x["current_stream_source"], sources),
    }
    return np.concatenate([part for name, part in parts.items() if name in config.features])


class Sequences:
    """Walks a batch session by session, with a state for each pathway."""

    def __init__(self, weights: Weights, config: ModelConfig, inputs: Inputs, *states: str) -> None:
        self._weights = weights
        self._inputs = inputs
        self._states = states
        self.pathways = {n: p for n, p in ORDER.items() if n in config.pathways}

    def walk(self, step: Callable[[Step, dict], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """`(batch, sessions, ...)` of each thing that `step(inputs of t, states)` returns."""
        batch, sessions = self._inputs["hour"].shape
        found = []
        for user in range(batch):
            age = self._inputs["age_bucket"][user]
            state = {
                path: [self._weights[f"{path}_initial_{s}/embeddings"][age] for s in self._states]
                for path in self.pathways.values()
            }
            for t in range(sessions):
                x = {
                    name: values[user] if values.ndim == 1 else values[user, t]
                    for name, values in self._inputs.items()
                }
                found.append(step(x, state))
        return [np.reshape(values, (batch, sessions, -1)) for values in zip(*found, strict=True)]


# Models ------------------------------------------------------------------------------------------


def cosernn(weights: Weights, config: ModelConfig, data: DataSpec, inputs: Inputs) -> Result:
    """§5.1."""
    sequences = Sequences(weights, config, inputs, "h", "c")

    def step(x: Step, state: dict) -> Sequence[np.ndarray]:
        for name, path in sequences.pathways.items():
            f = features(x, name, config, data)
            f = relu(dense(weights, "transform_2", relu(dense(weights, "transform_1", f))))
            state[path] = lstm_cell(weights, f"{path}_lstm", f, *state[path])
        o = np.concatenate([state[path][0] for path in sequences.pathways.values()])
        o = relu(dense(weights, "combine_2", relu(dense(weights, "combine_1", o))))
        offset, long_term = dense(weights, "offset", o), x["long_term"]
        beta = softmax(dense(weights, "attention_weights", o))
        if not long_term.any():
            beta = np.array([1.0, 0.0])
        return unit(beta[0] * offset + beta[1] * long_term), beta

    embeddings, attention = sequences.walk(step)
    return embeddings, attention


def jodie(weights: Weights, config: ModelConfig, data: DataSpec, inputs: Inputs) -> Result:
    """Kumar et al. 2019, §3.1 and 3.2: update, projection, prediction."""
    sequences = Sequences(weights, config, inputs, "u")

    def step(x: Step, state: dict) -> Sequence[np.ndarray]:
        elapsed = standardized(x["seconds_since_last"], data.seconds_since_last)
        projected, items = [], []
        for name, path in sequences.pathways.items():
            f = features(x, name, config, data)
            state[path] = [rnn_cell(weights, f"{path}_rnn", f, *state[path])]
            drift = elapsed @ weights[f"{path}_drift/kernel"]
            projected.append((1 + drift) * state[path][0])
            if "last_session" in config.features:
                items.append(np.sqrt(40) * x[f"last_{name}"])
        of_sessions = dense(weights, "of_sessions", np.concatenate([*projected, *items]))
        return [unit(of_sessions + static(weights, data, x) @ weights["of_user/kernel"])]

    return sequences.walk(step)[0], None


def rrn(weights: Weights, config: ModelConfig, data: DataSpec, inputs: Inputs) -> Result:
    """Wu et al. 2017, §3.1: the u with <ũ_t + u, m> = <ũ_t, m> + <u, m>."""
    sequences = Sequences(weights, config, inputs, "h", "c")

    def step(x: Step, state: dict) -> Sequence[np.ndarray]:
        for name, path in sequences.pathways.items():
            y = features(x, name, config, data) @ weights[f"{path}_embed/kernel"]
            state[path] = lstm_cell(weights, f"{path}_lstm", y, *state[path])
        states = np.concatenate([state[path][0] for path in sequences.pathways.values()])
        return [unit(dense(weights, "affine", states) + static(weights, data, x))]

    return sequences.walk(step)[0], None


def latent_cross(weights: Weights, config: ModelConfig, data: DataSpec, inputs: Inputs) -> Result:
    """Beutel et al. 2018, §5: h ∗ (1 + Σ w_k), the w_k being embeddings of context features."""
    sequences = Sequences(weights, config, inputs, "h")
    days, hours, devices = np.split(
        weights["context_embedding/kernel"], np.cumsum([len(DAYS_OF_WEEK), HOURS])
    )

    def step(x: Step, state: dict) -> Sequence[np.ndarray]:
        for name, path in sequences.pathways.items():
            f = features(x, name, config, data)
            state[path] = [gru_cell(weights, f"{path}_gru", f, *state[path])]
        h = np.concatenate([state[path][0] for path in sequences.pathways.values()])
        h = h * (1 + days[x["day_of_week"]] + hours[x["hour"]] + devices[x["device"]])
        return [unit(dense(weights, "output_layer", h))]

    return sequences.walk(step)[0], None


def encore(weights: Weights, config: ModelConfig, data: DataSpec, inputs: Inputs) -> Result:
    """A loop over everything that is remembered, head by head."""
    batch, sessions = inputs["seconds_since_last"].shape
    found = []
    for user in range(batch):
        steps = [
            {name: v[user] if v.ndim == 1 else v[user, t] for name, v in inputs.items()}
            for t in range(sessions)
        ]
        found += encore_of_user(weights, config, data, steps)
    return np.reshape(found, (batch, sessions, -1)), None


def encore_of_user(
    weights: Weights, config: ModelConfig, data: DataSpec, steps: Sequence[Step]
) -> list[np.ndarray]:
    pathways = [name for name in ORDER if name in config.pathways]
    has_context = "context" in config.features
    contexts = [context(x) if has_context else np.zeros(0) for x in steps]
    before = [np.zeros_like(contexts[0]), *contexts[:-1]]
    by_rank = [name for name in ("played", "all", "skipped") if name in pathways]
    vectors = [np.concatenate([x[f"last_{name}"] for name in by_rank]) for x in steps]
    summaries = [
        features(x, pathways[0], config, data)[len(c) + 40 :]
        for x, c in zip(steps, contexts, strict=True)
    ]
    of_last = [
        np.concatenate([*(np.sqrt(40) * x[f"last_{name}"] for name in pathways), summary])
        for x, summary in zip(steps, summaries, strict=True)
    ]
    keys = []
    for last, last_context in zip(of_last, before, strict=True):
        then = relu(dense(weights, "then", np.concatenate([last_context, last])))
        key = np.concatenate([then, last_context]) @ weights["key/kernel"]
        keys.append(key.reshape(HEADS, -1))

    found = []
    for t, x in enumerate(steps):
        age = weights["age/embeddings"][x["age_bucket"]]
        now = np.concatenate([contexts[t], of_last[t], np.sqrt(40) * x["long_term"], age])
        now = relu(dense(weights, "now_2", relu(dense(weights, "now_1", now))))
        query = dense(weights, "query", np.concatenate([now, contexts[t]])).reshape(HEADS, -1)
        decay = (weights["attention/decay"] + dense(weights, "decay", now)).reshape(HEADS, 2)
        means = np.zeros((HEADS, len(vectors[0])))
        remembered = [i for i in range(max(0, t - MEMORY + 1), t + 1) if vectors[i].any()]
        for head in range(HEADS if remembered else 0):
            logits = []
            for i in remembered:
                hours = sum(float(step["seconds_since_last"]) for step in steps[i : t + 1]) / 3600
                match = query[head] @ keys[i][head] / np.sqrt(len(query[head]))
                place = weights["attention/recent"][head, t - i] if t - i < RECENT else 0.0
                logits.append(match + place - decay[head] @ np.log1p([hours, t - i]))
            means[head] = softmax(np.array(logits)) @ np.array([vectors[i] for i in remembered])
        combined = np.concatenate([now, np.sqrt(40) * means[:, :40].ravel()])
        combined = relu(dense(weights, "combine_2", relu(dense(weights, "combine_1", combined))))
        values = np.vstack([x["long_term"], means.reshape(-1, 40)])
        found.append(
            unit(dense(weights, "offset", combined) + dense(weights, "weights", combined) @ values)
        )
    return found


def static(weights: Weights, data: DataSpec, x: Step) -> np.ndarray:
    """Of the user; row 0 is that of those who are not among the users."""
    name = x["user_id"].decode()
    row = 1 + data.users.index(name) if name in data.users else 0
    return weights["user/embeddings"][row]


ORACLES = {
    "cosernn": cosernn,
    "jodie": jodie,
    "rrn": rrn,
    "latent_cross": latent_cross,
    "encore": encore,
}


def predict(weights: Weights, config: ModelConfig, data: DataSpec, inputs: Inputs) -> Result:
    return ORACLES[config.name](weights, config, data, inputs)


def loss(predictions: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Σ (1 - uᵀs⁺) / n over the pairs, those with weight 1 (§5.2.1, decision 14)."""
    terms = [1.0 - predictions[user, t] @ target[user, t] for user, t in np.argwhere(weight == 1.0)]
    return float(sum(terms) / len(terms))
