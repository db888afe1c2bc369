"""Listens as they come against the batch model on the pipeline's sessions, for every model."""

import dataclasses
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize
from cosernn_tf.dataset import read_all
from cosernn_tf.models.base import MODEL_FILE
from cosernn_tf.prediction import Predictions
from cosernn_tf.retrieval.index import build_index
from cosernn_tf.runs import INDEX
from cosernn_tf.schema import DEVICES, LISTEN_SCHEMA
from cosernn_tf.serving.listens import FIELDS, Context, Listen, Outcome, ordered, values
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.serving.store import MemoryStore, UserUpdate
from cosernn_tf.table import SessionTable
from cosernn_tf.trained_run import TrainedRun
from cosernn_tf.workspace import Workspace, open_sessions
from tests.cosernn_tf.models.oracle import randomize
from tests.cosernn_tf.retrieval.runs import write_run
from tests.cosernn_tf.serving.conftest import batch_predictions, recommender_of
from tests.cosernn_tf.serving.listening import (
    UNKNOWN_TRACK,
    of_sessions,
    random_listens,
    sequenced,
    shuffled,
)
from tests.workspaces import STREAM_SOURCES, write_tracks


def context_of(run: TrainedRun, table: SessionTable, row: int, listens: list[Listen]) -> Context:
    """That in which a session of the table started."""
    offset = ordered(listens)[0].utc_offset_minutes or 0
    takes_source = "current_stream_source" in run.config.model.features
    return Context(
        datetime.fromtimestamp(int(table.session_start[row]), timezone(timedelta(minutes=offset))),
        DEVICES[table.device[row]],
        STREAM_SOURCES[table.stream_source[row]] if takes_source else None,
    )


@pytest.fixture(scope="module")
def recommenders() -> dict[str, Recommender]:
    """By run; to open one takes longer than to ask it."""
    return {}


WAYS = {"one by one": ("user-1", "ada"), "batch": ("user-3", "bob"), "any order": ("user-4", "eve")}
"""Each with users of its own, one of whom the models know."""


@pytest.mark.parametrize("way", WAYS)
def test_listens_as_they_come_give_the_batch_predictions(run, way, recommenders):
    listens = random_listens(1, users=WAYS[way], sessions=14, is_short=way == "any order")
    table = sequenced(listens)
    expected = batch_predictions(run, table)
    recommender = recommenders.get(run.path.name) or recommender_of(run)
    recommenders[run.path.name] = recommender
    own = of_sessions(listens, table)
    users = [user.decode() for user in table.user_id[table.user_of_session]]
    # The users take turns.
    for row in np.argsort(table.position, kind="stable").tolist():
        context = context_of(run, table, row, own[row])
        found = recommender.predict(users[row], context)
        np.testing.assert_allclose(found.embedding, expected.embeddings[row], atol=1e-5)
        assert found.earlier_sessions == table.position[row]
        if expected.attention is not None:
            assert found.attention is not None
            np.testing.assert_allclose(found.attention, expected.attention[row], atol=1e-5)
        if way == "batch":
            outcomes = recommender.observe_many(shuffled(own[row], row))
        else:
            order = own[row] if way == "one by one" else shuffled(own[row], row)
            outcomes = [recommender.observe(listen) for listen in order]
        assert set(outcomes) == {Outcome.ACCEPTED}
    assert table.num_sessions > 25


# From the log, and on from there -----------------------------------------------------------------


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> tuple[list[Listen], SessionTable, Recommender]:
    """Listens, the sessions that the job makes of them, and a recommender that has seen nothing."""
    folder = tmp_path_factory.mktemp("logged")
    users = ("user-1", "user-3", "ada", "bob", "eve")
    listens = [
        # The job knows no track that nobody listened to.
        replace(listen, track_id=listen.track_id.replace(UNKNOWN_TRACK, "track-7"))
        for listen in random_listens(7, users=users, sessions=90)
    ]
    listens = list({listen.key: listen for listen in listens}.values())
    rows = [dict(zip(FIELDS, values(listen), strict=True)) for listen in shuffled(listens, 0)]
    pq.write_table(pa.Table.from_pylist(rows, LISTEN_SCHEMA), folder / "listens.parquet")
    (folder / "users.csv").write_text("user_id,age\nuser-3,40\nbob,20\n")
    workspace = Workspace(folder / "workspace")
    sessionize(
        SessionizeConfig(
            listens=(str(folder / "listens.parquet"),),
            users=str(folder / "users.csv"),
            output=workspace.sessions,
            num_shards=2,
            validation_days=2,
            test_days=4,
        )
    )
    write_tracks(workspace.tracks, open_sessions(workspace.sessions))
    run = write_run(workspace, "small")
    randomize(run.model, seed=0)
    run.model.save(run.path / MODEL_FILE)
    build_index(run.embeddings, run.embeddings.vectors[:5], run.path / INDEX)
    return listens, read_all(run.sessions), Recommender.open(workspace, "small")


def starts_in_order(table: SessionTable, first: int) -> list[int]:
    """Rows of the sessions that start then or later, by time."""
    rows = np.argsort(table.session_start, kind="stable")
    return [int(row) for row in rows if table.session_start[row] >= first]


def assert_live_predictions_are(
    expected: Predictions,
    recommender: Recommender,
    table: SessionTable,
    *,
    rows: list[int],
    listens: list[Listen],
    coming: list[Listen],
) -> None:
    """Of each session at its start, when all listens before have come, of all users in turn."""
    own = of_sessions(listens, table)
    coming = sorted(coming, key=lambda listen: listen.timestamp)
    for row in rows:
        before = [listen for listen in coming if listen.timestamp < table.session_start[row]]
        coming = coming[len(before) :]
        outcomes = recommender.observe_many(shuffled(before, row))
        assert Outcome.DUPLICATE not in outcomes
        context = context_of(recommender.run, table, row, own[row])
        user = table.user_id[table.user_of_session[row]].decode()
        found = recommender.predict(user, context)
        assert found.earlier_sessions == table.position[row]
        np.testing.assert_allclose(found.embedding, expected.embeddings[row], atol=1e-5)


def test_a_whole_test_split_from_nothing(logged):
    """Nothing that came later has changed what was predicted then."""
    listens, table, recommender = logged
    # What a listen does not tell.
    table = dataclasses.replace(table, user_age=np.full(table.num_users, -1))
    rows = starts_in_order(table, recommender.run.sessions.manifest.split.test_start)
    assert len(rows) > 60
    fresh = recommender_of(recommender.run)
    assert_live_predictions_are(
        batch_predictions(recommender.run, table),
        fresh,
        table,
        rows=rows,
        listens=listens,
        coming=listens,
    )


def test_on_from_the_middle_of_the_log(logged):
    listens, table, recommender = logged
    assert (table.user_age > 0).sum() == 2
    middle = int(np.quantile(table.session_start, 0.7))
    middle = int(table.session_start[table.session_start >= middle].min())
    own = of_sessions(listens, table)
    rows = starts_in_order(table, middle)
    going_on = recommender_of(recommender.run, max_users=3)
    going_on.take_in(table, before=middle)
    assert_live_predictions_are(
        batch_predictions(recommender.run, table),
        going_on,
        table,
        rows=rows,
        listens=listens,
        coming=[listen for row in rows for listen in own[row]],
    )


def test_the_users_of_the_log_are_taken_in_once(logged, monkeypatch):
    listens, table, opened = logged
    recommender = recommender_of(opened.run)
    recommender.bootstrap()
    at = datetime.fromtimestamp(int(table.session_start.max()) + 9_000, UTC)
    for user in table.user_id:
        context = Context(at, "web")
        found = recommender.recommend(user.decode(), context, 5)
        assert found == opened.recommend_from_log(user.decode(), context, 5)
        assert found.earlier_sessions > 20
    monkeypatch.setattr(recommender, "take_in", None)
    recommender.bootstrap()
    # What the log has already is late.
    last = max(listens, key=lambda listen: listen.timestamp)
    assert recommender.observe(last) is Outcome.LATE
    assert recommender.observe(last) is Outcome.DUPLICATE


def test_listens_in_the_store_are_settled_with_the_states_of_another_generation(logged):
    """As a new model finds them: one that knows the log up to a later time than the first did."""
    listens, table, opened = logged
    early, late = (int(np.quantile(table.session_start, share)) for share in (0.5, 0.7))
    store, fresh = MemoryStore(), MemoryStore()
    recommender = recommender_of(opened.run, store=store)
    recommender.take_in(table, before=early)
    recommender.observe_many(listens)
    # The listens of all users, and the states of none.
    for user in table.user_id:
        fresh.commit([UserUpdate(user.decode(), listens=tuple(store.listens(user.decode())))])
    following = recommender_of(opened.run, store=fresh, max_users=2)
    following.take_in(table, before=late)
    at = datetime.fromtimestamp(int(table.session_start.max()) + 9_000, UTC)
    for user in table.user_id:
        ours, theirs = (
            one.predict(user.decode(), Context(at, "web")) for one in (recommender, following)
        )
        assert ours.earlier_sessions == theirs.earlier_sessions
        np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=1e-5)
        # What is closed is closed for good.
        state = fresh.load([user.decode()])[user.decode()]
        assert {one.key for one in state.open_listens} == {
            one.key for one in store.load([user.decode()])[user.decode()].open_listens
        }


def test_the_history_goes_on_from_the_log(logged):
    listens, table, opened = logged
    recommender = recommender_of(opened.run)
    recommender.bootstrap()
    new = Listen("bob", "track-1", int(table.session_start.max()) + 90_000, device="web")
    recommender.observe_many([*listens, new])
    *before, last = recommender.history("bob", 1_000)
    row = [user.decode() for user in table.user_id].index("bob")
    own = slice(*table.row_splits[row : row + 2])
    assert [session.start for session in before] == table.session_start[own].tolist()
    assert not any(session.is_open for session in before)
    assert (last.start, last.device, last.is_open) == (new.timestamp, "web", True)
    assert recommender.knows_track("track-1")
    assert not recommender.knows_track(UNKNOWN_TRACK)
