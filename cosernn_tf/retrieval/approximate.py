"""Approximate search by ScaNN; the only module that imports it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from cosernn_tf.errors import UserError
from cosernn_tf.retrieval.contract import Neighbours

ASSETS: Final = "scann"

_DIMENSIONS_PER_BLOCK: Final = 2
_ANISOTROPIC_QUANTIZATION_THRESHOLD: Final = 0.2
_TRAINING_SAMPLE: Final = 250_000


class ScannMissingError(UserError):
    """ScaNN cannot be imported."""


@dataclass(frozen=True)
class ScannSettings:
    """How much of the catalogue a search looks at."""

    leaves: int
    """Partitions of the vectors; 0 for none: hash codes of all are scored."""
    leaves_to_search: int
    reorder: int
    """Candidates whose score is computed again, exactly; at least the k of a search."""


def settings_ladder(rows: int, *, partitioned: bool) -> list[ScannSettings]:
    """Settings to try in turn until recall suffices, cheapest first."""
    if not partitioned:
        return [ScannSettings(0, 0, reorder) for reorder in (300, 600, 1200, 2400)]
    leaves = round(math.sqrt(rows))
    return [
        ScannSettings(leaves, max(1, math.ceil(leaves * share)), reorder)
        for share, reorder in ((0.05, 400), (0.1, 600), (0.2, 1200), (0.4, 2400))
    ]


class ScannSearcher:
    """ScaNN over unit-norm vectors."""

    def __init__(self, searcher: Any, *, rows: int) -> None:
        self._searcher = searcher
        self._rows = rows

    @classmethod
    def build(cls, vectors: np.ndarray, settings: ScannSettings, *, k: int) -> "ScannSearcher":
        """Indexes (rows, dim) float32 `vectors`; searches return k neighbours unless told."""
        builder = _scann().scann_ops_pybind.builder(vectors, k, "dot_product")
        if settings.leaves:
            builder = builder.tree(
                num_leaves=settings.leaves,
                num_leaves_to_search=settings.leaves_to_search,
                training_sample_size=min(len(vectors), _TRAINING_SAMPLE),
            )
        builder = builder.score_ah(
            _DIMENSIONS_PER_BLOCK,
            anisotropic_quantization_threshold=_ANISOTROPIC_QUANTIZATION_THRESHOLD,
        ).reorder(min(settings.reorder, len(vectors)))
        return cls(builder.build(), rows=len(vectors))

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        k = min(k, self._rows)
        rows, scores = self._searcher.search_batched(
            np.ascontiguousarray(queries, np.float32),
            final_num_neighbors=k,
            # A request beyond the reordered candidates would come back short.
            **({"pre_reorder_num_neighbors": k} if k > self._reordered else {}),
        )
        rows, scores = np.asarray(rows, np.int64), np.asarray(scores, np.float32)
        order = np.lexsort((rows, -scores))
        return Neighbours(
            np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
        )

    @property
    def _reordered(self) -> int:
        return int(self._searcher.searcher.config().exact_reordering.approx_num_neighbors)

    def save(self, directory: Path) -> None:
        assets = directory / ASSETS
        assets.mkdir()
        # Relative, because the directory is renamed into place after it is written.
        self._searcher.serialize(str(assets), relative_path=True)

    @classmethod
    def load(cls, directory: Path, *, rows: int) -> "ScannSearcher":
        return cls(_scann().scann_ops_pybind.load_searcher(str(directory / ASSETS)), rows=rows)


def _scann() -> Any:
    try:
        import scann
    except Exception as error:  # an undefined symbol surfaces as more than ImportError
        raise ScannMissingError(
            f"ScaNN cannot be imported ({error}): it needs the TensorFlow it was built for; "
            'install "scann[tf]==1.4.2" with tensorflow 2.20, or use --index=exact'
        ) from error
    return scann
