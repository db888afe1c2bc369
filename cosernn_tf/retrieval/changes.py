"""What has changed in the catalogue of an index since its track embeddings were made."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosernn_tf.schema import EMBEDDING_DIM
from cosernn_tf.whole_files import write_parquet

ADDED: Final = "added_tracks.parquet"
REMOVED: Final = "removed_tracks.parquet"

ADDED_SCHEMA: Final = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("track_id", pa.string(), nullable=False),
        pa.field("embedding", pa.list_(pa.float32(), EMBEDDING_DIM), nullable=False),
        pa.field("is_indexed", pa.bool_(), nullable=False),
    ]
)
REMOVED_SCHEMA: Final = ADDED_SCHEMA.remove(3).remove(2)


def is_among(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Which of some values are among many others, without sorting these."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    place = np.searchsorted(ascending, values)
    return ascending[np.minimum(place, len(ascending) - 1)] == values


@dataclass(frozen=True)
class Changes:
    """Tracks with an embedding that the vocabulary does not give them, and tracks taken down.

    A track that the vocabulary does not have gets a row beyond it, which stays its own.
    """

    rows: np.ndarray
    """(added,) int64, ascending: their rows."""
    track_ids: pa.Array
    """(added,) strings."""
    vectors: np.ndarray
    """(added, dim) float32, unit norm."""
    is_indexed: np.ndarray
    """(added,) bool: whether the searcher has it; the others are searched beside it."""
    removed: np.ndarray
    """(removed,) int64, ascending: rows that are not to be found."""
    removed_ids: pa.Array
    """(removed,) strings."""

    @classmethod
    def none(cls) -> "Changes":
        return cls(
            rows=np.zeros(0, np.int64),
            track_ids=pa.array([], pa.string()),
            vectors=np.zeros((0, EMBEDDING_DIM), np.float32),
            is_indexed=np.zeros(0, bool),
            removed=np.zeros(0, np.int64),
            removed_ids=pa.array([], pa.string()),
        )

    def num_rows(self, vocabulary: int) -> int:
        """Rows of the vocabulary and of the tracks beyond it."""
        return int(max(vocabulary, self.rows[-1] + 1)) if len(self.rows) else vocabulary

    def beyond(self, vocabulary: int) -> pa.Array:
        """Ids of the tracks beyond the vocabulary, in order of their rows."""
        first = int(np.searchsorted(self.rows, vocabulary))
        return self.track_ids.slice(first)

    def place_of(self, rows: np.ndarray) -> np.ndarray:
        """Where in `self.rows` each of (n,) rows is; -1: it is not of an added track."""
        return np.where(is_among(rows, self.rows), np.searchsorted(self.rows, rows), -1)

    def save(self, directory: Path) -> None:
        embeddings = pa.FixedSizeListArray.from_arrays(
            pa.array(self.vectors.reshape(-1)), EMBEDDING_DIM
        )
        added = pa.table(
            [pa.array(self.rows), self.track_ids, embeddings, pa.array(self.is_indexed)],
            schema=ADDED_SCHEMA,
        )
        removed = pa.table([pa.array(self.removed), self.removed_ids], schema=REMOVED_SCHEMA)
        for name, table in ((ADDED, added), (REMOVED, removed)):
            (directory / name).unlink(missing_ok=True)
            if table.num_rows:
                write_parquet(directory / name, [table], table.schema)

    @classmethod
    def load(cls, directory: Path) -> "Changes":
        """Raises `ValueError` or `OSError` where a file is damaged."""
        changes = cls.none()
        if (directory / ADDED).is_file():
            table = pq.read_table(directory / ADDED, schema=ADDED_SCHEMA).combine_chunks()
            embeddings = table["embedding"].chunk(0).flatten().to_numpy()
            changes = dataclasses.replace(
                changes,
                rows=table["row"].to_numpy(),
                track_ids=table["track_id"].chunk(0),
                vectors=embeddings.reshape(-1, EMBEDDING_DIM),
                is_indexed=table["is_indexed"].to_numpy(),
            )
        if (directory / REMOVED).is_file():
            table = pq.read_table(directory / REMOVED, schema=REMOVED_SCHEMA).combine_chunks()
            changes = dataclasses.replace(
                changes, removed=table["row"].to_numpy(), removed_ids=table["track_id"].chunk(0)
            )
        return changes
