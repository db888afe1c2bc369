"""What searches: our two searchers, NumPy, and the libraries that others use.

Each builds its index into a directory and opens it from there. All that can be tuned are, by
bisection, to the same recall on the same queries; the libraries are given the exact neighbours of
these, which `build_index` finds itself.
"""

import abc
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from cosernn_tf.retrieval.approximate import require_scann
from cosernn_tf.retrieval.contract import Neighbours, recall
from cosernn_tf.retrieval.index import EXACT, SCANN, build_index, open_index
from cosernn_tf.retrieval.pruning import cores
from cosernn_tf.tracks import TrackEmbeddings

Search = Callable[[np.ndarray, int], np.ndarray]
"""(n, k) rows of (n, dim) queries."""

TRACKS: Final = "tracks.npy"
"""Beside each contender's directory: they may map it."""

CHECKSUMS: Final = {"vocabulary_sha256": "", "embeddings_sha256": ""}
_PARAMETERS: Final = "parameters.json"
_INDEX: Final = "index.bin"
_SEED: Final = 1
_MORE: Final = (1.3, 1.7, 2.5)


@dataclass(frozen=True)
class Task:
    """What an index is built for."""

    tracks: np.ndarray
    """(tracks, dim) float32, unit norm."""
    held_out: np.ndarray
    """(n, dim) float32 queries to tune on."""
    exact: Neighbours
    """Their k neighbours."""
    min_recall: float
    """To reach on them."""

    @property
    def k(self) -> int:
        return int(self.exact.rows.shape[1])

    def is_reached(self, rows: np.ndarray) -> bool:
        """Whether these are enough of the neighbours."""
        found = Neighbours(rows.astype(np.int64), np.zeros(rows.shape, np.float32))
        return recall(found, self.exact) >= self.min_recall


class Contender(abc.ABC):
    """A way to search."""

    name: ClassVar[str]
    is_exact: ClassVar[bool] = False

    @abc.abstractmethod
    def build(self, task: Task, directory: Path) -> None:
        """Writes an index into a directory that is there, tuned where it can be."""

    @abc.abstractmethod
    def open(self, directory: Path) -> Search:
        """From what `build` wrote."""

    def load_libraries(self) -> None:  # noqa: B027
        """Imports what `open` needs, so that it takes no part of its time."""

    def parameters_of(self, directory: Path) -> Any:
        """What tuning has found; None: nothing was tuned."""
        path = directory / _PARAMETERS
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


class NumPy(Contender):
    """A product with all vectors, a partition, and a sort of the best."""

    name = "NumPy, one query at a time"
    is_exact = True

    def build(self, task: Task, directory: Path) -> None:
        """Nothing to build: the vectors are read as they are."""

    def open(self, directory: Path) -> Search:
        tracks = np.load(directory.parent / TRACKS)

        def search(queries: np.ndarray, k: int) -> np.ndarray:
            found = np.empty((len(queries), k), np.int64)
            for number, query in enumerate(queries):
                scores = tracks @ query
                best = np.argpartition(scores, len(scores) - k)[-k:]
                found[number] = best[np.argsort(-scores[best])]
            return found

        return search


class NumPyBatched(NumPy):
    """The same for several queries at once."""

    name = "NumPy, 64 queries at a time"

    def open(self, directory: Path) -> Search:
        tracks = np.load(directory.parent / TRACKS)

        def search(queries: np.ndarray, k: int) -> np.ndarray:
            found = []
            for start in range(0, len(queries), 64):
                scores = queries[start : start + 64] @ tracks.T
                best = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, -k:]
                order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
                found.append(np.take_along_axis(best, order, axis=1))
            return np.concatenate(found)

        return search


class Ours(Contender):
    """`build_index` and `open_index`."""

    kind: ClassVar[str]

    def build(self, task: Task, directory: Path) -> None:
        build_index(
            TrackEmbeddings(task.tracks, CHECKSUMS),
            task.held_out,
            directory / "index",
            kind=self.kind,
            min_recall=task.min_recall,
            k=task.k,
        )

    def open(self, directory: Path) -> Search:
        tracks = np.load(directory.parent / TRACKS, mmap_mode="r")
        index = open_index(directory / "index", TrackEmbeddings(tracks, CHECKSUMS))
        return lambda queries, k: index.search(queries, k).rows

    def parameters_of(self, directory: Path) -> Any:
        description = json.loads((directory / "index/index.json").read_text(encoding="utf-8"))
        return {name: description[name] for name in ("kind", "settings", "recall")}


class OursExact(Ours):
    """Every query against every vector."""

    name = "ours, exact"
    kind = EXACT
    is_exact = True


class OursScann(Ours):
    """Tuned by `build_index`."""

    name = "ours, ScaNN"
    kind = SCANN

    def load_libraries(self) -> None:
        require_scann()


class Faiss(Contender):
    """An index of faiss by its factory's name, and parameters in the order in which they matter."""

    def factory(self, num_tracks: int) -> str:
        """Its name for a catalogue of this size."""
        raise NotImplementedError

    parameters: ClassVar[dict[str, int]]
    """By name: the most that is tried. The first is the least that suffices with the others at
    their most, and so on."""

    def build(self, task: Task, directory: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(cores())
        rows, dim = task.tracks.shape
        index = faiss.index_factory(dim, self.factory(rows), faiss.METRIC_INNER_PRODUCT)
        index.train(task.tracks)
        index.add(task.tracks)
        faiss.write_index(index, str(directory / _INDEX))
        space = faiss.ParameterSpace()

        def reaches(chosen: dict[str, int]) -> bool:
            for name, value in chosen.items():
                space.set_index_parameter(index, name, value)
            return task.is_reached(index.search(task.held_out, task.k)[1])

        def seconds(chosen: dict[str, int]) -> float:
            started = time.perf_counter()
            reaches(chosen)
            return time.perf_counter() - started

        chosen = _tuned(dict(self.parameters), reaches)
        first, *others = self.parameters
        if others:
            # More of the first may spare so much of the second that it is quicker.
            candidates = [chosen]
            for times in _MORE:
                more = {**self.parameters, first: round(times * chosen[first])}
                candidates.append(_tuned(more, reaches, only=others))
            chosen = min(candidates, key=seconds)
        _write(directory, chosen)

    def open(self, directory: Path) -> Search:
        import faiss

        faiss.omp_set_num_threads(cores())
        index = faiss.read_index(str(directory / _INDEX))
        for name, value in self.parameters_of(directory).items():
            faiss.ParameterSpace().set_index_parameter(index, name, value)
        return lambda queries, k: index.search(queries, k)[1]

    def load_libraries(self) -> None:
        import faiss  # noqa: F401


class FaissFlat(Faiss):
    """Some partitions, all of whose vectors are scored."""

    name = "faiss, IVF-Flat"
    parameters: ClassVar = {"nprobe": 1_000}

    def factory(self, num_tracks: int) -> str:
        return f"IVF{_lists(num_tracks)},Flat"


class FaissFastScan(Faiss):
    """The one most like ScaNN: 4 bits a dimension, and some candidates scored again."""

    name = "faiss, IVF-PQ fast scan, refined"
    parameters: ClassVar = {"nprobe": 1_000, "k_factor_rf": 24}

    def factory(self, num_tracks: int) -> str:
        return f"IVF{_lists(num_tracks)},PQ40x4fs,RFlat"


class FaissHnsw(Faiss):
    """A graph."""

    name = "faiss, HNSW"
    parameters: ClassVar = {"efSearch": 4_000}

    def factory(self, num_tracks: int) -> str:
        return "HNSW16,Flat"


class Hnswlib(Contender):
    """A graph, by its inventors."""

    name = "hnswlib"

    def build(self, task: Task, directory: Path) -> None:
        import hnswlib

        rows, dim = task.tracks.shape
        index = hnswlib.Index(space="ip", dim=dim)
        index.init_index(rows, ef_construction=100, M=16, random_seed=_SEED)
        index.set_num_threads(cores())
        index.add_items(task.tracks)
        index.save_index(str(directory / _INDEX))

        def reaches(chosen: dict[str, int]) -> bool:
            index.set_ef(chosen["ef"])
            return task.is_reached(index.knn_query(task.held_out, task.k)[0])

        _write(directory, {"dim": dim, **_tuned({"ef": 4_000}, reaches, least=task.k)})

    def open(self, directory: Path) -> Search:
        import hnswlib

        parameters = self.parameters_of(directory)
        index = hnswlib.Index(space="ip", dim=parameters["dim"])
        index.load_index(str(directory / _INDEX))
        index.set_num_threads(cores())
        index.set_ef(parameters["ef"])
        return lambda queries, k: index.knn_query(queries, k)[0].astype(np.int64)

    def load_libraries(self) -> None:
        import hnswlib  # noqa: F401


CONTENDERS: Final[tuple[Contender, ...]] = (
    NumPy(),
    NumPyBatched(),
    OursExact(),
    OursScann(),
    FaissFlat(),
    FaissFastScan(),
    FaissHnsw(),
    Hnswlib(),
)


def _lists(num_tracks: int) -> int:
    """As many as ScaNN has partitions."""
    return max(1, round(num_tracks**0.5))


def _tuned(
    most: dict[str, int],
    reaches: Callable[[dict[str, int]], bool],
    *,
    least: int = 1,
    only: Iterable[str] | None = None,
) -> dict[str, int]:
    """Of each parameter in turn the least that suffices, the others as they are by then."""
    chosen = dict(most)
    for name in most if only is None else only:
        low, high = least, chosen[name]
        # `high` suffices, or nothing does.
        while low < high:
            middle = (low + high) // 2
            if reaches({**chosen, name: middle}):
                high = middle
            else:
                low = middle + 1
        chosen[name] = high
    return chosen


def _write(directory: Path, parameters: dict[str, int]) -> None:
    (directory / _PARAMETERS).write_text(json.dumps(parameters), encoding="utf-8")
