"""Recommendations, and the history, of users who have listened."""

from datetime import UTC, datetime

import numpy as np
import pytest

from cosernn_tf.schema import DEVICES
from cosernn_tf.serving.answers import RecommendRequest
from cosernn_tf.serving.listens import Context, Listen
from cosernn_tf.serving.recommender import Recommender
from tests.cosernn_tf.serving.conftest import recommender_of
from tests.cosernn_tf.serving.listening import (
    random_listens,
    sequenced,
)

NOW = Context(datetime(2019, 6, 20, 8, tzinfo=UTC), "mobile")


@pytest.fixture(scope="module")
def listening(open_run) -> tuple[Recommender, list[Listen]]:
    listens = random_listens(9, sessions=5)
    recommender = recommender_of(open_run("cosernn"))
    recommender.observe_many(listens)
    return recommender, listens


def test_many_requests_are_answered_like_one(listening):
    recommender, _ = listening
    requests = [
        RecommendRequest("ada", NOW, 5),
        RecommendRequest("nobody", NOW, 1),
        RecommendRequest("bob", Context(NOW.at, "web"), 20, exclude_heard=True),
        RecommendRequest("ada", NOW, 7, exclude_heard=True),
    ]
    answers = recommender.recommend_many(requests)
    for request, answer in zip(requests, answers, strict=True):
        alone = recommender.recommend(
            request.user, request.context, request.k, exclude_heard=request.exclude_heard
        )
        assert [t.track_id for t in alone.tracks] == [t.track_id for t in answer.tracks]
        assert len(answer.tracks) == request.k
        found, expected = ([t.score for t in one.tracks] for one in (answer, alone))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert (answer.user, answer.device) == (request.user, request.context.device)
    assert recommender.recommend_many([]) == []


def test_heard_tracks_are_left_out_and_nothing_else(listening):
    recommender, listens = listening
    heard = {listen.track_id for listen in listens if listen.user_id == "ada"}
    assert len(heard) > 15
    k = recommender.index.size
    plain = [track.track_id for track in recommender.recommend("ada", NOW, k).tracks]
    without = recommender.recommend("ada", NOW, k, exclude_heard=True).tracks
    assert [t.track_id for t in without] == [track for track in plain if track not in heard]
    assert [track.rank for track in without] == list(range(1, len(without) + 1))
    assert heard & set(plain)


def test_a_user_that_nobody_knows_is_told_by_context(listening):
    recommender, _ = listening
    one, other = (recommender.predict(user, NOW) for user in ("nobody", "no one"))
    np.testing.assert_allclose(one.embedding, other.embedding, atol=1e-6)
    assert (one.earlier_sessions, one.attention is not None and one.attention[1]) == (0, 0.0)
    elsewhere = recommender.predict("nobody", Context(NOW.at, "speaker"))
    assert np.abs(elsewhere.embedding - one.embedding).max() > 1e-3
    before = recommender.users_in_memory
    recommender.predict_many(["a", "b", "c"], [NOW] * 3)
    assert recommender.users_in_memory == before


def test_the_history_is_that_of_the_pipeline(listening):
    recommender, listens = listening
    own = [listen for listen in listens if listen.user_id == "ada"]
    table = sequenced(own)
    found = recommender.history("ada", 100)
    assert [session.start for session in found] == table.session_start.tolist()
    assert [session.num_tracks for session in found] == table.num_tracks.tolist()
    assert [session.is_open for session in found] == [False] * (len(found) - 1) + [True]
    for row, session in enumerate(found):
        assert session.device == DEVICES[table.device[row]]
        kept = table.track[row][table.skipped[row] >= 0]
        names = ["nowhere" if track < 0 else f"track-{track}" for track in kept]
        assert [track.track_id for track in session.tracks] == names
        assert [track.skipped for track in session.tracks] == [
            skipped == 1 for skipped in table.skipped[row] if skipped >= 0
        ]
    assert recommender.history("ada", 2) == found[-2:]
    assert recommender.history("ada", 0) == recommender.history("nobody", 5) == ()
