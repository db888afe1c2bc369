"""Makes the logs, lets the contenders run on them in turn, and keeps what they took."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from absl import logging

from benchmarks.contenders import (
    OURS,
    PER_LISTEN,
    POLARS,
    Contender,
    contender,
    parse_contender,
    read_counts,
)
from benchmarks.measure import measure
from benchmarks.report import Run, to_markdown, write_runs
from cosernn_tf.config import require
from cosernn_tf.errors import UserError
from cosernn_tf.provenance import ROOT, describe_machine

_PACKAGES: Final = ("apache-beam", "numpy", "polars", "pyarrow")

_BALANCED: Final = "balanced"
_OUTPUT: Final = "output"
_READ_BYTES: Final = 2**24


class Mode(StrEnum):
    """What is compared."""

    COMPARE = "compare"
    """Programs, on one log."""
    SCALE = "scale"
    """Sizes of the log."""
    SKEW = "skew"
    """Logs of one size, in two of which one user or one track has far too much."""
    HUGE = "huge"
    """One large log, by our job alone."""


_SIZES: Final = {
    Mode.COMPARE: (10_000_000,),
    Mode.SCALE: (1_000_000, 3_000_000, 10_000_000, 30_000_000),
    Mode.SKEW: (10_000_000,),
    Mode.HUGE: (100_000_000,),
}
_REPEATS: Final = {Mode.COMPARE: 5, Mode.SCALE: 3, Mode.SKEW: 3, Mode.HUGE: 1}


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure.

    Raises:
        UserError: An option is out of its range.
    """

    directory: Path
    """For logs, outputs and results."""
    mode: Mode = Mode.COMPARE
    sizes: tuple[int, ...] = ()
    """Listens; by default those of the mode."""
    repeats: int | None = None
    per_listen_repeats: int = 1
    max_memory_mb: int | None = None
    also: str | None = None
    """`NAME=COMMAND` of one more contender, for `compare`."""
    seed: int = 11
    keep_logs: bool = False

    def __post_init__(self) -> None:
        for size in self.sizes:
            require(size >= 1, f"--num_listens={size} must be at least 1")
        require(
            self.mode is Mode.SCALE or len(self.sizes) <= 1,
            f"--num_listens must be one number with --mode={self.mode}",
        )
        require(self.repeats is None or self.repeats >= 1, "--repeats must be at least 1")
        require(self.per_listen_repeats >= 0, "--per_listen_repeats must be at least 0")
        require(self.mode is Mode.COMPARE or not self.also, "--also is for --mode=compare only")
        if self.also is not None:
            parse_contender(self.also)

    @property
    def rounds(self) -> int:
        return self.repeats or _REPEATS[self.mode]

    def contenders(self, number: int) -> list[Contender]:
        """Those of a round."""
        memory = [] if self.max_memory_mb is None else [f"--max_memory_mb={self.max_memory_mb}"]
        ours = contender(OURS, arguments=memory)
        if self.mode is not Mode.COMPARE:
            return [ours]
        slow = [contender(PER_LISTEN)] if number < self.per_listen_repeats else []
        also = [] if self.also is None else [parse_contender(self.also)]
        return [ours, contender(POLARS), *also, *slow]

    def logs(self) -> list["Log"]:
        skews = ("one_user", "one_track") if self.mode is Mode.SKEW else ()
        return [
            Log(size, skew, self.seed)
            for size in self.sizes or _SIZES[self.mode]
            for skew in (_BALANCED, *skews)
        ]


def parse_sizes(texts: Sequence[str]) -> tuple[int, ...]:
    """Raises `UserError` for what is no number."""
    for text in texts:
        require(text.isdecimal(), f"--num_listens={text} must be a number, or several for scale")
    return tuple(map(int, texts))


@dataclass(frozen=True)
class Log:
    """A log of `make_log`, which makes it in a process of its own: this one must stay small."""

    num_listens: int
    skew: str
    seed: int

    @property
    def name(self) -> str:
        skew = "" if self.skew == _BALANCED else f", {self.skew}"
        return f"{self.num_listens:,} listens{skew}"

    @property
    def flags(self) -> list[str]:
        return [f"--num_listens={self.num_listens}", f"--skew={self.skew}", f"--seed={self.seed}"]

    def path(self, directory: Path) -> Path:
        return directory / f"log-{self.num_listens}-{self.skew}-{self.seed}"


def benchmark(config: BenchmarkConfig) -> str:
    """Measures, writes `<directory>/<mode>.json` after every run, and returns the table.

    Raises:
        UserError: A contender failed, or found something else than the others.
    """
    directory = config.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    machine = describe_machine(_PACKAGES)
    made: list[Path] = []
    try:
        for log in config.logs():
            path = log.path(directory)
            if not path.exists():
                made.append(path)
            _make(log, path)
        runs = _measure_all(config, directory, machine)
    finally:
        shutil.rmtree(directory / _OUTPUT, ignore_errors=True)
        if not config.keep_logs:
            for path in made:
                shutil.rmtree(path, ignore_errors=True)
    return _table(config, machine, runs)


def _make(log: Log, path: Path) -> None:
    logging.info("Making %s", log.name)
    command = [sys.executable, "-m", "benchmarks.make_log", *log.flags, f"--output={path}"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise UserError(f"{' '.join(command)} failed; its message stands above")


def _measure_all(config: BenchmarkConfig, directory: Path, machine: dict[str, Any]) -> list[Run]:
    """Every contender on every log, and all of that again, round by round."""
    runs: list[Run] = []
    for number in range(config.rounds):
        for log in config.logs():
            for entrant in config.contenders(number):
                run = _measure(entrant, log, number, directory, shown=config.mode is Mode.HUGE)
                logging.info(
                    "Round %d of %d, %s, %s: %.1f s, %.0f MB",
                    number + 1,
                    config.rounds,
                    run.log,
                    run.contender,
                    run.measurement.wall_seconds,
                    run.measurement.peak_bytes / 10**6,
                )
                _check_counts(run, runs)
                runs.append(run)
                write_runs(directory / f"{config.mode}.json", machine, runs)
    return runs


def _measure(entrant: Contender, log: Log, number: int, directory: Path, *, shown: bool) -> Run:
    listens = log.path(directory) / "listens"
    # What a program leaves beside its output goes with it.
    folder = directory / _OUTPUT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    output = folder / entrant.name
    _read_once(listens)
    measurement = measure(
        entrant.command(listens=listens, output=output),
        folder=ROOT,
        log=None if shown else directory / f"{entrant.name}.log",
    )
    run = Run(
        number=number,
        contender=entrant.name,
        log=log.name,
        num_listens=log.num_listens,
        measurement=measurement,
        output_bytes=sum(path.stat().st_size for path in output.rglob("*") if path.is_file()),
        counts=read_counts(output),
    )
    shutil.rmtree(folder)
    return run


def _read_once(folder: Path) -> None:
    """So that every contender finds the files in memory as far as they fit, also the first."""
    for path in folder.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.read(_READ_BYTES):
                pass


def _check_counts(run: Run, earlier: Sequence[Run]) -> None:
    for other in earlier:
        if other.log == run.log and run.counts != other.counts and run.counts and other.counts:
            raise UserError(
                f"{run.contender} found {run.counts} in {run.log}, {other.contender} "
                f"{other.counts}: they do not do the same work"
            )


def _table(config: BenchmarkConfig, machine: dict[str, Any], runs: Sequence[Run]) -> str:
    if config.mode is Mode.COMPARE:
        return to_markdown(
            machine,
            runs,
            base=OURS,
            is_base=lambda run, other: run.log == other.log and other.contender == OURS,
        )
    first, *others = config.logs()
    return to_markdown(
        machine,
        runs,
        base=f"that of {first.name}" if others else None,
        is_base=lambda run, other: other.log == first.name,
    )
