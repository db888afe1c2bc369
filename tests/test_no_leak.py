"""Nothing from validation on reaches a model: from two logs that differ in all of it, by the jobs.

What may differ is said here, too: rows of tracks that training does not know, and nothing else.
"""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.dataset import read_all
from cosernn_tf.models import MODELS, create
from cosernn_tf.schema import FEATURES, SESSION_FEATURES, Per
from cosernn_tf.training.feed import SESSIONS_PER_BLOCK, Feed
from cosernn_tf.training.loop import Trainer
from cosernn_tf.training.run import ensure_track_embeddings
from cosernn_tf.workspace import SessionsDirectory, open_sessions
from tests.another_future import FUTURES, LAST, VALIDATION_START, write_workspace

EPOCHS = 3
"""Patience ends none before; what validation says has no other say in the weights."""


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory):
    root = tmp_path_factory.mktemp("futures")
    return [write_workspace(root / name, name) for name in FUTURES]


@pytest.fixture(scope="module")
def directories(workspaces) -> list[SessionsDirectory]:
    return [open_sessions(workspace.sessions) for workspace in workspaces]


@pytest.fixture(scope="module")
def embeddings(workspaces, directories):
    """By word2vec on sessions, as training makes them."""
    return [
        ensure_track_embeddings(workspace, sessions, None).vectors
        for workspace, sessions in zip(workspaces, directories, strict=True)
    ]


def rows_of(sessions: SessionsDirectory) -> list[dict]:
    """Each session with the names of what it has."""
    table = read_all(sessions)
    tracks = [*sessions.tracks["track_id"].to_pylist(), None]
    columns = {}
    for feature in SESSION_FEATURES:
        values = getattr(table, feature.name)
        if feature.per is Per.USER:
            values = values[table.user_of_session]
        columns[feature.name] = values.tolist()
    columns["track"] = [[tracks[row] for row in listens] for listens in columns["track"]]
    columns["device"] = [sessions.devices[row] for row in columns["device"]]
    columns["stream_source"] = [sessions.stream_sources[row] for row in columns["stream_source"]]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


# What the test rests on: the past is the same, the future is not, and a leak would be seen --------


def test_the_logs_are_equal_until_validation_starts(directories):
    for sessions in directories:
        assert sessions.manifest.split.validation_start == VALIDATION_START
        assert sessions.manifest.last_timestamp == LAST
    first, second = (
        [row for row in rows_of(sessions) if row["session_start"] < VALIDATION_START]
        for sessions in directories
    )
    assert first == second
    assert len(first) > 300
    # A session that goes on when validation has started is one of training.
    assert max(row["session_start"] + 900 for row in first) > VALIDATION_START
    shards = [[bool(shard.users) for shard in s.manifest.shards] for s in directories]
    assert shards[0] != shards[1]


def test_the_logs_differ_in_everything_after(directories):
    first, second = (
        [row for row in rows_of(sessions) if row["session_start"] >= VALIDATION_START]
        for sessions in directories
    )
    assert 2 * len(first) < len(second)

    def values(rows: list[dict], *names: str) -> set[str]:
        return {str([row[name] for name in names]) for row in rows}

    assert not values(first, "device") & values(second, "device")
    assert not values(first, "user_id", "session_start") & values(
        second, "user_id", "session_start"
    )
    # Of a track or two, sessions may be equal by chance.
    first_long, second_long = (
        [row for row in rows if row["track"][2] is not None] for rows in (first, second)
    )
    assert not values(first_long, "track") & values(second_long, "track")
    assert values(first, "user_id") - values(second, "user_id")
    assert values(second, "user_id") - values(first, "user_id")


def test_statistics_of_the_whole_log_would_differ(directories):
    """In number, length, gap, listens of a track, sources and users: what models are told of."""
    tables = [read_all(sessions) for sessions in directories]
    for name in ("num_tracks", "seconds_since_last"):
        means = [np.log1p(getattr(table, name)[table.position > 0]).mean() for table in tables]
        assert abs(means[0] - means[1]) > 0.1, name
    known = Counter(directories[0].tracks["track_id"].to_pylist()[:40])
    orders = [
        [
            track
            for track, _ in Counter(
                track for row in rows_of(s) for track in row["track"] if track in known
            ).most_common(8)
        ]
        for s in directories
    ]
    assert not set(orders[0]) & set(orders[1])
    assert len({table.num_users for table in tables}) == 2
    assert any(source.startswith("un") for source in FUTURES["b"].sources if source)


# What training takes from the log -----------------------------------------------------------------


def test_vocabularies_order_what_training_knows_alike(directories):
    known = []
    for sessions in directories:
        listens = sessions.tracks["train_listens"].to_numpy()
        count = np.count_nonzero(listens)
        # Rows of tracks that training does not know come last; they may be others.
        assert (listens[:count] > 0).all()
        assert 0 < count < len(listens)
        known.append(sessions.tracks.slice(0, count))
    assert known[0].equals(known[1])
    assert directories[0].stream_sources == directories[1].stream_sources
    assert directories[0].devices == directories[1].devices
    rest = [sessions.tracks["track_id"][known[0].num_rows :] for sessions in directories]
    assert not set(rest[0].to_pylist()) & set(rest[1].to_pylist())


def test_track_embeddings_are_equal_where_training_knows_the_track(directories, embeddings):
    known = np.count_nonzero(directories[0].tracks["train_listens"].to_numpy())
    np.testing.assert_array_equal(embeddings[0][:known], embeddings[1][:known])
    assert embeddings[0][:known].any(axis=1).mean() > 0.9
    for vectors in embeddings:
        assert not vectors[known:].any()


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_is_told_of_the_data_is_equal(directories, embeddings, name):
    config = ModelConfig(name)
    first, second = (
        Feed(sessions, vectors, inputs=config.inputs)
        for sessions, vectors in zip(directories, embeddings, strict=True)
    )
    assert first.data_spec() == second.data_spec()
    assert first.training_pairs == second.training_pairs > 300


# Training -----------------------------------------------------------------------------------------


def last_state(run) -> dict[str, np.ndarray]:
    """Everything in the last checkpoint of weights and optimizer: no best epoch has a say in it."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(run / "checkpoints"))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith(("model/", "optimizer/"))
    }


@pytest.mark.parametrize(
    ("name", "sessions_per_block"),
    [*((name, SESSIONS_PER_BLOCK) for name in MODELS), ("cosernn", 200)],
)
def test_weights_are_equal(directories, embeddings, tmp_path, name, sessions_per_block):
    model = ModelConfig(name, lstm_units=6, dense_units=5, features=FEATURES)
    config = TrainConfig(
        model=model,
        learning_rate=0.01,
        batch_size=4,
        max_sessions=12,
        max_epochs=EPOCHS,
        patience=EPOCHS,
    )
    states, histories = [], []
    for number, (sessions, vectors) in enumerate(zip(directories, embeddings, strict=True)):
        keras.utils.set_random_seed(config.seed)
        run = tmp_path / str(number)
        run.mkdir()
        feed = Feed(sessions, vectors, inputs=model.inputs, sessions_per_block=sessions_per_block)
        built = create(model, feed.data_spec()).build()
        start = [variable.numpy() for variable in built.weights]
        histories.append(Trainer(built, feed, config, run).train())
        states.append(last_state(run))
    assert len(states[0]) > 2 * len(start)
    assert states[0].keys() == states[1].keys()
    for variable, values in states[0].items():
        np.testing.assert_array_equal(values, states[1][variable], err_msg=variable)
    losses, cosines = (
        [[getattr(epoch, field) for epoch in history] for history in histories]
        for field in ("train_loss", "validation_cosine")
    )
    assert losses[0] == losses[1]
    assert len(losses[0]) == EPOCHS
    # It did train, and on what follows it the models were told apart.
    assert losses[0][-1] < losses[0][0] - 0.01
    assert not set(cosines[0]) & set(cosines[1])
