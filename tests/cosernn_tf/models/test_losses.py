"""Losses against loops over candidates."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.features import normalize
from cosernn_tf.models.losses import (
    SESSIONS,
    SHARPNESS,
    TRACK_SESSIONS,
    CosineLoss,
    RankingLoss,
    session_ranking,
    track_ranking,
)
from cosernn_tf.windows import NEVER, Labels

DIM, NUM_TRACKS = 6, 30
LENGTHS = [1, 7, TRACK_SESSIONS, TRACK_SESSIONS + 1, SESSIONS + 30]
"""Sessions of a window: within a block of the track term, just one, and several."""


def softplus(x: float) -> float:
    return np.logaddexp(0.0, x)


def session_oracle(prediction, played):
    found = np.full(prediction.shape[:2], np.nan)
    for user, t in np.argwhere(played.any(axis=-1)):
        earlier = range(max(0, t - SESSIONS + 1), t + 1)
        u = prediction[user, t]
        scores = [SHARPNESS * u @ played[user, i] for i in earlier if played[user, i].any()]
        found[user, t] = np.logaddexp.reduce(scores) - SHARPNESS * u @ played[user, t]
    return found


def track_oracle(prediction, tracks, embeddings):
    found = np.zeros(prediction.shape[:2])
    for user, t in np.ndindex(*found.shape):
        usable = [
            [track for track in of_session if track >= 0 and embeddings[track].any()]
            for of_session in tracks[user]
        ]
        u, own = prediction[user, t], set(usable[t])
        listened = set(itertools.chain(*usable[max(0, t - TRACK_SESSIONS) : t]))
        others = [SHARPNESS * u @ embeddings[n] for n in listened - own]
        terms = [
            softplus(np.logaddexp.reduce(others) - SHARPNESS * u @ embeddings[track])
            if others
            else 0.0
            for track in own & listened
        ]
        found[user, t] = np.mean(terms) if terms else 0.0
    return found


def repeats(tracks):
    """`since` and `until` of `Labels`, by a loop over listens."""
    since, until = np.zeros((2, *tracks.shape), np.int32)
    for user, of_user in enumerate(tracks):
        last: dict[int, tuple[int, int]] = {}
        for t, slot in np.argwhere(of_user >= 0):
            track = of_user[t, slot]
            until[user, t, slot] = NEVER
            if track in last:
                before = last[track]
                since[user, t, slot] = until[user, *before] = t - before[0]
            last[track] = t, slot
    return since, until


def track_term(prediction, tracks, embeddings):
    since, until = map(tf.constant, repeats(tracks))
    vectors = tf.constant(embeddings[np.maximum(tracks, 0)])
    return track_ranking(tf.constant(prediction), vectors, since=since, until=until).numpy()


def labels_of(played, weight, tracks):
    return Labels(*map(tf.constant, (played, weight, tracks, *repeats(tracks))))


@pytest.fixture(params=LENGTHS)
def batch(request):
    """Predictions, s⁺, tracks and embeddings: sessions without an s⁺, short ones and repeats."""
    random = np.random.default_rng(request.param)
    shape = (3, request.param)
    prediction = normalize(random.normal(size=(*shape, DIM))).astype(np.float32)
    played = normalize(random.normal(size=(*shape, DIM))).astype(np.float32)
    played[random.random(shape) < 0.2] = 0.0
    tracks = random.integers(0, NUM_TRACKS, (*shape, 10))
    tracks[np.arange(10) >= random.integers(0, 8, shape)[..., None]] = -1
    tracks[random.random(tracks.shape) < 0.05] = -2
    embeddings = normalize(random.normal(size=(NUM_TRACKS, DIM))).astype(np.float32)
    embeddings[[3, 8]] = 0.0
    return prediction, played, tracks.astype(np.int32), embeddings


def test_session_term(batch):
    prediction, played, _, _ = batch
    expected = session_oracle(prediction, played)
    has_played = played.any(axis=-1)
    found = session_ranking(tf.constant(prediction), tf.constant(played)).numpy()
    np.testing.assert_allclose(found[has_played], expected[has_played], atol=2e-5)


def test_track_term(batch):
    prediction, _, tracks, embeddings = batch
    expected = track_oracle(prediction, tracks, embeddings)
    found = track_term(prediction, tracks, embeddings)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    if expected.shape[1] > 1:
        assert (expected > 0.1).mean() > 0.2


def test_the_loss_is_the_weighted_sum_of_its_terms_over_pairs(batch):
    prediction, played, tracks, embeddings = batch
    weight = (played.any(axis=-1) & (np.arange(played.shape[1]) % 3 < 2)).astype(np.float32)
    labels = labels_of(played, weight, tracks)
    cosine = 1.0 - np.sum(prediction * played, axis=-1)
    assert float(CosineLoss()(tf.constant(prediction), labels)) == pytest.approx(
        np.sum(weight * cosine), rel=1e-5
    )
    loss = RankingLoss(embeddings, session_weight=0.7, track_weight=0.3)
    terms = (
        cosine
        + 0.7 * session_oracle(prediction, played)
        + 0.3 * track_oracle(prediction, tracks, embeddings)
    )
    expected = np.sum(terms[weight > 0])
    assert float(loss(tf.constant(prediction), labels)) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_finite_and_of_pairs_only(batch):
    prediction, played, tracks, embeddings = batch
    weight = played.any(axis=-1).astype(np.float32)
    weight[1] = 0.0
    loss = RankingLoss(embeddings, session_weight=1.0, track_weight=1.0)
    u = tf.constant(prediction)
    with tf.GradientTape() as tape:
        tape.watch(u)
        value = loss(u, labels_of(played, weight, tracks))
    gradient = tape.gradient(value, u).numpy()
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient.any(axis=-1), weight > 0)


def test_padding_and_later_sessions_change_no_term(batch):
    prediction, played, tracks, embeddings = batch
    last = prediction.shape[1] - 1
    if not last:
        pytest.skip("a window of one session has nothing later")
    other = played.copy()
    other[:, last], tracks_after = other[:, 0], tracks.copy()
    tracks_after[:, last] = tracks[:, 0]
    before = session_ranking(tf.constant(prediction), tf.constant(played)).numpy()
    after = session_ranking(tf.constant(prediction), tf.constant(other)).numpy()
    np.testing.assert_array_equal(before[:, :last], after[:, :last])
    ranked = [track_term(prediction, t, embeddings)[:, :last] for t in (tracks, tracks_after)]
    np.testing.assert_array_equal(*ranked)
