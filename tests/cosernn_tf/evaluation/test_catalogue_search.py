"""The search of a catalogue against every cosine, with equal vectors at every place."""

import numpy as np
import pytest

from cosernn_tf.evaluation import metrics
from cosernn_tf.evaluation.catalogue_search import CatalogueSearch
from cosernn_tf.features import normalize
from cosernn_tf.retrieval.exact import ExactSearcher
from cosernn_tf.retrieval.pruning import COLUMNS, QUERIES

BLOCK = 1024


def unit_vectors(count: int, dim: int, seed: int = 0) -> np.ndarray:
    return normalize(np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32))


def every_cosine(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    everything = np.broadcast_to(vectors, (len(queries), *vectors.shape))
    return metrics.cosines(queries, np.ascontiguousarray(everything))


def assert_best(search: CatalogueSearch, queries: np.ndarray, vectors: np.ndarray, k: int) -> None:
    best = search.best(queries, k)
    k = min(k, len(vectors))
    for number, scores in enumerate(every_cosine(queries, vectors)):
        order = sorted(range(len(scores)), key=lambda row: (-float(scores[row]), row))
        last = scores[order[k - 1]]
        # Whatever equals the last is there, too.
        wanted = [row for row in order if scores[row] >= last]
        assert best.rows[number, : len(wanted)].tolist() == wanted
        assert (best.scores[number, : len(wanted)] == scores[wanted]).all()
        rest = best.scores[number, len(wanted) :]
        assert (rest < last).all()
        assert (np.diff(best.scores[number][np.isfinite(best.scores[number])]) <= 0).all()


@pytest.mark.parametrize("size", [1, 2, 99, 100, 101, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("blocks_at_once", [1, 2, 32])
def test_the_best_are_those_of_all_cosines(size, blocks_at_once):
    vectors = unit_vectors(size, 40)
    search = CatalogueSearch(vectors, blocks_at_once=blocks_at_once)
    assert search.size == size
    for k, count in ((1, 5), (10, 3), (100, 4)):
        assert_best(search, unit_vectors(count, 40, seed=k), vectors, k)


@pytest.mark.parametrize("blocks_at_once", [1, 32])
def test_equal_vectors_are_equal_wherever_they_stand(blocks_at_once):
    rng = np.random.default_rng(1)
    size = 3 * BLOCK + 500
    vectors = unit_vectors(size, 40)
    # Of 60 vectors in many places: 5 to 400 times each.
    chosen = rng.permutation(size)
    for number, times in enumerate(np.linspace(5, 100, 60).astype(int)):
        places, chosen = chosen[:times], chosen[times:]
        vectors[places] = unit_vectors(1, 40, seed=100 + number)
    queries = normalize(vectors[rng.integers(0, size, 12)] + 0.2 * unit_vectors(12, 40, seed=5))
    search = CatalogueSearch(vectors, blocks_at_once=blocks_at_once)
    assert_best(search, queries, vectors, 100)
    best = search.best(queries, 100)
    ties = [(best.scores[row] == best.scores[row, 99]).sum() for row in range(12)]
    assert max(ties) > 20


def test_one_vector_everywhere():
    vectors = np.repeat(unit_vectors(1, 8), 2 * BLOCK + 3, axis=0)
    best = CatalogueSearch(vectors, blocks_at_once=1).best(unit_vectors(2, 8, seed=1), 10)
    assert best.rows.tolist() == 2 * [list(range(2 * BLOCK + 3))]
    assert (best.scores == best.scores[:, :1]).all()


def test_close_scores_are_told_apart_by_the_cosines_not_by_the_product():
    """All within the rounding of a matrix product, so that it can rule out none of them."""
    rng = np.random.default_rng(2)
    centre = unit_vectors(1, 40)
    vectors = normalize(centre + 3e-8 * rng.normal(size=(2_000, 40)).astype(np.float32))
    search = CatalogueSearch(vectors.astype(np.float32))
    queries = normalize(centre + 0.3 * unit_vectors(6, 40, seed=3)).astype(np.float32)
    assert_best(search, queries, vectors.astype(np.float32), 100)


def test_it_agrees_with_the_searcher_of_an_index():
    vectors, queries = unit_vectors(2_500, 40), unit_vectors(2 * QUERIES, 40, seed=9)
    best = CatalogueSearch(vectors).best(queries, 50)
    exact = ExactSearcher.build(vectors).search(queries, 50)
    np.testing.assert_allclose(best.scores[:, :50], exact.scores, atol=1e-6)
    assert (best.rows[:, :50] == exact.rows).mean() > 0.99


def test_blas_takes_a_product_in_the_calling_thread():
    """OpenBLAS starts its threads from 262,144 multiplications on."""
    assert QUERIES * COLUMNS * 40 <= 65_536 * 4
