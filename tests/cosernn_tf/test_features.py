"""Features against loops written from §3.3 and Eq. 1."""

import dataclasses
import itertools

import numpy as np
import pytest

from cosernn_tf import features
from cosernn_tf.schema import PERIODS
from tests.workspaces import random_embeddings, random_table

TRACKS = random_embeddings()


@pytest.fixture(scope="module")
def table():
    return random_table(1, num_users=8, sessions_per_user=25)


def unit_mean(vectors: list[np.ndarray]) -> np.ndarray:
    """Mean of the vectors that are not zero, scaled to unit length; zero without any."""
    vectors = [vector.astype(np.float64) for vector in vectors if vector.any()]
    if not vectors:
        return np.zeros(TRACKS.shape[1])
    mean = np.mean(vectors, axis=0)
    return mean / np.linalg.norm(mean)


def test_session_embeddings_are_means_of_tracks(table):
    found = features.embed_sessions(table, TRACKS)
    kinds = {"all": (0, 1), "played": (0,), "skipped": (1,)}
    for row in range(table.num_sessions):
        for name, wanted in kinds.items():
            tracks = [
                TRACKS[track]
                for track, skipped in zip(table.track[row], table.skipped[row], strict=True)
                if track >= 0 and skipped in wanted
            ]
            np.testing.assert_allclose(
                getattr(found, name)[row], unit_mean(tracks), atol=1e-6, err_msg=f"{name} {row}"
            )
    empty = ~found.played.any(axis=1)
    assert 0 < empty.sum() < table.num_sessions / 2
    np.testing.assert_array_equal(found.has_played, ~empty)


def test_repeats_stay_in_the_mean_and_tracks_without_an_embedding_do_not(table):
    one = dataclasses.replace(
        table.select_users(np.array([0])),
        track=np.array([[3, 3, 3, 4, 11, -2, -1, -1, -1, -1]]),
        skipped=np.array([[0, 0, 0, 0, 0, 0, -1, -1, -1, -1]]),
    )
    assert one.num_sessions == 1
    assert not TRACKS[11].any()
    expected = unit_mean([TRACKS[3]] * 3 + [TRACKS[4]])
    found = features.embed_sessions(one, TRACKS)
    np.testing.assert_allclose(found.played[0], expected, atol=1e-6)
    np.testing.assert_array_equal(found.skipped[0], np.zeros(len(expected)))


def test_session_embeddings_do_not_depend_on_the_chunks(table, monkeypatch):
    whole = features.embed_sessions(table, TRACKS)
    monkeypatch.setattr(features, "_ROWS_PER_CHUNK", 7)
    np.testing.assert_allclose(features.embed_sessions(table, TRACKS).all, whole.all, atol=1e-7)


def test_weighted_history_is_equation_1(table):
    vectors = features.embed_sessions(table, TRACKS).all
    found = features.weighted_history(vectors, table.row_splits)
    for start, end in itertools.pairwise(table.row_splits):
        for t in range(1, end - start + 1):
            expected = np.zeros(vectors.shape[1])
            for earlier in range(1, t):
                expected += earlier / (t - 1) * vectors[start + earlier - 1]
            if expected.any():
                expected /= np.linalg.norm(expected)
            np.testing.assert_allclose(found[start + t - 1], expected, atol=1e-6)
    # The plain mean is something else.
    start = table.row_splits[1]
    means = features.normalize(np.cumsum(vectors[start : table.row_splits[2]], axis=0))[:-1]
    assert np.abs(means - found[start + 1 : table.row_splits[2]]).max() > 0.05


@pytest.mark.parametrize("splits", [[0], [0, 0, 3, 3], [0, 1, 2, 3], [0, 3, 3]])
def test_history_and_previous_of_users_without_sessions(splits):
    values = np.arange(1.0, 1 + splits[-1], dtype=np.float32)[:, None] * np.ones(2, np.float32)
    history = features.weighted_history(values, np.array(splits))
    last = features.previous(values, np.array(splits))
    first = np.isin(np.arange(splits[-1]), splits)
    assert not history[first].any()
    assert not last[first].any()
    np.testing.assert_allclose(history[~first], np.sqrt(0.5))
    np.testing.assert_array_equal(last[~first], values[np.flatnonzero(~first) - 1])


def test_previous_of_every_session(table):
    values = np.stack([table.session_start, table.num_tracks], axis=1)
    found = features.previous(values, table.row_splits)
    for start, end in itertools.pairwise(table.row_splits):
        np.testing.assert_array_equal(found[start], [0, 0])
        for row in range(start + 1, end):
            np.testing.assert_array_equal(found[row], values[row - 1])


def test_zero_vectors_stay_zero():
    vectors = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(features.normalize(vectors), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


def period(hour: int) -> str:
    """§4.1, in words."""
    for name, hours in (
        ("night", range(1, 6)),
        ("early morning", range(6, 9)),
        ("morning", range(9, 12)),
        ("afternoon", range(12, 17)),
        ("evening", range(17, 21)),
    ):
        if hour in hours:
            return name
    return "late evening"


def test_sessions_of_one_context_share_period_and_device(table):
    keys = features.context_key(table)
    contexts = [
        (period(int(hour)), int(device))
        for hour, device in zip(table.hour, table.device, strict=True)
    ]
    assert {name for name, _ in contexts} == set(PERIODS)
    assert len(set(zip(contexts, keys, strict=True))) == len(set(contexts)) == len(set(keys))


def test_is_embedded(table):
    found = features.is_embedded(table, TRACKS)
    for place, track in np.ndenumerate(table.track):
        assert found[place] == (track >= 0 and TRACKS[track].any())
    assert (table.track[~found] >= 0).any()
