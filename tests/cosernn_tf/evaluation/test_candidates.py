"""Candidates against loops over a user's listens, written from §6.2 and decision 11."""

import numpy as np
import pytest

from cosernn_tf.evaluation.candidates import (
    NO_SESSION,
    Relevance,
    TrackCandidates,
    session_candidates,
    track_candidates,
)

from .tables import Data, change_future, only_user, random_data, sessions_of
from .test_heuristics import earlier_sessions


def recent_tracks(data: Data, session: int, size: int) -> list[int]:
    """Walks back over the listens of the earlier sessions, last listen first."""
    found: list[int] = []
    for earlier in reversed(earlier_sessions(data.table, session)):
        for track in reversed(data.table.track[earlier].tolist()):
            if track >= 0 and data.track_embeddings[track].any() and track not in found:
                found.append(track)
    return found[:size]


def contained(data: Data, session: int, relevance: Relevance) -> set[int]:
    skipped = data.table.skipped[session]
    kept = skipped >= 0 if relevance is Relevance.ANY else skipped == 0
    return set(data.table.track[session][kept].tolist())


@pytest.fixture(scope="module")
def data() -> Data:
    return random_data()


def all_sessions(data: Data) -> np.ndarray:
    return np.arange(data.table.num_sessions)


# Sessions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4, 50])
def test_session_candidates_equal_the_loop(data, size):
    has_played = data.embeddings.has_played
    targets = np.flatnonzero(has_played)[::-1]
    actual = session_candidates(data.table, has_played, targets, size=size)
    for index, target in enumerate(targets):
        earlier = [row for row in earlier_sessions(data.table, target) if has_played[row]]
        expected = ([*earlier, target][::-1])[:size]
        assert actual.count[index] == len(expected)
        rows = actual.rows[index].tolist()
        assert rows == expected + [NO_SESSION] * (size - len(expected))
    for k in range(1, size + 1):
        np.testing.assert_array_equal(actual.scored(k), actual.count >= k)


def test_session_candidates_of_a_session_that_cannot_be_scored(data):
    with pytest.raises(ValueError, match="played track"):
        session_candidates(data.table, data.embeddings.has_played, all_sessions(data), size=3)


# Tracks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relevance", list(Relevance))
@pytest.mark.parametrize(("size", "max_elements"), [(1, 2**20), (3, 7), (25, 500), (100, 2**20)])
def test_track_candidates_equal_the_loop(data, size, max_elements, relevance):
    actual = track_candidates(
        data.table,
        data.track_embeddings,
        all_sessions(data),
        size=size,
        relevance=relevance,
        max_elements=max_elements,
    )
    seen_repeat = False
    for session in range(data.table.num_sessions):
        expected = recent_tracks(data, session, size)
        assert actual.count[session] == len(expected)
        tracks = actual.tracks[session]
        assert tracks[: len(expected)].tolist() == expected
        assert (tracks[len(expected) :] == -1).all()
        relevant = [track in contained(data, session, relevance) for track in expected]
        assert actual.relevant[session].tolist() == relevant + [False] * (size - len(expected))
        seen_repeat |= sum(relevant) > 1
        for k in {1, size}:
            scored = len(expected) >= k and any(relevant[:k])
            assert actual.scored(k)[session] == scored
    assert seen_repeat == (size > 1)


def test_the_two_readings_of_relevance_differ(data):
    def relevant(relevance: Relevance) -> np.ndarray:
        return track_candidates(
            data.table,
            data.track_embeddings,
            all_sessions(data),
            size=25,
            relevance=relevance,
        ).relevant

    any_, played = relevant(Relevance.ANY), relevant(Relevance.PLAYED)
    assert (any_ >= played).all()
    assert (any_ > played).any()
    with pytest.raises(ValueError, match="liked"):
        relevant("liked")  # type: ignore[arg-type]


def test_recency_is_that_of_the_last_listen():
    """By hand: sessions [1 2 3 1], [2 4], and then the target [9 3]."""
    data = random_data(lengths=(3,))
    vectors = np.ones((10, 2), np.float32)
    track, skipped = np.full((3, 10), -1), np.full((3, 10), -1)
    for row, tracks in enumerate([[1, 2, 3, 1], [2, 4], [9, 3]]):
        track[row, : len(tracks)], skipped[row, : len(tracks)] = tracks, 1
    data.table.track[:], data.table.skipped[:] = track, skipped
    actual = track_candidates(data.table, vectors, np.array([2]), size=5)
    assert actual.tracks.tolist() == [[4, 2, 1, 3, -1]]
    assert actual.relevant.tolist() == [[False, False, False, True, False]]
    assert [bool(actual.scored(k)[0]) for k in (1, 3, 4, 5)] == [False, False, True, False]


def test_candidates_see_the_session_only_for_relevance_and_never_the_future(data):
    last_kept = 50
    changed = change_future(data, last_kept)

    def candidates(data: Data) -> TrackCandidates:
        targets = np.flatnonzero(data.table.position <= last_kept)
        return track_candidates(data.table, data.track_embeddings, targets, size=30)

    before, after = candidates(data), candidates(changed)
    np.testing.assert_array_equal(before.tracks, after.tracks)
    np.testing.assert_array_equal(before.count, after.count)
    past = data.table.position[data.table.position <= last_kept] < last_kept
    np.testing.assert_array_equal(before.relevant[past], after.relevant[past])
    assert (before.relevant[~past] != after.relevant[~past]).any()


def test_other_users_do_not_matter(data):
    together = track_candidates(data.table, data.track_embeddings, all_sessions(data), size=30)
    for user in range(data.table.num_users):
        alone = only_user(data, user)
        actual = track_candidates(alone.table, data.track_embeddings, all_sessions(alone), size=30)
        rows = sessions_of(data, user)
        np.testing.assert_array_equal(actual.tracks, together.tracks[rows])
        np.testing.assert_array_equal(actual.relevant, together.relevant[rows])


def test_no_targets(data):
    none = np.zeros(0, np.int64)
    assert track_candidates(data.table, data.track_embeddings, none, size=5).tracks.shape == (0, 5)
    has_played = data.embeddings.has_played
    assert session_candidates(data.table, has_played, none, size=5).rows.shape == (0, 5)
