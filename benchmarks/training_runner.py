"""Lets the contenders train in turn, and keeps what they took."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from absl import logging

from benchmarks.measure import measure
from cosernn_tf.config import ModelConfig, TrainConfig, require
from cosernn_tf.provenance import ROOT, describe_machine, in_one_line

_PACKAGES: Final = ("keras", "numpy", "tensorflow")
_EPOCH: Final = "benchmarks.training_epoch"
_PRODUCTS: Final = "matrix products of ours"
_LARGE: Final = "at the rate of a large product"

_LISTENS: Final = 200_000
_TIMES: Final = 10


class Mode(StrEnum):
    """What is measured."""

    SPEED = "speed"
    """Sessions a second, beside padded windows and what matrix products alone take."""
    GPU = "gpu"
    """The first without matrix products, in any precision; refused where there is no GPU."""
    MEMORY = "memory"
    """The peak of a process that trains on a log, and on one of ten times the users."""


@dataclass(frozen=True)
class TrainingBenchmarkConfig:
    """What to measure.

    Raises:
        UserError: An option is out of its range.
    """

    directory: Path
    """For logs and results."""
    mode: Mode = Mode.SPEED
    sessions: Path | None = None
    """Session sequences for speed, in place of those of a log that is made."""
    num_listens: int | None = None
    """By default the embedded default log for speed, 200,000 and ten times as many for memory."""
    lstm_units: int = 400
    batch_size: int = 64
    max_sessions: int = 400
    batches: int = 2
    repeats: int = 5
    sessions_per_block: int = 10_000
    seed: int = 11
    precision: str = "float32"
    """Of all contenders, with `Mode.GPU`."""

    def __post_init__(self) -> None:
        TrainConfig(precision=self.precision)
        require(
            self.precision == "float32" or self.mode is Mode.GPU,
            f"--precision={self.precision} is for --mode=gpu",
        )
        for flag in ("lstm_units", "batch_size", "batches", "repeats", "sessions_per_block"):
            value = getattr(self, flag)
            require(value >= 1, f"--{flag}={value} must be at least 1")
        require(self.max_sessions >= 2, f"--max_sessions={self.max_sessions} must be at least 2")
        require(
            self.num_listens is None or self.num_listens >= 1,
            f"--num_listens={self.num_listens} must be at least 1",
        )


def benchmark(config: TrainingBenchmarkConfig) -> str:
    """Measures, writes `training-<mode>.json`, and gives a Markdown table."""
    if config.mode is Mode.GPU:
        _require_gpu()
    config.directory.mkdir(parents=True, exist_ok=True)
    machine = describe_machine(_PACKAGES)
    rows, content = (_memory if config.mode is Mode.MEMORY else _speed)(config)
    path = config.directory / f"training-{config.mode}.json"
    gpus = _gpus() if config.mode is Mode.GPU else []
    everything = {
        "machine": machine,
        "gpus": gpus,
        "options": dataclasses.asdict(config),
        **content,
    }
    path.write_text(json.dumps(everything, indent=2, default=str) + "\n", encoding="utf-8")
    header, *others = rows
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *others]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{', '.join([in_one_line(machine), *gpus])}\n\n{table}\n"


def _require_gpu() -> None:
    require(
        bool(_gpus()),
        "--mode=gpu needs a GPU, and TensorFlow sees none: install tensorflow[and-cuda]==2.20.0 "
        "where there is one, or measure this machine with --mode=speed",
    )


def _gpus() -> list[str]:
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [str(detail.get("device_name", "GPU")) for detail in details]


# Speed -------------------------------------------------------------------------------------------


def _speed(config: TrainingBenchmarkConfig) -> tuple[list[list[str]], dict[str, Any]]:
    # TensorFlow comes after the flags have been checked.
    import keras

    from benchmarks.gemm import large_rate, products
    from benchmarks.training_contenders import OURS, contenders
    from benchmarks.training_log import open_feed
    from cosernn_tf.training.precision import precision
    from cosernn_tf.windows import training_windows

    model_config = ModelConfig(lstm_units=config.lstm_units)
    path = _sessions(config)
    feed = open_feed(path, model_config.inputs)
    keras.utils.set_random_seed(config.seed)
    with precision(TrainConfig(precision=config.precision)):
        models, steps = contenders(model_config, feed.data_spec(), max_sessions=config.max_sessions)
    block = next(feed.blocks())
    windows = training_windows(
        block.table,
        before=feed.sessions.manifest.split.validation_start,
        max_sessions=config.max_sessions,
    )
    order = np.random.default_rng(config.seed).permutation(len(windows))
    batches = [
        windows.take(order[start : start + config.batch_size])
        for start in range(0, config.batches * config.batch_size, config.batch_size)
        if start < len(windows)
    ]
    real = sum(int(batch.lengths.sum()) for batch in batches)
    padded = sum(len(batch) for batch in batches) * config.max_sessions
    logging.info("%d windows, %d sessions, %d with padding", len(windows), real, padded)

    has_products = config.mode is Mode.SPEED
    # Of a batch of the mean size: the sum over all would take longer than training.
    of_batch = list(
        products(
            models[OURS],
            rows=round(real / len(batches)),
            steps=round(np.mean([batch.lengths.max() for batch in batches])),
        )
    )
    flops = len(batches) * sum(product.flops for product in of_batch)
    found: dict[str, list[float]] = {
        name: [] for name in (*steps, *([_PRODUCTS, _LARGE] if has_products else []))
    }
    # The first round traces and warms up.
    for number in range(config.repeats + 1):
        taken = {}
        for name, step in steps.items():
            started = time.perf_counter()
            for batch in batches:
                step(block.data, batch)
            taken[name] = time.perf_counter() - started
        if has_products:
            taken[_PRODUCTS] = len(batches) * sum(product.seconds() for product in of_batch)
            taken[_LARGE] = flops / large_rate()
        logging.info(
            "Round %d: %s", number, ", ".join(f"{name} {s:.2f} s" for name, s in taken.items())
        )
        if number:
            for name, times in found.items():
                times.append(taken[name])
    ratios = {
        name: median(other / own for other, own in zip(times, found[OURS], strict=True))
        for name, times in found.items()
    }
    rows = [["trained", "sessions/s", "time, times ours", "GFLOP/s of real sessions"]]
    for name, times in found.items():
        speed, rate = real / median(times), flops / median(times) / 1e9
        rows.append([name, f"{speed:,.0f}", f"{ratios[name]:.2f}", f"{rate:.1f}"])
    return rows, {
        "seconds": found,
        "sessions": real,
        "sessions_with_padding": padded,
        "flops": flops,
        "ratios": ratios,
    }


def _sessions(config: TrainingBenchmarkConfig) -> Path:
    from benchmarks.training_log import default_sessions, make_sessions

    if config.sessions:
        return config.sessions
    if config.num_listens is None:
        return default_sessions(config.directory)
    return make_sessions(config.directory, num_listens=config.num_listens, seed=config.seed)


# Memory ------------------------------------------------------------------------------------------


def _memory(config: TrainingBenchmarkConfig) -> tuple[list[list[str]], dict[str, Any]]:
    runs = list(_memory_runs(config))
    rows = [["users", "sessions", "peak memory, MB", "times the first"]]
    for run in runs:
        ratio = run["peak_bytes"] / runs[0]["peak_bytes"]
        rows.append(
            [
                f"{run['users']:,}",
                f"{run['sessions']:,}",
                f"{run['peak_bytes'] / 10**6:,.0f}",
                f"{ratio:.2f}",
            ]
        )
    return rows, {"runs": runs}


def _memory_runs(config: TrainingBenchmarkConfig) -> Iterator[dict[str, int]]:
    from benchmarks.training_log import make_sessions
    from cosernn_tf.workspace import open_sessions

    listens = config.num_listens or _LISTENS
    for num_listens in (listens, _TIMES * listens):
        path = make_sessions(config.directory, num_listens=num_listens, seed=config.seed)
        flags = (f"--sessions={path}", f"--sessions_per_block={config.sessions_per_block}")
        measured = measure(
            (sys.executable, "-m", _EPOCH, *flags), folder=ROOT, log=config.directory / "epoch.log"
        )
        shards = open_sessions(path).manifest.shards
        yield {
            "users": sum(shard.users for shard in shards),
            "sessions": sum(shard.sessions for shard in shards),
            "peak_bytes": measured.peak_bytes,
        }
