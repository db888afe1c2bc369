"""From a directory of session sequences (and playlists) to `workspace/tracks/`."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import logging

from cosernn_tf.config import EmbeddingConfig
from cosernn_tf.dataset import read_shards
from cosernn_tf.errors import UserError
from cosernn_tf.playlists import playlist_files
from cosernn_tf.table import SessionTable
from cosernn_tf.tracks import TrackEmbeddings, save_track_embeddings
from cosernn_tf.word2vec import (
    PlaylistSentences,
    SessionSentences,
    train_vectors,
    vocabulary_vectors,
)
from cosernn_tf.workspace import RAW_IDS, SessionsDirectory


def embed_tracks(
    sessions: SessionsDirectory,
    *,
    playlists: Path | None,
    output: Path,
    config: EmbeddingConfig,
    playlists_format: str = "jsonl",
) -> TrackEmbeddings:
    """Trains and writes the embeddings of the track vocabulary of `sessions`.

    Args:
        sessions: Gives the vocabulary and, without playlists, the sentences.
        playlists: File or directory; None: training-split sessions are the sentences.
        output: Directory to write, replaced as a whole.
        config: Of word2vec.
        playlists_format: One of `playlists.FORMATS`.
    """
    track_ids = sessions.tracks["track_id"].to_numpy(zero_copy_only=False)
    if playlists is None:
        sentences: PlaylistSentences | SessionSentences = SessionSentences(
            _Tables(sessions), track_ids, sessions.manifest.split
        )
        source = {"sentences": "training-split sessions"}
    else:
        sentences = PlaylistSentences(playlists, playlists_format)
        source = {
            "sentences": "playlists",
            "playlists_format": playlists_format,
            "playlists_sha256": playlists_sha256(playlists, playlists_format),
        }
    keyed_vectors = train_vectors(sentences, config)
    vectors = vocabulary_vectors(keyed_vectors, track_ids)
    embedded = int(np.count_nonzero(vectors.any(axis=1)))
    if not embedded:
        raise UserError(_nothing_embedded(sessions, source["sentences"]))
    embeddings = save_track_embeddings(
        output,
        keyed_vectors,
        vectors,
        description={
            **source,
            "method": "word2vec CBOW (gensim)",
            "options": dataclasses.asdict(config),
            "tracks": len(vectors),
            "tracks_embedded": embedded,
            "vocabulary_sha256": sessions.track_vocabulary_sha256,
        },
    )
    logging.info(
        "Embedded %d of %d tracks from %s: %s",
        embedded,
        len(vectors),
        source["sentences"],
        output,
    )
    return embeddings


def _nothing_embedded(sessions: SessionsDirectory, sentences: str) -> str:
    message = f"no track of {sessions.path} has an embedding from {sentences}"
    if sessions.manifest.ids["track_id"] != RAW_IDS["track_id"]:
        return f"{message}: its track ids are hashed, and playlists need the same hashes"
    return f"{message}: do they have the same track ids?"


def playlists_sha256(playlists: Path, playlists_format: str = "jsonl") -> str:
    """Of the file, or of the digests of several. Raises `UserError` if there is none."""
    digests = []
    for path in playlist_files(playlists, playlists_format):
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


class _Tables:
    """The shards, read anew by every epoch, so that memory does not grow with the users."""

    def __init__(self, sessions: SessionsDirectory) -> None:
        self._sessions = sessions

    def __iter__(self) -> Iterator[SessionTable]:
        return read_shards(self._sessions)
