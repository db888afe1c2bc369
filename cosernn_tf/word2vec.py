"""Trains track embeddings: word2vec, continuous bag of words, over sequences of tracks (§3.2)."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from gensim.models.callbacks import CallbackAny2Vec
from gensim.models.word2vec import Word2Vec
from tqdm import tqdm

from cosernn_tf.config import EmbeddingConfig
from cosernn_tf.errors import UserError
from cosernn_tf.features import normalize
from cosernn_tf.playlists import playlist_files, read_playlists
from cosernn_tf.schema import EMBEDDING_DIM
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import Split

_MAX_WORDS_PER_SENTENCE: Final = 10_000
"""gensim silently ignores what a sentence holds beyond."""


class PlaylistSentences:
    """Playlists of a file or a directory, read anew in every epoch."""

    def __init__(self, path: Path, playlists_format: str = "jsonl") -> None:
        """Raises `UserError` if there is none."""
        self._files = playlist_files(path, playlists_format)
        self._format = playlists_format

    def __iter__(self) -> Iterator[list[str]]:
        for file in self._files:
            for tracks in read_playlists(file, self._format):
                yield from _pieces(tracks)


class SessionSentences:
    """Training-split sessions as sentences of track ids, from shards read anew in every epoch."""

    def __init__(self, tables: Iterable[SessionTable], track_ids: np.ndarray, split: Split) -> None:
        """`tables` is iterated once an epoch; `track_ids` is (tracks,) of the vocabulary."""
        self._tables = tables
        self._track_ids = track_ids
        self._split = split

    def __iter__(self) -> Iterator[list[str]]:
        for table in self._tables:
            training = table.session_start < self._split.validation_start
            for row in table.track[training]:
                yield list(self._track_ids[row[row >= 0]])


def train_vectors(sentences: Iterable[list[str]], config: EmbeddingConfig) -> Any:
    """The `KeyedVectors` of gensim for every track that occurs at least `config.min_count` times.

    With one worker the result is the same, bit for bit, for the same sentences and seed.

    Raises:
        UserError: No track occurs often enough.
    """
    model = Word2Vec(
        vector_size=EMBEDDING_DIM,
        sg=0,
        window=config.window,
        min_count=config.min_count,
        negative=config.negative,
        alpha=config.learning_rate,
        seed=config.seed,
        workers=config.workers,
    )
    model.build_vocab(sentences)
    if not len(model.wv):
        raise UserError(
            f"no track occurs at least --min_count={config.min_count} times in the sentences: "
            "give more playlists or a lower --min_count"
        )
    with _Progress(config.epochs) as progress:
        model.train(
            sentences,
            total_examples=model.corpus_count,
            epochs=config.epochs,
            callbacks=[progress],
        )
    return model.wv


def vocabulary_vectors(keyed_vectors: Any, track_ids: np.ndarray) -> np.ndarray:
    """(tracks, dim) float32 unit-norm rows for `track_ids`; zero where there is no vector."""
    rows = np.array([keyed_vectors.key_to_index.get(track, -1) for track in track_ids])
    vectors = np.zeros((len(track_ids), keyed_vectors.vector_size), np.float32)
    vectors[rows >= 0] = keyed_vectors.vectors[rows[rows >= 0]]
    return normalize(vectors)


class _Progress(CallbackAny2Vec):
    """A progress bar with one step an epoch."""

    def __init__(self, epochs: int) -> None:
        self._bar = tqdm(total=epochs, desc="embed tracks", unit="epoch")

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def on_epoch_end(self, model: Any) -> None:
        self._bar.update()


def _pieces(words: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(words), _MAX_WORDS_PER_SENTENCE):
        yield words[start : start + _MAX_WORDS_PER_SENTENCE]
