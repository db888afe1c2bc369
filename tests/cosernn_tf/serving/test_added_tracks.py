"""Tracks that were added to the index count in what users have heard, as others do."""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from cosernn_tf.retrieval.changes import Changes
from cosernn_tf.retrieval.index import open_index
from cosernn_tf.runs import INDEX
from cosernn_tf.serving.listens import Context, Listen
from cosernn_tf.serving.recommender import Recommender
from tests.workspaces import FIRST_SECOND

STANDS_FOR = {"brand-new": 17, "track-0": 18}
"""The second is in the vocabulary, without an embedding."""
CONTEXT = Context(datetime.fromtimestamp(FIRST_SECOND + 100_000, UTC), "mobile")


@pytest.fixture
def recommender(cosernn) -> Recommender:
    vectors = cosernn.embeddings.vectors
    assert not vectors[0].any()
    changes = dataclasses.replace(
        Changes.none(),
        rows=np.array([0, len(vectors)]),
        track_ids=pa.array(["track-0", "brand-new"]),
        vectors=vectors[[18, 17]],
        is_indexed=np.zeros(2, bool),
    )
    index = open_index(cosernn.path / INDEX, cosernn.embeddings).with_changes(changes)
    return Recommender(cosernn, index)


def heard(recommender: Recommender, user: str, tracks: list[str]) -> None:
    """Two sessions: the first is closed, the second open."""
    for session, start in enumerate((FIRST_SECOND, FIRST_SECOND + 50_000)):
        for place, track in enumerate(tracks[session:]):
            recommender.observe(Listen(user, track, start + 100 * place, ms_played=90_000))


def test_what_is_heard_of_them_counts(recommender):
    heard(recommender, "new", ["brand-new", "track-0", "track-3"])
    heard(recommender, "old", ["track-17", "track-18", "track-3"])
    heard(recommender, "unknown", ["nowhere", "elsewhere", "track-3"])
    new, old, unknown = (
        recommender.predict(user, CONTEXT).embedding for user in ("new", "old", "unknown")
    )
    np.testing.assert_allclose(new, old, atol=1e-6)
    assert np.abs(new - unknown).max() > 1e-3
    assert recommender.knows_track("brand-new")
    assert not recommender.knows_track("nowhere")


def test_what_is_heard_of_them_is_excluded(recommender):
    heard(recommender, "new", ["brand-new", "track-0", "track-3"])
    heard(recommender, "old", ["track-17", "track-18", "track-3"])
    everything = recommender.index.size
    for user, without, found in (
        ("new", {"brand-new", "track-0", "track-3"}, {"track-17", "track-18"}),
        ("old", {"track-17", "track-18", "track-3"}, set(STANDS_FOR)),
    ):
        answer = recommender.recommend(user, CONTEXT, everything, exclude_heard=True)
        ids = {track.track_id for track in answer.tracks}
        assert len(ids) == everything - 3
        assert not ids & without
        assert found < ids
        scores = {track.track_id: track.score for track in answer.tracks}
        embedding = recommender.predict(user, CONTEXT).embedding
        for name in found:
            row = STANDS_FOR.get(name, 0) or int(name.removeprefix("track-"))
            expected = embedding @ recommender.run.embeddings.vectors[row]
            assert scores[name] == pytest.approx(expected, abs=1e-5)
