"""Vectors to search, and the oracle that every search is held to."""

import numpy as np

from cosernn_tf.features import normalize
from cosernn_tf.retrieval.contract import Neighbours
from cosernn_tf.schema import EMBEDDING_DIM


def eighths(rng: np.random.Generator, rows: int) -> np.ndarray:
    """(rows, dim) multiples of 1/8: their dot products are exact in any order, and often equal."""
    return rng.integers(-3, 4, (rows, EMBEDDING_DIM)).astype(np.float32) / 8


def unit_vectors(rng: np.random.Generator, rows: int, *, clusters: int | None = None) -> np.ndarray:
    """(rows, dim) unit-norm vectors, around `clusters` centres if given."""
    vectors = rng.normal(size=(rows, EMBEDDING_DIM))
    if clusters is not None:
        centres = normalize(rng.normal(size=(clusters, EMBEDDING_DIM)))
        vectors = centres[rng.integers(0, clusters, rows)] + 0.15 * vectors
    return normalize(vectors.astype(np.float32))


def brute_force(vectors: np.ndarray, queries: np.ndarray, k: int) -> Neighbours:
    """A sort of all dot products; equal ones stay in order of the row."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Neighbours(rows, np.take_along_axis(scores, rows, axis=1).astype(np.float32))


def assert_same(found: Neighbours, expected: Neighbours) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.rows.dtype == np.int64
    assert found.scores.dtype == np.float32
