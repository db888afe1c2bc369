"""What is carried over of users, in memory and in the store."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.serving import user_state
from cosernn_tf.serving.listens import Context
from cosernn_tf.serving.store import MemoryStore, UserUpdate
from tests.cosernn_tf.serving.conftest import recommender_of, users_of
from tests.cosernn_tf.serving.listening import (
    random_listens,
)


def test_users_that_were_put_out_of_memory_come_back_as_they_were(run):
    listens = sorted(random_listens(3, sessions=4), key=lambda listen: listen.timestamp)
    users = sorted({listen.user_id for listen in listens})
    stores = MemoryStore(), MemoryStore()
    all_stay, one_stays = (
        users_of(run, store, max_users=size) for store, size in zip(stores, (100, 1), strict=True)
    )
    for listen in listens:
        assert all_stay.observe([listen]) == one_stays.observe([listen])
        assert len(one_stays) == 1
    second = np.array([listens[-1].timestamp + 5_000])
    for user in users:
        ours, theirs = (store.load([user])[user] for store in stores)
        assert ours.state == theirs.state
        assert set(ours.open_listens) == set(theirs.open_listens)
        assert ours.state is not None
        records = [kept.current([user], second) for kept in (all_stay, one_stays)]
        assert records[0].tobytes() == records[1].tobytes()
        record, heard = user_state.from_bytes(ours.state, records[0].dtype)
        assert user_state.to_bytes(record, heard) == ours.state
        assert len(heard) > 5


def test_a_prediction_changes_nothing(cosernn):
    store = MemoryStore()
    recommender = recommender_of(cosernn, store=store)
    listens = random_listens(4)
    recommender.observe_many(listens)
    users = sorted({listen.user_id for listen in listens})
    before = store.load(users)
    at = datetime.fromtimestamp(listens[-1].timestamp, UTC)
    contexts = [
        Context(at + timedelta(hours=hours), device)
        for hours in (-9_000, 0, 1, 9_000)
        for device in ("mobile", "web")
    ]
    first = [recommender.predict(user, context) for user in users for context in contexts]
    again = [recommender.predict(user, context) for user in users for context in contexts]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.embedding, other.embedding)
    assert store.load(users) == before
    # Contexts do matter.
    assert len({one.embedding.tobytes() for one in first}) > len(users) * len(contexts) // 2


def test_a_state_of_another_model_is_refused(open_run):
    ours, theirs = (recommender_of(open_run(name)) for name in ("cosernn", "jodie"))
    listens = random_listens(4, users=["ada"])
    ours.observe_many(listens)
    state = ours.store.load(["ada"])["ada"].state
    assert state is not None
    for damaged in (state, b"", b"\0" * 8, state[:-1]):
        theirs.store.commit([UserUpdate("ada", state=damaged)])
        with pytest.raises(UserError, match="the store has a state of a user that is damaged"):
            theirs.predict("ada", Context(datetime.now(UTC), "web"))
