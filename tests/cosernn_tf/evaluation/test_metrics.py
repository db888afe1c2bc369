"""The metrics against loops, with ties at every place and numbers worked out by hand."""

import itertools

import numpy as np
import pytest

from cosernn_tf.evaluation import metrics
from cosernn_tf.features import normalize


def rank_oracle(scores: np.ndarray) -> float:
    rank = 1.0
    for other in scores[1:].tolist():
        gap = other - float(scores[0])
        rank += 0.5 if abs(gap) <= metrics.EQUAL_COSINES else float(gap > 0)
    return rank


def ranking_oracle(scores: np.ndarray, relevant: np.ndarray) -> list[bool]:
    order = sorted(range(len(scores)), key=lambda place: (-float(scores[place]), place))
    return [bool(relevant[place]) for place in order]


def average_precision_oracle(ranked: list[bool]) -> float:
    found, total = 0, 0.0
    for place, is_relevant in enumerate(ranked, 1):
        if is_relevant:
            found += 1
            total += found / place
    return total / found


def chance_precision_oracle(relevant: np.ndarray) -> float:
    """Of a random order: place by place, how likely it counts and how many then come before it."""
    k, total = len(relevant), int(relevant.sum())
    precision = 0.0
    for place in range(1, k + 1):
        before = (place - 1) * (total - 1) / (k - 1)
        precision += (1 + before) / place / k
    return precision


def recall_oracle(ranked: list[bool], cutoff: int) -> float:
    return sum(ranked[:cutoff]) / sum(ranked)


def test_columns_are_those_of_the_contract():
    assert [metric.name for metric in metrics.METRICS] == [
        "cosine",
        "session_rr_20",
        "session_rank_20",
        "session_rr_50",
        "session_rank_50",
        "ap_25",
        "recall10_25",
        "ap_100",
        "recall10_100",
    ]
    lower = [metric.name for metric in metrics.METRICS if not metric.higher_is_better]
    assert lower == ["session_rank_20", "session_rank_50"]


def test_cosines_are_dot_products_of_unit_vectors():
    rng = np.random.default_rng(0)
    predictions = normalize(rng.normal(size=(30, 7)))
    vectors = normalize(rng.normal(size=(30 * 11, 7))).reshape(30, 11, 7)
    actual = metrics.cosines(predictions, vectors)
    for row in range(30):
        for column in range(11):
            u, v = predictions[row], vectors[row, column]
            angle = np.arccos((u * v).sum() / np.sqrt((u**2).sum() * (v**2).sum()))
            assert actual[row, column] == pytest.approx(np.cos(angle), abs=1e-12)
    np.testing.assert_array_equal(metrics.cosines(predictions, vectors[:, 4]), actual[:, 4])


@pytest.mark.parametrize("dim", [1, 3, 8, 39, 40, 64])
def test_identical_vectors_get_identical_bits_wherever_they_stand(dim):
    rng = np.random.default_rng(dim)
    predictions = rng.normal(size=(50, dim)).astype(np.float32)
    vectors = np.repeat(rng.normal(size=(50, 1, dim)).astype(np.float32), 37, axis=1)
    scores = metrics.cosines(predictions, vectors)
    np.testing.assert_array_equal(scores, np.repeat(scores[:, :1], 37, axis=1))
    # Nor does it matter what else is scored.
    np.testing.assert_array_equal(metrics.cosines(predictions[7:8], vectors[7:8]), scores[7:8])


# Session ranking ---------------------------------------------------------------------------------


def test_ranks_equal_the_loop():
    rng = np.random.default_rng(0)
    for levels in (1, 2, 5, 1000):
        scores = (rng.integers(0, levels, (400, 20)) / levels).astype(np.float32)
        expected = [rank_oracle(row) for row in scores]
        np.testing.assert_array_equal(metrics.ranks(scores), expected)


@pytest.mark.parametrize(
    ("scores", "rank"),
    [
        ([0.5], 1),
        ([0.5, 0.4, 0.3], 1),
        ([0.5, 0.6, 0.3], 2),
        ([0.3, 0.6, 0.5], 3),
        ([0.5, 0.5, 0.3], 1.5),
        ([0.5, 0.9, 0.5, 0.5, 0.1], 3),
        ([0.0, 0.0, -0.0], 2),
        # Rounding is no difference; a difference is.
        ([0.5, 0.5 + 2e-7, 0.5 - 2e-7], 2),
        ([0.5, 0.5 + 1e-5, 0.5 - 1e-5], 2),
        ([0.5, 0.5 + 1e-5, 0.5 + 1e-5], 3),
        ([1.0, 0.9999999], 1.5),
    ],
)
def test_rank_by_hand(scores, rank):
    assert metrics.ranks(np.array([scores], np.float32)).tolist() == [rank]


def test_a_random_predictor_has_the_closed_form():
    k, n = 20, 60_000
    ranks = metrics.ranks(np.random.default_rng(0).random((n, k)).astype(np.float32))
    harmonic = sum(1 / rank for rank in range(1, k + 1)) / k
    assert ranks.mean() == pytest.approx((k + 1) / 2, abs=5 * np.sqrt((k**2 - 1) / 12 / n))
    assert (1 / ranks).mean() == pytest.approx(harmonic, abs=5 * 0.25 / np.sqrt(n))


# Track ranking -----------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 2, 7, 100_000])
def test_track_ranking_equals_the_loop(levels):
    rng = np.random.default_rng(levels)
    scores = ((rng.integers(0, levels, (500, 33)) - levels // 2) / levels).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = 0.0
    scores[rng.random(scores.shape) < 0.1] = -0.0
    relevant = rng.random(scores.shape) < rng.random((500, 1))
    relevant[np.arange(500), rng.integers(0, 33, 500)] = True
    ranked = metrics.rank_relevance(scores, relevant)
    precision, recall = metrics.average_precision(ranked), metrics.recall_at(ranked, 10)
    for row in range(500):
        expected = ranking_oracle(scores[row], relevant[row])
        assert ranked[row].tolist() == expected
        assert precision[row] == pytest.approx(average_precision_oracle(expected), abs=1e-12)
        assert recall[row] == recall_oracle(expected, 10)


@pytest.mark.parametrize("k", [1, 2, 5, 6])
def test_chance_is_the_mean_over_all_orders(k):
    for count in range(1, k + 1):
        relevant = np.arange(k) < count
        orders = np.array([relevant[list(order)] for order in itertools.permutations(range(k))])
        expected = [average_precision_oracle(order.tolist()) for order in orders]
        found = metrics.chance_average_precision(relevant[None])
        assert found == pytest.approx([np.mean(expected)], abs=1e-12)
        for cutoff in (1, 3, 10):
            recalls = metrics.recall_at(orders, cutoff)
            assert metrics.chance_recall(k, cutoff) == pytest.approx(recalls.mean(), abs=1e-12)


def test_track_ranking_by_hand():
    scores = np.array([[0.1, 0.9, 0.5, 0.5, -0.3]], np.float32)
    relevant = np.array([[True, False, False, True, True]])
    ranked = metrics.rank_relevance(scores, relevant)
    # Order: 1, then 2 and 3 (equal, the more recent first), 0, 4.
    assert ranked.tolist() == [[False, False, True, True, True]]
    precision = (1 / 3 + 2 / 4 + 3 / 5) / 3
    assert metrics.average_precision(ranked)[0] == pytest.approx(precision, abs=1e-15)
    assert metrics.recall_at(ranked, 3)[0] == 1 / 3
    assert metrics.recall_at(ranked, 10)[0] == 1


def test_extreme_scores_keep_their_order():
    tiny = np.finfo(np.float32).smallest_subnormal
    scores = np.array([[-1, -tiny, 0, tiny, 1, -0.5, 0.5]], np.float32)
    for column in range(scores.shape[1]):
        relevant = np.zeros(scores.shape, bool)
        relevant[0, column] = True
        place = metrics.rank_relevance(scores, relevant)[0].tolist().index(True)
        assert place == int((scores[0] > scores[0, column]).sum())


def test_confusion_counts_what_is_taken_and_what_is_not():
    rng = np.random.default_rng(5)
    ranked = rng.random((7, 12)) < 0.3
    expected = []
    for taken in range(12, -1, -1):
        counts = [0, 0, 0, 0]
        for row in ranked:
            for place, is_relevant in enumerate(row):
                if place < taken:
                    counts[0 if is_relevant else 1] += 1
                else:
                    counts[3 if is_relevant else 2] += 1
        expected.append(counts)
    np.testing.assert_array_equal(metrics.confusion(ranked), np.transpose(expected))
    assert not metrics.confusion(ranked[:0]).any()
