"""Fig. 2a against all pairs, one by one."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

from cosernn_tf.analysis.block import Block
from cosernn_tf.analysis.contexts import Dimension
from cosernn_tf.analysis.variety import (
    QUANTILES,
    ContextSimilarity,
    SimilarityWithin,
    quantiles_of_pairs,
)
from cosernn_tf.features import normalize

from .blocks import DEVICE, PERIOD, all_of, interval, parts, planted_block, random_block

Listens = list[tuple[int, np.ndarray]]
"""User and vector of each."""


def rows_of(
    *blocks: Block, dimension: Dimension = PERIOD, rates: np.ndarray | None = None
) -> dict[str, ContextSimilarity]:
    vectors = blocks[0].track_embeddings
    gathered = SimilarityWithin(
        dimension,
        rates=all_of(dimension) if rates is None else rates,
        dim=vectors.shape[1],
    )
    for block in blocks:
        gathered.add(block)
    return {row.context: row for row in gathered.rows(vectors)}


def listens_by_context(block: Block, dimension: Dimension) -> dict[str, Listens]:
    found = defaultdict(list)
    user = block.table.user_of_session
    for session, context in enumerate(dimension.of(block.table).tolist()):
        for track in block.table.track[session].tolist():
            vector = block.track_embeddings[track].astype(np.float64)
            if track >= 0 and vector.any():
                found[dimension.contexts[context]].append((int(user[session]), vector))
    return found


def cosines(listens: Listens) -> list[float]:
    return [float(a @ b) for (_, a), (_, b) in itertools.combinations(listens, 2)]


def deviations(listens: Listens) -> dict[int, float]:
    """By user, of |Σ v|² / n²: 2 (m·Σ v - |m|² n) / n over the user's own, with the mean m."""
    mean = np.mean([vector for _, vector in listens], axis=0)
    found: dict[int, float] = defaultdict(float)
    for user, vector in listens:
        found[user] += 2 * (mean @ vector - mean @ mean) / len(listens)
    return found


def half_width(by_user: dict[int, float]) -> float:
    users = len(by_user)
    error = np.sqrt(users / (users - 1) * sum(d**2 for d in by_user.values()))
    return float(stats.t.ppf(0.975, users - 1) * error)


@pytest.mark.parametrize("dimension", [PERIOD, DEVICE], ids=["period", "device"])
@pytest.mark.parametrize("seed", range(3))
def test_as_all_pairs_one_by_one(seed, dimension):
    block = random_block(seed)
    found = rows_of(block, dimension=dimension)
    expected = listens_by_context(block, dimension)
    assert set(found) == set(expected)
    for context, row in found.items():
        listens = expected[context]
        pairs = cosines(listens)
        assert row.listens == row.sampled == len(listens)
        assert row.exact
        assert row.users == len({user for user, _ in listens})
        assert row.mean == pytest.approx(np.mean(pairs), abs=1e-6)
        for p in QUANTILES:
            value = getattr(row, f"p{100 * p:02.0f}")
            assert value == pytest.approx(np.quantile(pairs, p), abs=1e-6), p
    # Two tracks of one vector, and one twice, are of cosine 1: the pairs have ties.
    assert len(set(np.round(pairs, 9))) < len(pairs)


def test_the_interval_of_the_mean_is_that_of_users():
    block = random_block(3)
    expected = listens_by_context(block, PERIOD)
    most = max(expected, key=lambda context: len(expected[context]))
    for context, row in rows_of(block).items():
        own = deviations(expected[context])
        mean, low, high = interval(row, "mean")
        margin = half_width(own)
        assert (high - mean, mean - low) == pytest.approx((margin, margin), rel=1e-4)
        difference, low, high = interval(row, "difference")
        if context == most:
            assert (difference, low, high) == (None,) * 3
            continue
        # A user who deviates in both deviates less in their difference.
        step = deviations(expected[most])
        users = min(len(own), len(step))
        both = {user: own.get(user, 0.0) - step.get(user, 0.0) for user in own | step}
        error = np.sqrt(users / (users - 1) * sum(d**2 for d in both.values()))
        margin = stats.t.ppf(0.975, users - 1) * error
        assert (high - difference, difference - low) == pytest.approx((margin, margin), rel=1e-4)
        expected_step = np.mean(cosines(expected[context])) - np.mean(cosines(expected[most]))
        assert difference == pytest.approx(expected_step, abs=1e-6)


def test_parts_in_any_order_are_the_whole():
    block = random_block(4)
    rates = np.full(len(PERIOD), 0.3)
    whole, by_parts = rows_of(block, rates=rates), rows_of(*parts(block), rates=rates)
    assert list(whole) == list(by_parts)
    for context, row in whole.items():
        assert 0 < row.sampled < row.listens
        for name, value in row.to_json().items():
            other = by_parts[context].to_json()[name]
            assert other == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)


def test_contexts_of_one_track_one_listen_and_none():
    vectors = np.eye(4)
    vectors[3] = 0.0
    # In the afternoon always the same track, in the morning once another, at night one without.
    track = np.array([[0, 0, 0], [0, 0, -1], [1, 3, 3], [3, 3, -1]])
    found = rows_of(
        planted_block([2, 2], track=track, vectors=vectors, hour=np.array([13, 13, 9, 3]))
    )
    assert list(found) == ["morning", "afternoon"]
    same, single = found["afternoon"], found["morning"]
    assert (same.listens, same.users, same.mean, same.p05, same.p95) == (5, 1, 1.0, 1.0, 1.0)
    assert (same.mean_low, same.p50_low, same.difference) == (None,) * 3  # one user
    assert (single.listens, single.mean, single.p50, single.exact) == (1, None, None, True)


def test_planted_variety_has_the_mean_and_quartiles_that_follow():
    # At night two tracks at 60 degrees, one of them thrice as often: 40 listens, in the evening 20
    # of four orthogonal tracks, 5 each.
    vectors = np.zeros((5, 4))
    vectors[:4] = np.eye(4)
    vectors[4, :2] = 0.5, np.sqrt(0.75)
    night = np.array([0, 0, 0, 4] * 10).reshape(8, 5)
    evening = np.repeat(np.arange(4), 5).reshape(4, 5)
    found = rows_of(
        planted_block(
            [3] * 4,
            track=np.concatenate([night, evening]),
            vectors=vectors,
            hour=np.array([3] * 8 + [18] * 4),
        )
    )
    pairs, different = 40 * 39 / 2, 30 * 10
    assert found["night"].mean == pytest.approx((pairs - different + 0.5 * different) / pairs)
    # 480 of 780 pairs are of one track: more than half.
    assert (found["night"].p25, found["night"].p50) == pytest.approx((0.5, 1.0))
    assert found["evening"].mean == pytest.approx(4 * 10 / 190)
    assert (found["evening"].p75, found["evening"].p95) == pytest.approx((0.0, 1.0))
    night_mean, evening_mean = (found[name].mean or 0 for name in ("night", "evening"))
    assert found["evening"].difference == pytest.approx(evening_mean - night_mean)


def users_with_a_taste(
    rng: np.random.Generator, *, users: int, listens: int
) -> tuple[np.ndarray, np.ndarray]:
    """(n, 6) unit vectors around each user's own, and all of them around one; (n,) users."""
    taste = np.eye(6)[0] + 0.5 * rng.normal(size=(users, 6))
    user = np.repeat(np.arange(users), listens)
    vectors = normalize(taste[user] + 0.5 * rng.normal(size=(len(user), 6)))
    return vectors.astype(np.float32), user


def test_intervals_hold_the_truth_as_often_as_they_say():
    # The truth is what logs give on average.
    rng = np.random.default_rng(5)
    names = ("mean", "p25", "p50")
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for _ in range(150):
        vectors, user = users_with_a_taste(rng, users=30, listens=8)
        track = np.arange(len(user)).reshape(-1, 8)
        block = planted_block([1] * 30, track=track, vectors=vectors)
        (row,) = rows_of(block).values()
        for name in names:
            found[name].append(interval(row, name))
    for name, values in found.items():
        value, low, high = np.transpose(values)
        holds = np.mean((low < value.mean()) & (value.mean() < high))
        assert 0.88 < holds <= 0.99, name


def test_a_sample_is_near_all_pairs_within_its_interval():
    rng = np.random.default_rng(6)
    vectors, user = users_with_a_taste(rng, users=60, listens=40)
    exact = quantiles_of_pairs(vectors, user)
    inside = []
    for _ in range(40):
        drawn = np.flatnonzero(rng.random(len(user)) < 0.15)
        sampled = quantiles_of_pairs(vectors[drawn], user[drawn])
        for name in ("p05", "p25", "p50", "p75", "p95"):
            inside.append(sampled[f"{name}_low"] < exact[name] < sampled[f"{name}_high"])
            assert sampled[name] == pytest.approx(exact[name], abs=0.12)
    # Its interval is also about other users, of whom all pairs say no more.
    assert np.mean(inside) > 0.95


def test_about_as_many_are_drawn_as_asked_for_by_the_seed():
    block = random_block(7, lengths=(400,) * 3)
    rates = np.full(len(PERIOD), 0.25)
    first, again = rows_of(block, rates=rates), rows_of(block, rates=rates)
    assert first == again
    for row in first.values():
        assert row.sampled == pytest.approx(0.25 * row.listens, abs=4 * np.sqrt(row.listens) / 2)
        assert not row.exact
    other = rows_of(Block(block.table, block.track_embeddings, seed=8), rates=rates)
    for context, row in first.items():
        assert other[context].mean == row.mean
        assert other[context].p50 != row.p50
