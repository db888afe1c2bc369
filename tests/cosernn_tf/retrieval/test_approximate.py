"""What only ScaNN has: leaves that are not searched, candidates that are not reordered."""

import sys

import numpy as np
import pytest

from cosernn_tf.retrieval.approximate import (
    ScannMissingError,
    ScannSearcher,
    ScannSettings,
)
from cosernn_tf.retrieval.contract import recall

from .vectors import assert_same, brute_force, eighths, unit_vectors

LEAVES = 20


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return unit_vectors(np.random.default_rng(0), 3_000)


@pytest.fixture(scope="module")
def one_leaf(vectors) -> ScannSearcher:
    return ScannSearcher.build(vectors, ScannSettings(10, LEAVES, 1, reorder=30))


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return unit_vectors(np.random.default_rng(1), 70)


@pytest.mark.parametrize("k", [1, 10, 31, 400, 2_999, 3_000, 4_000])
@pytest.mark.parametrize("scaled", [True, False])
def test_k_neighbours_are_found_however_few_the_leaves_searched_hold(
    one_leaf, vectors, queries, k, scaled
):
    if not scaled:
        one_leaf = one_leaf.with_settings(ScannSettings(3_000, LEAVES, 1, reorder=3_000))
    found = one_leaf.search(queries, k)
    assert found.rows.shape == (70, min(k, 3_000))
    assert (np.diff(np.sort(found.rows, axis=1), axis=1) > 0).all()
    assert (np.diff(found.scores, axis=1) <= 0).all()
    cosines = np.einsum("nd,nkd->nk", queries, vectors[found.rows])
    np.testing.assert_allclose(found.scores, cosines, atol=1e-6)


def test_all_neighbours_of_all_vectors_are_exact():
    vectors, queries = eighths(np.random.default_rng(2), 300), eighths(np.random.default_rng(3), 4)
    searcher = ScannSearcher.build(vectors, ScannSettings(10, LEAVES, 1, reorder=10))
    assert_same(searcher.search(queries, 300), brute_force(vectors, queries, 300))


def test_other_settings_search_the_same_index_better(one_leaf, vectors, queries):
    exact = brute_force(vectors, queries, 10)
    recalls = [
        recall(
            one_leaf.with_settings(ScannSettings(10, LEAVES, *effort)).search(queries, 10), exact
        )
        for effort in ((1, 30), (5, 100), (LEAVES, 3_000))
    ]
    assert recalls[0] < 0.5 < recalls[1] < recalls[2]
    assert recalls[2] > 0.999
    assert recall(one_leaf.search(queries, 10), exact) == recalls[0]


def test_an_index_of_other_leaves_needs_another_build(one_leaf):
    with pytest.raises(AssertionError):
        one_leaf.with_settings(ScannSettings(10, LEAVES + 1, 1, reorder=30))


def test_many_queries_in_threads_get_the_answers_of_few(one_leaf, queries):
    together = one_leaf.search(queries, 10)
    alone = [one_leaf.search(query[None], 10) for query in queries]
    np.testing.assert_array_equal(together.rows, np.concatenate([one.rows for one in alone]))


def test_effort_grows_with_k_beyond_what_was_measured():
    settings = ScannSettings(100, 1_000, 50, 400)
    assert settings.for_k(10) == ScannSettings(10, 1_000, 50, 400)
    assert settings.for_k(100) == settings
    assert settings.for_k(250) == ScannSettings(250, 1_000, 80, 1_000)
    assert settings.for_k(9_999) == ScannSettings(9_999, 1_000, 500, 39_996)
    assert ScannSettings(1, 0, 0, 3).for_k(7) == ScannSettings(7, 0, 0, 21)


def test_scann_that_cannot_be_imported_says_which_versions_fit(monkeypatch, vectors):
    monkeypatch.setitem(sys.modules, "scann", None)
    with pytest.raises(ScannMissingError, match=r"scann\[tf\]==.*tensorflow.*--index=exact"):
        ScannSearcher.build(vectors, ScannSettings(10, 0, 0, 30))
