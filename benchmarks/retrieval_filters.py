"""Searches of our ScaNN index with filters, and the exact answers with the same ones."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.retrieval_contenders import CHECKSUMS, TRACKS, Search
from benchmarks.retrieval_vectors import Catalogue
from cosernn_tf.retrieval.contract import NO_ROW, Neighbours
from cosernn_tf.retrieval.exact import ExactSearcher
from cosernn_tf.retrieval.index import open_index
from cosernn_tf.tracks import TrackEmbeddings

_HEARD_NEAR: Final = 250
_HEARD_ELSEWHERE: Final = 250
_MARKETS: Final = {"a market of half of the tracks": 0.5, "a market of 1 % of the tracks": 0.01}

FILTERS: Final = ("500 heard tracks excluded", *_MARKETS)


def filtered(
    directory: Path, catalogue: Catalogue, k: int, *, seed: int = 2
) -> Iterator[tuple[str, Search, Neighbours]]:
    """Name, search and exact answers of each of `FILTERS`.

    Args:
        directory: Of the index.
        catalogue: That it has.
        k: Neighbours.
        seed: Of what is drawn.
    """
    rng = np.random.default_rng(seed)
    tracks = catalogue.tracks
    mapped = np.load(directory.parent / TRACKS, mmap_mode="r")
    index = open_index(directory / "index", TrackEmbeddings(mapped, CHECKSUMS))
    near = ExactSearcher.build(tracks).search(catalogue.queries, min(len(tracks), 10 * k)).rows
    heard = {}
    for query, rows in zip(catalogue.queries, near, strict=True):
        some = rng.choice(rows, min(len(rows) // 2, _HEARD_NEAR), replace=False)
        others = rng.integers(0, len(tracks), _HEARD_ELSEWHERE)
        heard[query.tobytes()] = np.concatenate([some, others])

    def without_heard(queries: np.ndarray, k: int) -> np.ndarray:
        exclude = [heard[query.tobytes()] for query in queries]
        return index.search(queries, k, exclude=exclude).rows

    yield (
        FILTERS[0],
        without_heard,
        _exact(
            near, k, lambda number, rows: ~np.isin(rows, heard[catalogue.queries[number].tobytes()])
        ),
    )
    for name, share in _MARKETS.items():
        mask = rng.random(len(tracks)) < share
        market = index.allow(mask)
        (rows,) = np.nonzero(mask)
        found = ExactSearcher.build(tracks[rows]).search(catalogue.queries, k)

        def within(queries: np.ndarray, k: int, market=market) -> np.ndarray:  # type: ignore[no-untyped-def]
            return index.search(queries, k, allowed=market).rows

        yield name, within, Neighbours(rows[found.rows], found.scores)


def _exact(near: np.ndarray, k: int, passes: Callable[[int, np.ndarray], np.ndarray]) -> Neighbours:
    """Of ten times as many neighbours the first k that pass."""
    rows = np.full((len(near), k), NO_ROW)
    for number, candidates in enumerate(near):
        kept = candidates[passes(number, candidates)][:k]
        assert len(kept) == k
        rows[number] = kept
    return Neighbours(rows, np.zeros(rows.shape, np.float32))
