"""Counts how often tests find a difference where none is, and what ours takes of many users."""

import dataclasses
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from benchmarks.calibration_tests import TESTS, Sample
from cosernn_tf.config import require
from cosernn_tf.evaluation.clusters import MIN_RESAMPLES, MIN_USERS, Bootstrap, clustered_means
from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.evaluation.user_sums import UserSums
from cosernn_tf.provenance import describe_machine, in_one_line

_PACKAGES: Final = ("numpy", "scipy")
_PAIRS_AT_ONCE: Final = 20
"""Nulls on the same users and sessions; then come others."""

_USERS: Final = (10, 30, 100, 400)
_CORRELATIONS: Final = (0.0, 0.1, 0.5)
_MEDIAN_SESSIONS: Final = 20
_SPREAD: Final = 1.2
"""Of the logarithm of heavy-tailed numbers of sessions: the mean is twice the median."""


class Mode(StrEnum):
    """What is measured."""

    SIMULATED = "simulated"
    """Differences of users and sessions that are drawn, with a mean of zero."""
    SCORES = "scores"
    """Differences of two models in an evaluation, with a sign a user that is drawn."""
    SIZE = "size"
    """Time and memory of our test, of many users and models."""


@dataclass(frozen=True)
class CalibrationConfig:
    """What to measure.

    Raises:
        UserError: An option is out of its range.
    """

    directory: Path
    """For results."""
    mode: Mode = Mode.SIMULATED
    nulls: int = 2_000
    resamples: int = 999
    scores: Path | None = None
    """Of an evaluation; with `Mode.SCORES`."""
    pair: tuple[str, ...] = ("avg_same", "avg_any")
    """Models of `scores`."""
    users: int = 200_000
    models: int = 15
    references: int = 8
    """Of the models, with `Mode.SIZE`: each is compared with every other model."""
    seed: int = 1

    def __post_init__(self) -> None:
        for flag, least in (
            ("nulls", 1),
            ("resamples", MIN_RESAMPLES),
            ("users", MIN_USERS),
            ("models", 2),
            ("references", 1),
        ):
            value = getattr(self, flag)
            require(value >= least, f"--{flag}={value} must be at least {least}")
        require(
            self.references <= self.models,
            f"--references={self.references} are more than --models={self.models}",
        )
        require(
            (self.scores is not None) == (self.mode is Mode.SCORES),
            "--mode=scores and --scores=FILE go together",
        )
        require(
            self.scores is None or self.scores.is_file(), f"--scores={self.scores} does not exist"
        )
        require(len(self.pair) == 2, f"--pair={','.join(self.pair)} must name two models")


def benchmark(config: CalibrationConfig) -> str:
    """Measures, writes `calibration-<mode>.json`, and gives a Markdown table."""
    machine = describe_machine(_PACKAGES)
    measured = {Mode.SIMULATED: _simulated, Mode.SCORES: _of_scores, Mode.SIZE: _size}
    rows = measured[config.mode](config)
    content = {"machine": machine, "options": dataclasses.asdict(config), "rows": rows}
    config.directory.mkdir(parents=True, exist_ok=True)
    path = config.directory / f"calibration-{config.mode}.json"
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    lines = [
        list(rows[0]),
        ["---:"] * len(rows[0]),
        *([_cell(v) for v in r.values()] for r in rows),
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{in_one_line(machine)}\n\n{table}\n"


def _cell(value: Any) -> str:
    return (
        f"{value:.1f}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else value
    )


# How often a difference is found -----------------------------------------------------------------


def _rates(samples: Iterator[Sample], config: CalibrationConfig) -> dict[str, float]:
    """Percent of the samples' pairs, by test."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in TESTS}
    for number, sample in enumerate(samples):
        for name, test in TESTS.items():
            found[name].append(test(sample, Bootstrap(config.resamples, config.seed + number)))
    return {name: 100.0 * float(np.concatenate(of_test).mean()) for name, of_test in found.items()}


def _simulated(config: CalibrationConfig) -> list[dict[str, Any]]:
    scenarios = [
        (skewed, users, heavy, correlation)
        for skewed in (False, True)
        for users in _USERS
        for heavy in (False, True)
        for correlation in _CORRELATIONS
    ]
    rows = []
    for skewed, users, heavy, correlation in tqdm(scenarios, unit="scenario"):
        random = np.random.default_rng(config.seed)
        samples = (
            _draw(random, pairs, users=users, heavy=heavy, correlation=correlation, skewed=skewed)
            for pairs in _parts(config.nulls)
        )
        rows.append(
            {
                "differences": "skewed" if skewed else "normal",
                "users": users,
                "sessions a user": "heavy-tailed" if heavy else f"{_MEDIAN_SESSIONS} each",
                "correlation": str(correlation),
                **_rates(samples, config),
            }
        )
    return rows


def _parts(nulls: int) -> Iterator[int]:
    for start in range(0, nulls, _PAIRS_AT_ONCE):
        yield min(_PAIRS_AT_ONCE, nulls - start)


def _draw(
    random: np.random.Generator,
    pairs: int,
    *,
    users: int,
    heavy: bool,
    correlation: float,
    skewed: bool,
) -> Sample:
    """Of unit variance, a share `correlation` of which is of users, and a mean of zero."""
    counts = np.full(users, _MEDIAN_SESSIONS)
    if heavy:
        counts = np.ceil(random.lognormal(np.log(_MEDIAN_SESSIONS), _SPREAD, users)).astype(int)

    def drawn(size: int) -> np.ndarray:
        shape = (pairs, size)
        return random.exponential(size=shape) - 1.0 if skewed else random.normal(size=shape)

    user_of_session = np.repeat(np.arange(users), counts)
    of_users = np.sqrt(correlation) * drawn(users)
    of_sessions = np.sqrt(1.0 - correlation) * drawn(len(user_of_session))
    return Sample.of(user_of_session, of_users[:, user_of_session] + of_sessions)


def _of_scores(config: CalibrationConfig) -> list[dict[str, Any]]:
    """Signs are of users: whatever makes a user's sessions alike stays, and the mean is zero."""
    assert config.scores is not None
    table = pq.read_table(config.scores)
    one, other = (table.filter(pc.field("model") == name) for name in config.pair)
    require(
        one.num_rows == other.num_rows > 0,
        f"--pair={','.join(config.pair)}: {config.scores} has {one.num_rows} rows of the first and "
        f"{other.num_rows} of the second model",
    )
    keys = [(key, "ascending") for key in ("user_id", "session_start")]
    one, other = one.sort_by(keys), other.sort_by(keys)
    users = one["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    rows = []
    for metric in tqdm(METRICS, unit="metric"):
        differences = one[metric.name].to_numpy() - other[metric.name].to_numpy()
        is_scored = ~np.isnan(differences)
        if not is_scored.any():
            continue
        _, of_session = np.unique(users[is_scored], return_inverse=True)
        random = np.random.default_rng(config.seed)
        signs = (
            random.choice([-1.0, 1.0], (pairs, users.max() + 1)) for pairs in _parts(config.nulls)
        )
        samples = (
            Sample.of(of_session, of_pairs[:, of_session] * differences[is_scored])
            for of_pairs in signs
        )
        rows.append(
            {
                "metric": metric.name,
                "users": int(of_session.max()) + 1,
                "sessions": int(is_scored.sum()),
                **_rates(samples, config),
            }
        )
    return rows


# Size --------------------------------------------------------------------------------------------


def _size(config: CalibrationConfig) -> list[dict[str, Any]]:
    random = np.random.default_rng(config.seed)
    counts = 1 + random.poisson(20, config.users)
    metrics = []
    for place in range(len(METRICS)):
        # Of the cosine all are users, of each ranking some are.
        share = 1.0 if place == 0 else 1.0 - 0.05 * ((place + 1) // 2)
        if place == 0 or place % 2:
            is_scored = random.random(config.users) < share
        sums = random.random((config.models, config.users)) * counts
        metrics.append(UserSums(counts * is_scored, sums))
    contrasts: list[tuple[int, int | None]] = [(model, None) for model in range(config.models)]
    contrasts += [
        (reference, other)
        for reference in range(config.references)
        for other in range(config.models)
        if other > reference
    ]
    before = _peak_megabytes()
    started, cpu = time.perf_counter(), time.process_time()
    clustered_means(metrics, contrasts, Bootstrap(config.resamples, config.seed))
    return [
        {
            "users": config.users,
            "models": config.models,
            "references": config.references,
            "tests": (len(contrasts) - config.models) * len(METRICS),
            "resamples": config.resamples,
            "time, s": time.perf_counter() - started,
            "CPU, s": time.process_time() - cpu,
            "peak memory, MB": _peak_megabytes(),
            "before, MB": before,
        }
    ]


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024 / 1e6
