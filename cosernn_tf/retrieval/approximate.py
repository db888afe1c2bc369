"""Approximate search by ScaNN; the only module that imports it."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from cosernn_tf.errors import UserError
from cosernn_tf.retrieval.contract import Neighbours
from cosernn_tf.retrieval.pruning import cores

ASSETS: Final = "scann"

_DIMENSIONS_PER_BLOCK: Final = 1
"""For each of which a code has 4 bits. With two, codes are half as long, but three times as many
candidates have to be scored again, and of vectors without clusters more."""
_ANISOTROPIC_QUANTIZATION_THRESHOLD: Final = 0.2
_TRAINING_SAMPLE: Final = 250_000
_PARALLEL_FROM: Final = 32
"""Queries from which threads gain more than they cost."""
_QUERIES_PER_THREAD: Final = 256
"""At most: what they look at in common is in the cache."""


class ScannMissingError(UserError):
    """ScaNN cannot be imported."""


@dataclass(frozen=True)
class ScannSettings:
    """How much of the catalogue a search for up to `k` neighbours looks at."""

    k: int
    leaves: int
    """Partitions of the vectors; 0 for none: hash codes of all are scored."""
    leaves_to_search: int
    reorder: int
    """Candidates whose score is computed again, exactly."""

    def for_k(self, k: int) -> "ScannSettings":
        """Settings that find as large a share of more neighbours.

        The next ones are mostly in the same leaves: with the square root of how many times as many
        are asked for, recall has risen on catalogues with and without clusters.
        """
        share = max(1.0, k / self.k)
        return ScannSettings(
            k=k,
            leaves=self.leaves,
            leaves_to_search=min(self.leaves, math.ceil(self.leaves_to_search * math.sqrt(share))),
            reorder=max(k, math.ceil(self.reorder * share)),
        )


class ScannSearcher:
    """ScaNN over unit-norm vectors."""

    def __init__(self, searcher: Any, settings: ScannSettings) -> None:
        self.settings = settings
        self._searcher = searcher

    @classmethod
    def build(cls, vectors: np.ndarray, settings: ScannSettings) -> "ScannSearcher":
        """Indexes (rows, dim) float32 `vectors`; of the settings, only the leaves are for good."""
        builder = _scann().scann_ops_pybind.builder(vectors, settings.k, "dot_product")
        if settings.leaves:
            builder = builder.tree(
                num_leaves=settings.leaves,
                num_leaves_to_search=settings.leaves_to_search,
                training_sample_size=min(len(vectors), _TRAINING_SAMPLE),
            )
        builder = builder.score_ah(
            _DIMENSIONS_PER_BLOCK,
            anisotropic_quantization_threshold=_ANISOTROPIC_QUANTIZATION_THRESHOLD,
        ).reorder(settings.reorder)
        return cls(builder.build(), settings)

    def with_settings(self, settings: ScannSettings) -> "ScannSearcher":
        """The same index, searched otherwise; it has as many leaves."""
        assert settings.leaves == self.settings.leaves
        return ScannSearcher(self._searcher, settings)

    @property
    def size(self) -> int:
        return int(self._searcher.size())

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        k = min(k, self.size)
        if not len(queries):
            return Neighbours(np.zeros((0, k), np.int64), np.zeros((0, k), np.float32))
        queries = np.ascontiguousarray(queries, np.float32)
        settings = self.settings.for_k(k)
        rows, scores = self._search(queries, settings)
        # ScaNN fills up with row 0, score NaN, where the leaves searched hold fewer than k vectors.
        (short,) = np.nonzero(np.isnan(scores[:, -1]))
        while len(short):
            settings = dataclasses.replace(
                settings, leaves_to_search=min(settings.leaves, 4 * settings.leaves_to_search)
            )
            rows[short], scores[short] = self._search(queries[short], settings)
            if settings.leaves_to_search == settings.leaves:
                break
            short = short[np.isnan(scores[short, -1])]
        return Neighbours(rows, scores)

    def _search(
        self, queries: np.ndarray, settings: ScannSettings
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores, (n, settings.k), best first, NaN last."""
        # All three are given, because what the index was built with need not suffice for this k.
        options: dict[str, Any] = {
            # Of equal scores it keeps the first row, except where only one neighbour is asked for.
            "final_num_neighbors": max(2, settings.k),
            "pre_reorder_num_neighbors": settings.reorder,
            "leaves_to_search": settings.leaves_to_search or None,
        }
        if len(queries) >= _PARALLEL_FROM:
            share = math.ceil(len(queries) / cores())
            found = self._searcher.search_batched_parallel(
                queries, batch_size=min(_QUERIES_PER_THREAD, share), **options
            )
        else:
            found = self._searcher.search_batched(queries, **options)
        rows, scores = np.asarray(found[0], np.int64), np.asarray(found[1], np.float32)
        order = np.lexsort((rows, -scores))[:, : settings.k]
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)

    def save(self, directory: Path) -> None:
        assets = directory / ASSETS
        assets.mkdir()
        # Relative, because the directory is renamed into place after it is written.
        self._searcher.serialize(str(assets), relative_path=True)

    @classmethod
    def load(cls, directory: Path, settings: ScannSettings) -> "ScannSearcher":
        searcher = _scann().scann_ops_pybind.load_searcher(str(directory / ASSETS))
        return cls(searcher, settings)


def require_scann() -> None:
    """Raises `ScannMissingError` unless ScaNN can be imported."""
    _scann()


def _scann() -> Any:
    try:
        import scann
    except Exception as error:  # an undefined symbol surfaces as more than ImportError
        raise ScannMissingError(
            f"ScaNN cannot be imported ({error}): it needs the TensorFlow it was built for; "
            'install "scann[tf]==1.4.2" with tensorflow 2.20, or use --index=exact'
        ) from error
    return scann
