"""What models learn of logs whose optimum is known: all but all of it, and only from what has it.

From records on disk, by the feed and the trainer. Whatever is no baseline of §6.1 has to get there.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.models import MODELS
from cosernn_tf.prediction import Predictor
from cosernn_tf.schema import DEFAULT_FEATURES
from cosernn_tf.training.feed import Block, Feed
from cosernn_tf.windows import Windows, evaluation_windows
from tests.cosernn_tf.training.conftest import make_trainer, open_feed
from tests.cosernn_tf.training.planted import KAPPA, LOGS, Planted

BASELINES = ("jodie", "rrn", "latent_cross")
OURS = tuple(name for name in MODELS if name not in BASELINES)
SHARE = {"cosernn": 0.95, "encore": 0.9}
"""Of the optimum that is reached."""


@pytest.fixture(scope="module", params=LOGS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def log(name) -> Planted:
    return LOGS[name]()


@pytest.fixture(scope="module")
def feed(log, tmp_path_factory) -> Feed:
    return open_feed(log.write(tmp_path_factory.mktemp("planted")))


def held_out_cosines(
    feed: Feed, predict: Callable[[Block, Windows, np.ndarray], np.ndarray]
) -> np.ndarray:
    """(n,) of all sessions from validation on, whose rows of the block `predict` is told."""
    (block,) = feed.blocks()
    first = feed.sessions.manifest.split.validation_start
    windows = evaluation_windows(block.table, first=first, before=None, max_sessions=400)
    rows = np.flatnonzero(block.table.session_start >= first)
    assert len(rows) > 500
    return np.sum(predict(block, windows, rows) * block.data.target[rows], axis=1)


def best(log: Planted, feed: Feed) -> np.ndarray:
    """(n,) held-out cosines of the best prediction."""
    directions = {
        user: log.expected[start:end]
        for user, (start, end) in zip(
            log.table.user_id, pairwise(log.table.row_splits), strict=True
        )
    }

    def predict(block: Block, _: Windows, rows: np.ndarray) -> np.ndarray:
        vectors = np.concatenate([directions[user] for user in block.table.user_id])[rows]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return held_out_cosines(feed, predict)


def learnt(feed: Feed, run: Path, model: ModelConfig) -> float:
    """Mean held-out cosine of a trained model."""
    config = TrainConfig(
        model=model,
        # The optimum is that of the cosine.
        loss="cosine",
        learning_rate=0.005,
        batch_size=8,
        max_sessions=30,
        max_epochs=22,
        patience=5,
    )
    trained, trainer = make_trainer(feed, run, config)
    trainer.train()

    def predict(block: Block, windows: Windows, rows: np.ndarray) -> np.ndarray:
        found = Predictor(trained)(block.data, windows)
        np.testing.assert_array_equal(found.sessions, rows)
        return found.embeddings

    return float(held_out_cosines(feed, predict).mean())


def model_of(name: str, features: tuple[str, ...] = DEFAULT_FEATURES) -> ModelConfig:
    # Of 2,400 sessions attention learns much by heart, unless it is kept from that.
    dropout = 0.2 if name == "encore" else 0.0
    return ModelConfig(name, lstm_units=16, dense_units=64, features=features, dropout=dropout)


def without(feature: str) -> ModelConfig:
    return model_of("cosernn", tuple(name for name in DEFAULT_FEATURES if name != feature))


def test_what_is_expected_is_what_happens(log, feed):
    """Means over all sessions of which the same is known, and the optimum from them."""
    targets = log.vectors[log.table.track[:, 0]]
    known, group = np.unique(log.expected.round(6), axis=0, return_inverse=True)
    counts = np.bincount(group)
    means = np.zeros_like(known)
    np.add.at(means, group, targets)
    means /= counts[:, None]
    # Of a mean of n vectors of unit length, 1/√n bounds the deviation.
    deviations = np.linalg.norm(means - known, axis=1) * np.sqrt(counts)
    assert deviations.max() < 3.0
    assert deviations.mean() < 1.0
    cosines = best(log, feed)
    error = cosines.std() / np.sqrt(len(cosines))
    assert cosines.mean() == pytest.approx(log.optimum, abs=max(4 * error, 1e-6))
    assert 0.75 < log.optimum <= KAPPA


@pytest.mark.parametrize("model", OURS)
def test_a_model_comes_near_the_optimum(log, feed, tmp_path, model):
    assert learnt(feed, tmp_path / model, model_of(model)) > SHARE[model] * best(log, feed).mean()


ABLATED = {
    "context": [(without("context"), 0.1)],
    "sequence": [(without("last_session"), 0.3)],
    # No flag takes ū from CoSeRNN. The other has none, nor, of context alone, what came before.
    "taste and context": [
        (without("context"), 0.8),
        (model_of("latent_cross", ("context",)), 0.8),
    ],
}
"""Models that lack what carries it, and the share of the optimum that they stay below."""


def test_a_model_without_what_carries_it_does_not(name, log, feed, tmp_path):
    for number, (model, share) in enumerate(ABLATED[name]):
        cosine = learnt(feed, tmp_path / str(number), model)
        assert cosine < share * log.optimum, model
