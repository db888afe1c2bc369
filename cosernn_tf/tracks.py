"""Track embeddings on disk: `workspace/tracks/`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from cosernn_tf.config import canonical_json
from cosernn_tf.errors import UserError
from cosernn_tf.schema import EMBEDDING_DIM
from cosernn_tf.staging import staged
from cosernn_tf.workspace import SUCCESS, SessionsDirectory

EMBEDDINGS: Final = "embeddings.npy"
DESCRIPTION: Final = "embeddings.json"
KEYED_VECTORS: Final = "vectors.kv"


@dataclass(frozen=True)
class TrackEmbeddings:
    """Embeddings of the track vocabulary."""

    vectors: np.ndarray
    """(tracks, dim) float32, unit norm; zero where a track has none."""
    description: Mapping[str, Any]
    """How they were trained, and the checksum of the vocabulary that they belong to."""

    @property
    def sha256(self) -> str:
        return str(self.description["embeddings_sha256"])


def save_track_embeddings(
    path: Path, keyed_vectors: Any, vectors: np.ndarray, *, description: Mapping[str, Any]
) -> TrackEmbeddings:
    """Writes the directory as a whole; `keyed_vectors` is gensim's `KeyedVectors`."""
    full = {**description, "embeddings_sha256": _sha256(vectors)}
    with staged(path, marker=DESCRIPTION) as staging:
        np.save(staging / EMBEDDINGS, vectors)
        (staging / DESCRIPTION).write_text(canonical_json(full), encoding="utf-8")
        keyed_vectors.save(str(staging / KEYED_VECTORS))
    return TrackEmbeddings(vectors, full)


def load_track_embeddings(path: Path, sessions: SessionsDirectory) -> TrackEmbeddings:
    """The embeddings of the track vocabulary of `sessions`.

    Raises:
        UserError: There are none, they belong to another vocabulary, or they are malformed.
    """
    if not (path / SUCCESS).is_file():
        raise UserError(f"{path} has no track embeddings: run cosernn_tf.embed_tracks first")
    try:
        description = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        vocabulary, checksum = (description[f"{of}_sha256"] for of in ("vocabulary", "embeddings"))
        # Mapped, so that processes share them; an ndarray, as its own class is slow.
        vectors = np.asarray(np.load(path / EMBEDDINGS, mmap_mode="r"))
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}: {error}): "
            "run cosernn_tf.embed_tracks again"
        ) from error
    if vocabulary != sessions.track_vocabulary_sha256:
        raise UserError(
            f"the track embeddings in {path} belong to another track vocabulary than that of "
            f"{sessions.path}: run cosernn_tf.embed_tracks again"
        )
    expected = (sessions.tracks.num_rows, EMBEDDING_DIM)
    if vectors.shape != expected or _sha256(vectors) != checksum:
        raise UserError(
            f"{path / EMBEDDINGS} is damaged (shape {vectors.shape}, expected {expected}, or "
            "another checksum): run cosernn_tf.embed_tracks again"
        )
    return TrackEmbeddings(vectors, description)


def _sha256(vectors: np.ndarray) -> str:
    """Of the bytes, not copied."""
    return hashlib.sha256(np.ascontiguousarray(vectors).reshape(-1).view(np.uint8).data).hexdigest()
