"""Fig. 2b against SciPy over sessions gathered one by one."""

from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

from cosernn_tf.analysis.block import Block
from cosernn_tf.analysis.skips import SkipRelation

from .blocks import interval, parts, planted_block, random_block

Point = tuple[int, float, float, int]
"""User, cosine, skip rate and skips of a session."""


def relation_of(*blocks: Block) -> SkipRelation:
    relation = SkipRelation()
    for block in blocks:
        relation.add(block)
    return relation


def points(block: Block) -> list[Point]:
    """One by one, in float64."""
    found = []
    table = block.table
    for user in range(table.num_users):
        earlier: list[np.ndarray] = []
        for session in range(table.row_splits[user], table.row_splits[user + 1]):
            tracks = [track for track in table.track[session] if track >= 0]
            total = block.track_embeddings[tracks].astype(np.float64).sum(axis=0)
            if not total.any():
                continue
            current = total / np.linalg.norm(total)
            if earlier:
                mean = np.mean(earlier, axis=0)
                skipped = [skip for skip in table.skipped[session] if skip >= 0]
                cosine = float(mean @ current / np.linalg.norm(mean))
                found.append((user, cosine, sum(skipped) / len(skipped), sum(skipped)))
            earlier.append(current)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_as_scipy_has_it(seed):
    block = random_block(seed, lengths=(1, 90, 0, 2, 130, 7, 60))
    all_points = points(block)
    rows = relation_of(block).correlations()
    assert [row.min_skips for row in rows] == list(range(10))
    for row in rows:
        some = [point for point in all_points if point[3] >= row.min_skips]
        assert row.sessions == len(some)
        assert row.users == len({user for user, *_ in some})
        _, cosine, rate, _ = np.transpose(some) if some else np.zeros((4, 0))
        if len(some) < 2 or np.ptp(rate) == 0:
            assert (row.correlation, row.slope, row.slope_low) == (None, None, None)
            continue
        expected = stats.linregress(cosine, rate)
        assert row.correlation == pytest.approx(expected.rvalue, abs=1e-5)
        assert row.slope == pytest.approx(expected.slope, abs=1e-5)
    assert rows[0].sessions > rows[3].sessions > 50


def skips_at_a_distance(seed: int) -> Block:
    """60 users whose 30 sessions, each of one track, are skipped the more the rarer the track."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0.0, np.pi / 2, 8)
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    track = np.minimum(rng.geometric(0.4, 60 * 30) - 1, 7)
    skips = np.clip(track + rng.integers(-1, 3, len(track)), 0, 10)
    return planted_block(
        [30] * 60,
        track=np.repeat(track[:, None], 10, axis=1),
        vectors=vectors,
        skipped=np.arange(10) < skips[:, None],
    )


def test_intervals_are_those_of_users():
    """Of the slope by the sandwich, of the correlation by Fisher's transformation."""
    block = skips_at_a_distance(3)
    user, cosine, rate, _ = np.transpose(points(block))
    (row, *_) = relation_of(block).correlations()
    x = cosine - cosine.mean()
    slope, slope_low, slope_high = interval(row, "slope")
    residual = rate - rate.mean() - slope * x
    scores = np.bincount(user.astype(int), x * residual)
    error = np.sqrt(60 / 59 * np.square(scores).sum()) / np.square(x).sum()
    margin = stats.t.ppf(0.975, 59) * error
    assert slope_high - slope == pytest.approx(margin, rel=1e-4)
    assert slope - slope_low == pytest.approx(margin, rel=1e-4)

    # A session moves the correlation of standardised x and y by x y - r (x² + y²) / 2.
    correlation, low, high = interval(row, "correlation")
    assert -0.95 < correlation < -0.5
    y = (rate - rate.mean()) / rate.std()
    x /= x.std()
    scores = np.bincount(user.astype(int), x * y - correlation * (x**2 + y**2) / 2)
    error = np.sqrt(60 / 59 * np.square(scores).sum()) / len(x)
    margin = stats.t.ppf(0.975, 59) * error / (1 - correlation**2)
    middle = np.arctanh(correlation)
    assert (low, high) == pytest.approx(
        (np.tanh(middle - margin), np.tanh(middle + margin)), rel=1e-3
    )


def test_the_interval_of_a_correlation_is_about_what_leaving_out_users_gives():
    block = random_block(4, lengths=(30,) * 60)
    user, cosine, rate, _ = np.transpose(points(block))
    left = [np.corrcoef(cosine[user != u], rate[user != u])[0, 1] for u in range(60)]
    error = np.sqrt(59 / 60 * np.square(np.array(left) - np.mean(left)).sum())
    _, low, high = interval(relation_of(block).correlations()[0], "correlation")
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 59) * error, rel=0.05)


@pytest.mark.parametrize("seed", range(2))
def test_the_curve_is_the_mean_rate_of_each_bin(seed):
    block = random_block(seed, lengths=(1, 90, 0, 2, 130, 7, 60))
    expected = defaultdict(list)
    for user, cosine, rate, skips in points(block):
        for k in range(min(skips, 9) + 1):
            expected[k, min(int((cosine + 1) * 20), 39)].append((user, rate))
    rows = relation_of(block).curve()
    keys = [(row.min_skips, round((row.cosine_from + 1) * 20)) for row in rows]
    assert keys == sorted(expected)
    for row, key in zip(rows, keys, strict=True):
        users, rates = zip(*expected[key], strict=True)
        assert row.cosine_to == pytest.approx(row.cosine_from + 0.05)
        assert (row.sessions, row.users) == (len(rates), len(set(users)))
        assert row.skip_rate == pytest.approx(np.mean(rates))
        if row.users > 1:
            rate, low, high = interval(row, "skip_rate")
            assert 0 <= low <= rate <= high <= 1


def test_parts_in_any_order_are_the_whole():
    block = random_block(5)
    whole, by_parts = relation_of(block), relation_of(*parts(block))
    for expected, found in (
        *zip(whole.correlations(), by_parts.correlations(), strict=True),
        *zip(whole.curve(), by_parts.curve(), strict=True),
    ):
        for name, value in expected.to_json().items():
            other = found.to_json()[name]
            assert other == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)


def test_what_is_planted_is_found():
    # A first session of track 0, then one at a cosine of c to it, of which 10 (1 - c) are skipped.
    cosines = np.array([1.0, 0.8, 0.6, 0.4, 0.2])
    vectors = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    track = np.zeros((20, 10), np.int64)
    track[1::2] = np.arange(10)[:, None] % 5
    skips = np.zeros(20)
    skips[1::2] = 10 * (1 - cosines[np.arange(10) % 5])
    block = planted_block(
        [2] * 10, track=track, vectors=vectors, skipped=np.arange(10) < np.rint(skips)[:, None]
    )
    rows = relation_of(block).correlations()
    assert [row.sessions for row in rows] == [10, 8, 8, 6, 6, 4, 4, 2, 2, 0]
    for row in rows[:7]:
        assert row.correlation == pytest.approx(-1.0)
        assert row.slope == pytest.approx(-1.0, abs=1e-5)
    # Two sessions that are alike, and none.
    assert [row.slope for row in rows[7:]] == [None] * 3


def test_first_sessions_and_such_without_an_embedding_are_left_out():
    vectors = np.eye(3)
    vectors[2] = 0.0
    # The first user has one session, the second two without an embedding before the first with
    # one, so that only the last has something before it; a session in between has none.
    track = np.array([[0], [2], [2], [0], [2], [1]])
    relation = relation_of(planted_block([1, 5], track=track, vectors=vectors))
    assert relation.correlations()[0].sessions == 1
    (row,) = relation.curve()
    assert (row.cosine_from, row.cosine_to) == (0.0, 0.05)
    assert row.skip_rate == 0.0


def test_a_log_without_skips_has_no_relation():
    block = random_block(6)
    block.table.skipped[block.table.skipped == 1] = 0
    (first, *others) = relation_of(block).correlations()
    assert first.sessions == len(points(block))
    assert (first.correlation, first.correlation_low, first.slope) == (None, None, None)
    assert {row.sessions for row in others} == {0}
    assert {row.skip_rate for row in relation_of(block).curve()} == {0.0}
