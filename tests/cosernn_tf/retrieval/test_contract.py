"""Exact search, and ScaNN made exact by looking at everything, against a sort of all scores."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosernn_tf.retrieval.approximate import ScannSearcher, ScannSettings
from cosernn_tf.retrieval.contract import Neighbours, Searcher, recall
from cosernn_tf.retrieval.exact import ExactSearcher

from .vectors import assert_same, brute_force, eighths, unit_vectors

LEAVES = 9


def hashed(vectors: np.ndarray) -> Searcher:
    return ScannSearcher.build(vectors, ScannSettings(5, 0, 0, reorder=len(vectors)))


def partitioned(vectors: np.ndarray) -> Searcher:
    return ScannSearcher.build(vectors, ScannSettings(5, LEAVES, LEAVES, reorder=len(vectors)))


def load_exact(directory: Path, saved: Searcher) -> Searcher:
    return ExactSearcher.load(directory, saved.size)


def load_scann(directory: Path, saved: Searcher) -> Searcher:
    assert isinstance(saved, ScannSearcher)
    return ScannSearcher.load(directory, saved.settings)


Build = Callable[[np.ndarray], Searcher]


@pytest.fixture(
    params=[ExactSearcher.build, hashed, partitioned], ids=["exact", "hashed", "leaves"]
)
def build(request) -> Build:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("rows", [32, 33, 700, 2_111])
def test_finds_what_a_sort_of_all_scores_finds(build, rng, rows):
    vectors, queries = eighths(rng, rows), eighths(rng, 21)
    searcher = build(vectors)
    assert searcher.size == rows
    for k in (1, 2, 5, 31, 32, 33, 300, rows - 1, rows):
        assert_same(searcher.search(queries, k), brute_force(vectors, queries, min(k, rows)))


def test_more_than_there_are_gives_all(build, rng):
    vectors, queries = eighths(rng, 40), eighths(rng, 3)
    assert_same(build(vectors).search(queries, 41), brute_force(vectors, queries, 40))


def test_equal_scores_come_in_order_of_the_row(build, rng):
    different = eighths(rng, 7)
    vectors = different[rng.integers(0, 7, 1_000)]
    queries = different[:4]
    searcher = build(vectors)
    for k in (1, 10, 100, 500):
        assert_same(searcher.search(queries, k), brute_force(vectors, queries, k))


def test_scores_of_unit_vectors_are_cosines_also_where_all_are_negative(build, rng):
    vectors = unit_vectors(rng, 500, clusters=1)
    queries = np.concatenate([vectors[:5], -vectors[:5]])
    found = build(vectors).search(queries, 20)
    cosines = np.einsum("nd,nkd->nk", queries, vectors[found.rows])
    np.testing.assert_allclose(found.scores, cosines, atol=1e-6)
    np.testing.assert_allclose(found.scores, brute_force(vectors, queries, 20).scores, atol=1e-6)
    assert (found.rows[:5, 0] == np.arange(5)).all()
    assert (found.scores[5:] < 0).all()


def test_no_query_gives_no_answer(build, rng):
    found = build(eighths(rng, 40)).search(np.zeros((0, 40), np.float32), 3)
    assert found.rows.shape == found.scores.shape == (0, 3)


@pytest.mark.parametrize(
    ("build", "load"), [(ExactSearcher.build, load_exact), (partitioned, load_scann)]
)
def test_saved_moved_and_loaded_answers_the_same(build, load, rng, tmp_path):
    vectors, queries = eighths(rng, 333), eighths(rng, 8)
    searcher = build(vectors)
    (tmp_path / "staging").mkdir()
    searcher.save(tmp_path / "staging")
    (tmp_path / "staging").rename(tmp_path / "final")
    loaded = load(tmp_path / "final", searcher)
    assert loaded.size == 333
    assert_same(loaded.search(queries, 50), brute_force(vectors, queries, 50))


@pytest.mark.parametrize("rows", [1, 2, 15])
@pytest.mark.parametrize("build", [ExactSearcher.build, hashed], ids=["exact", "hashed"])
def test_a_handful_of_vectors(build, rng, rows):
    vectors, queries = eighths(rng, rows), eighths(rng, 3)
    assert_same(build(vectors).search(queries, 100), brute_force(vectors, queries, rows))


def test_recall_is_the_mean_share_of_the_exact_rows():
    exact = Neighbours(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), np.zeros((2, 4)))
    found = Neighbours(np.array([[4, 9, 1, 2], [9, 10, 11, 5]]), np.zeros((2, 4)))
    assert recall(found, exact) == (3 / 4 + 1 / 4) / 2
    assert recall(exact, exact) == 1.0
