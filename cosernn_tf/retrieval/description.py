"""What an index holds, how good it is, and what it belongs to: `index.json`."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cosernn_tf.config import canonical_json
from cosernn_tf.errors import UserError
from cosernn_tf.retrieval.approximate import ScannSettings

DESCRIPTION: Final = "index.json"

INDEX_VERSION: Final = 2
_READ: Final = (1, INDEX_VERSION)
"""Version 1 knows no model, no machine, and keeps exact vectors in order of the row."""


@dataclass(frozen=True)
class IndexDescription:
    """What `index.json` has."""

    kind: str
    """`exact` or `scann`."""
    tracks: int
    """Vectors that the searcher has: tracks with an embedding when it was built."""
    k: int
    """Neighbours for which recall and latency were measured."""
    min_recall: float
    """What was asked for."""
    recall: float
    """Mean share of the k exact neighbours that are found; 1 for exact search."""
    queries: int
    """Held-out predictions on which it was measured."""
    settings: ScannSettings | None
    """Of ScaNN."""
    latency_median_ms: float | None
    """Of single searches on the machine that built it; None without queries."""
    latency_p99_ms: float | None
    vocabulary_sha256: str
    embeddings_sha256: str
    model_sha256: str | None = None
    """Of the file of the model whose predictions it was measured on; None: not known."""
    machine: Mapping[str, Any] | None = None
    """Where it was built and measured (`provenance.describe_machine`)."""
    added: int = 0
    """Tracks that have their embedding not from the track vocabulary's."""
    removed: int = 0
    """Tracks that must not be found."""
    index_version: int = INDEX_VERSION

    def to_json(self) -> str:
        return canonical_json(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str, *, where: Path) -> "IndexDescription":
        """Raises `UserError` if `text` is not a description that this version reads."""
        try:
            fields: dict[str, Any] = json.loads(text)
            if fields["index_version"] not in _READ:
                raise ValueError(f"version {fields['index_version']}, not {INDEX_VERSION}")
            settings = fields.pop("settings")
            return cls(**fields, settings=settings and ScannSettings(**settings))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{where} does not describe an index of this program ({error}): "
                "run cosernn_tf.build_index again"
            ) from error
