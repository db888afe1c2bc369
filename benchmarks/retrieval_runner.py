"""Builds, opens and asks all contenders, round by round, and keeps what they took."""

import dataclasses
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from absl import logging

from benchmarks.retrieval_contenders import CONTENDERS, TRACKS, NumPy, OursScann, Search, Task
from benchmarks.retrieval_filters import filtered
from benchmarks.retrieval_vectors import Catalogue, Vectors, make
from cosernn_tf.config import require
from cosernn_tf.provenance import describe_machine, in_one_line
from cosernn_tf.retrieval.contract import Neighbours, recall
from cosernn_tf.retrieval.exact import ExactSearcher
from cosernn_tf.whole_files import write_json

NAMES: Final = tuple(contender.name for contender in CONTENDERS)
"""Of all contenders."""
AT_ONCE: Final = 64
"""Queries of a batch whose time is a column: as many as an endpoint may put together."""

_PAUSE_SECONDS: Final = 0.3
_LEAST_SECONDS: Final = 0.3

_HELD_OUT: Final = "held_out.npy"
_EXACT: Final = "exact.npz"
_MEGA: Final = 10**6
_HEADER: Final = (
    "vectors",
    "search",
    "build, s",
    "build, peak MB",
    "on disk, MB",
    "open, s",
    "memory, MB",
    "recall@{k}",
    "queries/s",
    "times NumPy",
    f"{AT_ONCE} queries, ms",
    "one query, ms: p50",
    "p99",
)


@dataclass(frozen=True)
class RetrievalBenchmarkConfig:
    """What to measure.

    Raises:
        UserError: An option is out of its range.
    """

    directory: Path
    """For indices and results."""
    num_tracks: int = 1_000_000
    vectors: tuple[Vectors, ...] = tuple(Vectors)
    contenders: tuple[str, ...] = NAMES
    k: int = 100
    min_recall: float = 0.98
    num_queries: int = 1_000
    slow_queries: int = 100
    """Of these, what exact contenders are asked."""
    repeats: int = 3
    seed: int = 1

    def __post_init__(self) -> None:
        for flag in ("k", "num_queries", "slow_queries", "repeats"):
            value = getattr(self, flag)
            require(value >= 1, f"--{flag}={value} must be at least 1")
        require(
            self.num_tracks >= 10 * self.k,
            f"--num_tracks={self.num_tracks} must be at least {10 * self.k} with --k={self.k}",
        )
        require(
            0 < self.min_recall <= 1, f"--min_recall={self.min_recall} must be above 0, up to 1"
        )
        require(len(self.vectors) > 0, "--vectors is empty")
        for name in self.contenders:
            require(name in NAMES, f"--contenders: {name!r} is none of {'; '.join(NAMES)}")
        require(
            NumPy.name in self.contenders,
            f"--contenders lacks {NumPy.name!r}, which all are compared with",
        )


@dataclass
class Row:
    """A contender on a catalogue; times in seconds."""

    vectors: str
    search: str
    build_seconds: float | None = None
    build_peak_bytes: int | None = None
    disk_bytes: int | None = None
    open_seconds: float | None = None
    memory_bytes: int | None = None
    parameters: Any = None
    recall: float = 0.0
    queries_per_second: list[float] = field(default_factory=list)
    """A round."""
    ratio: list[float] = field(default_factory=list)
    """Of that to NumPy's in the same round."""
    batch_seconds: list[float] = field(default_factory=list)
    p50_seconds: list[float] = field(default_factory=list)
    p99_seconds: list[float] = field(default_factory=list)


def benchmark(config: RetrievalBenchmarkConfig) -> str:
    """Measures, writes `retrieval.json`, and gives a Markdown table."""
    config.directory.mkdir(parents=True, exist_ok=True)
    machine = describe_machine(
        ("numpy", "scann", *(name for name in ("faiss-cpu", "hnswlib") if _uses(config, name)))
    )
    rows: list[Row] = []
    for kind in config.vectors:
        rows += _measure(config, kind)
        content = {
            "machine": machine,
            "options": {**dataclasses.asdict(config), "directory": str(config.directory)},
            "rows": [dataclasses.asdict(row) for row in rows],
        }
        write_json(config.directory / "retrieval.json", content)
    header = [name.format(k=config.k) for name in _HEADER]
    lines = [header, ["---", "---", *["---:"] * (len(header) - 2)], *map(_cells, rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{in_one_line(machine)}\n\n{table}\n"


def _uses(config: RetrievalBenchmarkConfig, package: str) -> bool:
    return any(name.startswith(package.partition("-")[0]) for name in config.contenders)


# Measuring ---------------------------------------------------------------------------------------


def _measure(config: RetrievalBenchmarkConfig, kind: Vectors) -> list[Row]:
    folder = config.directory / f"retrieval-{kind}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    catalogue = make(kind, config.num_tracks, num_queries=config.num_queries, seed=config.seed)
    searcher = ExactSearcher.build(catalogue.tracks)
    truth = searcher.search(catalogue.queries, config.k)
    exact = searcher.search(catalogue.held_out, config.k)
    del searcher
    np.save(folder / TRACKS, catalogue.tracks)
    np.save(folder / _HELD_OUT, catalogue.held_out)
    np.savez(folder / _EXACT, rows=exact.rows, scores=exact.scores)
    rows, searches = [], []
    for number, contender in enumerate(CONTENDERS):
        if contender.name not in config.contenders:
            continue
        logging.info("%s vectors: building %s", kind, contender.name)
        directory = folder / str(number)
        directory.mkdir()
        row = Row(kind, contender.name)
        row.build_seconds, row.build_peak_bytes = _alone(
            _build, number, str(directory), config.min_recall
        )
        row.open_seconds, row.memory_bytes = _alone(
            _open, number, str(directory), catalogue.queries, config.k
        )
        row.disk_bytes = _size(directory) or (folder / TRACKS).stat().st_size
        row.parameters = contender.parameters_of(directory)
        rows.append(row)
        search = contender.open(directory)
        searches.append((row, search, truth, contender.is_exact))
        if isinstance(contender, OursScann):
            for name, own, of_exact in filtered(directory, catalogue, config.k):
                rows.append(Row(kind, f"{contender.name}, {name}"))
                searches.append((rows[-1], own, of_exact, False))
    _ask(config, catalogue, searches)
    shutil.rmtree(folder)
    return rows


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """In a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def _build(number: int, directory: str, min_recall: float) -> tuple[float, int]:
    """Seconds, and the most memory above what the vectors take."""
    folder = Path(directory).parent
    tracks, held_out = np.load(folder / TRACKS), np.load(folder / _HELD_OUT)
    exact = np.load(folder / _EXACT)
    task = Task(tracks, held_out, Neighbours(exact["rows"], exact["scores"]), min_recall)
    before = _resident()
    started = time.perf_counter()
    CONTENDERS[number].build(task, Path(directory))
    seconds = time.perf_counter() - started
    return seconds, max(0, _peak() - before)


def _open(number: int, directory: str, queries: np.ndarray, k: int) -> tuple[float, int]:
    """Seconds, and the memory that it takes after some searches."""
    contender = CONTENDERS[number]
    contender.load_libraries()
    before = _resident()
    started = time.perf_counter()
    search = contender.open(Path(directory))
    seconds = time.perf_counter() - started
    search(queries[:AT_ONCE], k)
    return seconds, max(0, _resident() - before)


def _ask(
    config: RetrievalBenchmarkConfig,
    catalogue: Catalogue,
    searches: Iterable[tuple[Row, Search, Neighbours, bool]],
) -> None:
    k, queries = config.k, catalogue.queries
    searches = list(searches)
    # The first round warms up.
    for round_number in range(config.repeats + 1):
        numpy = 0.0
        for row, search, truth, is_slow in searches:
            asked = queries[: config.slow_queries] if is_slow else queries
            # Threads of the one before still wait for work for a moment, and take a core each.
            time.sleep(_PAUSE_SECONDS)
            found = search(asked, k)
            rate = len(asked) / _seconds(partial(search, asked, k))
            if row.search == NumPy.name:
                numpy = rate
            batch = _seconds(partial(search, queries[:AT_ONCE], k))
            single = []
            for query in asked:
                started = time.perf_counter()
                search(query[None], k)
                single.append(time.perf_counter() - started)
            p50, p99 = np.percentile(single, [50, 99])
            logging.info("Round %d: %s, %.0f queries/s", round_number, row.search, rate)
            if round_number:
                part = Neighbours(truth.rows[: len(asked)], truth.scores[: len(asked)])
                row.recall = recall(Neighbours(found, found), part)
                row.queries_per_second.append(rate)
                row.ratio.append(rate / numpy)
                row.batch_seconds.append(batch)
                row.p50_seconds.append(float(p50))
                row.p99_seconds.append(float(p99))


def _seconds(call: Callable[[], object]) -> float:
    """Of a call, on average of as many as take long enough to be measured."""
    started, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < _LEAST_SECONDS or not calls:
        call()
        calls += 1
    return elapsed / calls


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    """The most resident memory since the start; `ru_maxrss` would count the parent's."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return 1_024 * int(line.split()[1])
    return 0


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


# The table ---------------------------------------------------------------------------------------


def _cells(row: Row) -> list[str]:
    def number(value: float | None, form: str, *, per: float = 1.0) -> str:
        return "" if value is None else format(value / per, form)

    return [
        row.vectors,
        row.search,
        number(row.build_seconds, ",.1f"),
        number(row.build_peak_bytes, ",.0f", per=_MEGA),
        number(row.disk_bytes, ",.0f", per=_MEGA),
        number(row.open_seconds, ".2f"),
        number(row.memory_bytes, ",.0f", per=_MEGA),
        f"{row.recall:.4f}",
        f"{median(row.queries_per_second):,.0f}",
        f"{median(row.ratio):,.1f}",
        f"{1_000 * median(row.batch_seconds):,.1f}",
        f"{1_000 * median(row.p50_seconds):,.2f}",
        f"{1_000 * median(row.p99_seconds):,.2f}",
    ]
