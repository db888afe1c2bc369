"""Retrieval from the whole catalogue: where a session's tracks stand among all tracks.

Track ranking (§6.2.2) asks which of the tracks that a user has just listened to come next, and so
never about others. Here all tracks with an embedding are ranked for every session, as a recommender
does that searches its whole index.
"""

import dataclasses
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from cosernn_tf.evaluation import metrics
from cosernn_tf.evaluation.candidates import Relevance
from cosernn_tf.evaluation.catalogue_metrics import (
    BEYOND,
    CATALOGUE_METRICS,
    CUTOFFS,
    Part,
    catalogue_scores,
)
from cosernn_tf.evaluation.catalogue_search import Best, CatalogueSearch
from cosernn_tf.evaluation.recommended import Popularity, Recommended
from cosernn_tf.evaluation.threads import in_threads
from cosernn_tf.retrieval.pruning import QUERIES
from cosernn_tf.table import SessionTable

NO_TRACK: Final = -1

_ROW_BITS: Final = 32


@dataclass(frozen=True)
class RelevantTracks:
    """The distinct tracks of n sessions that are in the catalogue."""

    rows: np.ndarray
    """(n, slots) int64 rows of the catalogue; `NO_TRACK` where there are no more."""
    is_repeated: np.ndarray
    """(n, slots) bool: the user had listened to it, in an earlier session as kept."""
    outside: int
    """Distinct tracks of these sessions that have no embedding, in all."""

    def parts(self, sessions: np.ndarray) -> dict[Part, np.ndarray]:
        """By part, which slots of these sessions are relevant."""
        is_track, is_repeated = self.rows[sessions] != NO_TRACK, self.is_repeated[sessions]
        return {
            Part.ALL: is_track,
            Part.REPEATED: is_track & is_repeated,
            Part.NEW: is_track & ~is_repeated,
        }


def relevant_tracks(
    table: SessionTable,
    targets: np.ndarray,
    row_of_track: np.ndarray,
    *,
    relevance: Relevance = Relevance.ANY,
) -> RelevantTracks:
    """The relevant tracks of sessions.

    Args:
        table: S sessions, whole histories.
        targets: (n,) int64 rows of sessions.
        row_of_track: (tracks,) int64 row of the catalogue of each track of the vocabulary, or
            `NO_TRACK`.
        relevance: Which tracks of a session are relevant.
    """
    track = table.track[targets]
    is_relevant = track >= 0
    if Relevance(relevance) is Relevance.PLAYED:
        is_relevant &= table.skipped[targets] == 0
    # A track and whether it is repeated, in one integer: sorted, equal ones are neighbours.
    keys = np.where(is_relevant, 2 * track + _is_repeated(table)[targets], NO_TRACK)
    keys = -np.sort(-keys, axis=1)
    keys[:, 1:][keys[:, 1:] == keys[:, :-1]] = NO_TRACK
    is_track = keys != NO_TRACK
    rows = np.where(is_track, row_of_track[np.maximum(keys, 0) >> 1], NO_TRACK)
    return RelevantTracks(
        rows=rows,
        is_repeated=(rows != NO_TRACK) & (keys & 1 == 1),
        outside=int(np.count_nonzero(is_track & (rows == NO_TRACK))),
    )


def _share(part: int, of: int) -> float | None:
    return part / of if of else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _is_repeated(table: SessionTable) -> np.ndarray:
    """(S, slots) bool: a track that an earlier session of the user has."""
    (listens,) = np.nonzero(table.track.ravel() >= 0)
    # By track, then in order: all listens of a track by a user are neighbours, the first one first.
    keys = (table.track.ravel()[listens] << _ROW_BITS) | listens
    keys.sort()
    listens = keys & ((1 << _ROW_BITS) - 1)
    session = listens // table.track.shape[1]
    is_first = np.ones(len(keys), bool)
    is_first[1:] = np.diff(keys >> _ROW_BITS) != 0
    is_first[1:] |= np.diff(table.user_of_session[session]) != 0
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(keys)), 0))
    repeated = np.zeros(table.track.shape, bool)
    repeated.ravel()[listens] = session > session[first]
    return repeated


class Catalogue:
    """All tracks with an embedding, and what models retrieve from them, block by block."""

    def __init__(
        self,
        track_embeddings: np.ndarray,
        train_listens: np.ndarray,
        *,
        models: Sequence[str],
        relevance: Relevance = Relevance.ANY,
    ) -> None:
        """Has retrieved nothing yet.

        Args:
            track_embeddings: (tracks, dim) float32, unit norm, zero where a track has none.
            train_listens: (tracks,) int64 listens of each in the training split.
            models: That will be scored.
            relevance: Which tracks of a session are relevant.

        Raises:
            ValueError: No track has an embedding.
        """
        is_embedded = np.asarray(track_embeddings.any(axis=1))
        size = int(np.count_nonzero(is_embedded))
        if not size:
            raise ValueError("no track has an embedding")
        # Not a second time if that is all of them.
        has_all = size == len(track_embeddings)
        self._vectors = track_embeddings if has_all else track_embeddings[is_embedded]
        self._search = CatalogueSearch(self._vectors)
        self._row_of_track = np.full(len(track_embeddings), NO_TRACK)
        self._row_of_track[is_embedded] = np.arange(size)
        self._popularity = Popularity(train_listens[is_embedded])
        self._models = list(models)
        self._relevance = relevance
        # A track is in a list at most once, and there are fewer lists than 2³¹.
        self._counts = {k: np.zeros((len(self._models), size), np.int32) for k in CUTOFFS}
        self._lists = np.zeros(len(self._models), np.int64)
        self._listened = np.zeros(size, np.int32)
        self._sessions = 0
        self._repeated = 0
        self._outside = 0
        self._scored = np.zeros(len(CATALOGUE_METRICS), np.int64)
        self._sums = np.zeros((len(self._models), len(CATALOGUE_METRICS)))

    @property
    def size(self) -> int:
        """Tracks."""
        return self._search.size

    def score(
        self, table: SessionTable, targets: np.ndarray, predictions: Mapping[str, np.ndarray]
    ) -> dict[str, dict[str, np.ndarray]]:
        """Retrieves for some sessions, and keeps what `summary` tells.

        Args:
            table: S sessions, whole histories.
            targets: (n,) int64 rows of sessions.
            predictions: By model, all of them: (n, dim) float32, unit norm or zero.

        Returns:
            By model and metric, (n,) float64; NaN where a session has nothing that is relevant.
        """
        relevant = relevant_tracks(table, targets, self._row_of_track, relevance=self._relevance)
        stacked = np.concatenate([predictions[model] for model in self._models])
        found = _Retrieval(self._search, self._vectors, relevant, self._counts).run(stacked)
        knows = stacked.any(axis=1).reshape(len(self._models), len(targets))
        self._lists += np.count_nonzero(knows, axis=1)
        self._listened += np.bincount(
            relevant.rows[relevant.rows != NO_TRACK], minlength=self.size
        ).astype(np.int32)
        self._sessions += len(targets)
        self._repeated += int(np.count_nonzero(relevant.is_repeated))
        self._outside += relevant.outside
        by_model = {name: values.reshape(knows.shape) for name, values in found.items()}
        for column, values in enumerate(by_model.values()):
            self._sums[:, column] += np.nansum(values, axis=1)
            self._scored[column] += np.count_nonzero(~np.isnan(values[0]))
        return {
            model: {name: values[number] for name, values in by_model.items()}
            for number, model in enumerate(self._models)
        }

    def summary(self) -> dict[str, Any]:
        """What all blocks had, for `metrics.json`; what is not defined is None."""
        listened = int(self._listened.sum(dtype=np.int64))
        names = [metric.name for metric in CATALOGUE_METRICS]
        with np.errstate(invalid="ignore"):
            means = self._sums / self._scored
        return {
            "tracks": self.size,
            "tracks_without_embedding": len(self._row_of_track) - self.size,
            "head_tracks": int(np.count_nonzero(self._popularity.is_head)),
            "sessions": self._sessions,
            "relevant_tracks": listened,
            "repeated_share": _share(self._repeated, listened),
            "outside_share": _share(self._outside, listened + self._outside),
            "scored": dict(zip(names, self._scored.tolist(), strict=True)),
            "models": {
                model: {
                    "metrics": dict(zip(names, map(_finite, means[number]), strict=True)),
                    "recommended": {
                        str(k): self._recommended(counts[number], int(self._lists[number]))
                        for k, counts in self._counts.items()
                    },
                }
                for number, model in enumerate(self._models)
            },
            "listened": self._recommended(self._listened, self._sessions),
        }

    def _recommended(self, counts: np.ndarray, lists: int) -> dict[str, Any]:
        found = dataclasses.asdict(Recommended.of(counts, lists, self._popularity))
        return {n: v if isinstance(v, int) else _finite(v) for n, v in found.items()}


class _Retrieval:
    """Retrieves for every model and session of a block; equal predictions are searched once."""

    def __init__(
        self,
        search: CatalogueSearch,
        vectors: np.ndarray,
        relevant: RelevantTracks,
        counts: Mapping[int, np.ndarray],
    ) -> None:
        self._search = search
        self._vectors = vectors
        self._relevant = relevant
        self._counts = counts
        self._lock = threading.Lock()

    def run(self, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """(models x sessions, dim) → by metric, (models x sessions,); adds to the counts."""
        scores = {metric.name: np.full(len(predictions), np.nan) for metric in CATALOGUE_METRICS}
        # Heuristics and oracles often predict the s⁺ of the same session.
        bits = np.ascontiguousarray(predictions).view(np.dtype((np.void, predictions[:1].nbytes)))
        _, first, query = np.unique(bits.ravel(), return_index=True, return_inverse=True)
        queries = predictions[first]
        # All that ask for the same stand together.
        order = np.argsort(query, kind="stable")
        splits = np.searchsorted(query[order], np.arange(len(queries) + 1))

        def retrieve(numbers: np.ndarray) -> None:
            places = order[splits[numbers[0]] : splits[numbers[-1] + 1]]
            of_query = query[places] - numbers[0]
            for name, values in self._retrieve(queries[numbers], of_query, places).items():
                scores[name][places] = values

        with tqdm(total=len(queries), desc="catalogue", unit="search", leave=False) as bar:
            numbers = np.arange(len(queries))
            for done in in_threads(retrieve, numbers, QUERIES):
                bar.update(done)
        return scores

    def _retrieve(
        self, queries: np.ndarray, of_query: np.ndarray, places: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Scores of some predictions: their places, and which of the queries they are."""
        sessions = places % len(self._relevant.rows)
        rows = self._relevant.rows[sessions]
        first = np.full(rows.shape, BEYOND)
        tied = np.ones(rows.shape, np.int64)
        # What knows nothing scores all tracks alike.
        knows = np.asarray(queries.any(axis=1))
        first[~knows[of_query]], tied[~knows[of_query]] = 1, self._search.size
        if knows.any():
            best = self._search.best(queries[knows], CUTOFFS[-1])
            (some,) = np.nonzero(knows[of_query])
            of_best = (np.cumsum(knows) - 1)[of_query[some]]
            self._count(best, of_best, places[some])
            first[some], tied[some] = self._places(
                best, of_best, queries[of_query[some]], rows[some]
            )
        return catalogue_scores(first, tied, self._relevant.parts(sessions))

    def _places(
        self, best: Best, of_best: np.ndarray, predictions: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """First place and tied tracks of each relevant one, as in `catalogue_metrics`."""
        first, tied = np.full(rows.shape, BEYOND), np.ones(rows.shape, np.int64)
        # By the same routine as the scores of the search: equal tracks are equal in every bit.
        scores = metrics.cosines(predictions, self._vectors[rows])
        last = best.scores[:, min(CUTOFFS[-1], self._search.size) - 1]
        is_among = (rows != NO_TRACK) & (scores >= last[of_best, None])
        row, slot = np.nonzero(is_among)
        of_list, own = best.scores[of_best[row]], scores[row, slot][:, None]
        first[row, slot] = 1 + np.count_nonzero(of_list > own, axis=1)
        tied[row, slot] = np.count_nonzero(of_list == own, axis=1)
        return first, tied

    def _count(self, best: Best, of_best: np.ndarray, places: np.ndarray) -> None:
        """Adds the tracks of lists; of equal ones those that come first in the catalogue are in."""
        model = places // len(self._relevant.rows)
        with self._lock:
            for k, counts in self._counts.items():
                listed = best.rows[:, : min(k, self._search.size)][of_best]
                np.add.at(counts, (model[:, None], listed), 1)
