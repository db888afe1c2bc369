"""What only exact search has: blocks of vectors and of queries, threads, a mapped layout."""

import numpy as np
import pytest

from cosernn_tf.retrieval import exact, pruning
from cosernn_tf.retrieval.exact import VECTORS, ExactSearcher

from .vectors import assert_same, brute_force, eighths


@pytest.mark.parametrize("k", [1, 3, 17, 300])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_of_vectors_one_after_another_and_in_threads(k, threads, monkeypatch):
    monkeypatch.setattr(pruning, "_SCORES_AT_ONCE", 16 * 4_096)
    monkeypatch.setattr(pruning, "_BLOCKS_PER_THREAD", 5)
    monkeypatch.setattr(exact, "cores", lambda: threads)
    rng = np.random.default_rng(k)
    vectors, queries = eighths(rng, 20_003), eighths(rng, 16)
    # Equal vectors at the ends, so that ties fall into all blocks and the padded end of the last.
    vectors[[0, 33, 1_023, 1_024, 10_000, 20_001, 20_002]] = queries[0]
    searcher = ExactSearcher.build(vectors)
    assert_same(searcher.search(queries, k), brute_force(vectors, queries, k))
    # Nothing better comes after the first block, and then nothing before the last.
    for order in (np.argsort(-(vectors @ queries[3])), np.argsort(vectors @ queries[3])):
        searcher = ExactSearcher.build(vectors[order])
        assert_same(searcher.search(queries, k), brute_force(vectors[order], queries, k))


@pytest.mark.parametrize("count", [63, 64, 65, 150])
def test_blocks_of_queries(count):
    rng = np.random.default_rng(count)
    vectors, queries = eighths(rng, 100), eighths(rng, count)
    searcher = ExactSearcher.build(vectors)
    assert_same(searcher.search(queries, 9), brute_force(vectors, queries, 9))


def test_scores_may_be_as_low_as_they_like():
    """No padding is taken for a vector, and no vector for padding."""
    vectors = -np.abs(eighths(np.random.default_rng(0), 1_500)) - 1
    queries = np.ones((3, 40), np.float32)
    found = ExactSearcher.build(vectors).search(queries, 1_500)
    assert found.scores.max() < -40
    assert_same(found, brute_force(vectors, queries, 1_500))


def test_a_layout_of_another_size_is_refused(tmp_path):
    searcher = ExactSearcher.build(eighths(np.random.default_rng(0), 1_500))
    searcher.save(tmp_path)
    for size in (1_024, 2_049):
        with pytest.raises(ValueError, match="vectors of shape"):
            ExactSearcher.load(tmp_path, size)
    assert ExactSearcher.load(tmp_path, 1_500).size == 1_500


def test_what_is_loaded_is_mapped_and_not_read(tmp_path):
    ExactSearcher.build(eighths(np.random.default_rng(0), 1_500)).save(tmp_path)
    layout = ExactSearcher.load(tmp_path, 1_500)._product.layout
    assert isinstance(layout.base, np.memmap)
    assert not layout.flags.writeable


def test_version_1_kept_vectors_in_order_of_the_row(tmp_path):
    rng = np.random.default_rng(0)
    vectors, queries = eighths(rng, 1_500), eighths(rng, 5)
    np.save(tmp_path / VECTORS, vectors)
    searcher = ExactSearcher.load(tmp_path, 1_500)
    assert_same(searcher.search(queries, 9), brute_force(vectors, queries, 9))
