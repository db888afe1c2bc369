"""The cheapest settings that find the share asked for."""

import numpy as np
import pytest

from cosernn_tf.retrieval import tuning
from cosernn_tf.retrieval.approximate import ScannSearcher, ScannSettings
from cosernn_tf.retrieval.contract import Neighbours, recall
from cosernn_tf.retrieval.tuning import tune

from .vectors import brute_force, unit_vectors

LEAVES = 70
K = 20


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return unit_vectors(np.random.default_rng(0), 5_000)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return unit_vectors(np.random.default_rng(1), 300)


@pytest.fixture(scope="module")
def exact(vectors, queries) -> Neighbours:
    return brute_force(vectors, queries, K)


@pytest.fixture(scope="module")
def partitioned(vectors) -> ScannSearcher:
    return ScannSearcher.build(vectors, ScannSettings(K, LEAVES, 1, K))


@pytest.mark.parametrize("min_recall", [0.0, 0.5, 0.9, 0.99])
def test_the_recall_is_reached_and_not_with_less(
    partitioned, queries, exact, min_recall, monkeypatch
):
    monkeypatch.setattr(tuning, "_SAMPLE", 10_000)
    tuned = tune(partitioned, queries, exact, k=K, min_recall=min_recall)
    settings = tuned.searcher.settings
    assert tuned.reached
    assert tuned.recall == recall(tuned.searcher.search(queries, K), exact) >= min_recall
    assert (settings.k, settings.leaves) == (K, LEAVES)
    if min_recall == 0:
        assert settings == ScannSettings(K, LEAVES, 1, K)
    for less in (
        ScannSettings(K, LEAVES, int(settings.leaves_to_search / 2.8), settings.reorder),
        ScannSettings(K, LEAVES, settings.leaves_to_search, round(settings.reorder / 1.15)),
    ):
        if less.leaves_to_search and less.reorder >= K and less != settings:
            found = partitioned.with_settings(less).search(queries, K)
            assert recall(found, exact) < min_recall


def test_settings_of_a_sample_are_turned_up_where_all_queries_are_harder(
    partitioned, vectors, queries, exact, monkeypatch
):
    """The sample is of queries with a cluster of their own."""
    monkeypatch.setattr(tuning, "_SAMPLE", 5)
    order = np.random.default_rng(0).permutation(300)[:5]
    queries = queries.copy()
    queries[order] = vectors[order]
    exact = brute_force(vectors, queries, K)
    few = Neighbours(exact.rows[order], exact.scores[order])
    tuned = tune(partitioned, queries, exact, k=K, min_recall=0.95)
    assert tuned.reached
    assert tuned.recall == recall(tuned.searcher.search(queries, K), exact) >= 0.95
    easier = tune(partitioned, queries[order], few, k=K, min_recall=0.95).searcher.settings
    assert easier.leaves_to_search <= tuned.searcher.settings.leaves_to_search


def test_without_leaves_only_what_is_scored_again_is_tuned(vectors, queries, exact):
    hashed = ScannSearcher.build(vectors, ScannSettings(K, 0, 0, K))
    low, high = (
        tune(hashed, queries, exact, k=K, min_recall=share).searcher.settings
        for share in (0.8, 0.99)
    )
    assert (low.leaves_to_search, high.leaves_to_search) == (0, 0)
    assert K <= low.reorder < high.reorder < 24 * 100


def test_what_is_out_of_reach_is_said(partitioned, queries, exact, monkeypatch):
    monkeypatch.setattr(tuning, "_MOST_REORDERED", 1)
    monkeypatch.setattr(partitioned.__class__, "size", 25)
    tuned = tune(partitioned, queries, exact, k=K, min_recall=0.999)
    assert not tuned.reached
    assert tuned.searcher.settings == ScannSettings(K, LEAVES, LEAVES, 25)
    assert tuned.recall < 0.999
