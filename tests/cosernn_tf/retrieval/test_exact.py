"""What only exact search has: blocks of queries, groups of groups."""

import numpy as np
import pytest

from cosernn_tf.retrieval import exact
from cosernn_tf.retrieval.exact import ExactSearcher

from .vectors import assert_same, brute_force, eighths


@pytest.mark.parametrize("k", [1, 3, 17])
def test_groups_of_groups_of_vectors(k):
    rng = np.random.default_rng(k)
    vectors, queries = eighths(rng, 40_003), eighths(rng, 16)
    # Equal vectors at the ends, so that ties fall into the first and the padded last group.
    vectors[[0, 33, 20_000, 40_001, 40_002]] = queries[0]
    assert_same(ExactSearcher(vectors).search(queries, k), brute_force(vectors, queries, k))


def test_blocks_of_queries_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    vectors, queries = eighths(rng, 100), eighths(rng, 23)
    monkeypatch.setattr(exact, "_SCORES_PER_BLOCK", 5 * 128)
    assert_same(ExactSearcher(vectors).search(queries, 9), brute_force(vectors, queries, 9))
    monkeypatch.setattr(exact, "_SCORES_PER_BLOCK", 1)
    assert_same(ExactSearcher(vectors).search(queries, 9), brute_force(vectors, queries, 9))
