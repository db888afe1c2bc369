"""Evaluates in turn with a forward pass and a loop, and keeps what they took."""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from absl import logging

from benchmarks.measure import measure
from cosernn_tf.config import require
from cosernn_tf.evaluation.config import SESSIONS_PER_BLOCK, EvaluatedSplit, EvaluationConfig
from cosernn_tf.provenance import ROOT, describe_machine, in_one_line

FORWARD: Final = "forward pass of the run"
WHOLE: Final = "whole evaluation"
CATALOGUE: Final = "with --catalogue"
SCORING: Final = "scoring of the run"
LOOP: Final = "the same by a loop over sessions"

_TIMES: Final = 10
_TOLERANCE: Final = 1e-5
"""Of a score: cosines are summed in another order."""
_MAX_DIFFERENT: Final = 1e-3
"""Share of scores beyond it: where two candidates are all but equal, rounding decides."""


class Mode(StrEnum):
    """What is measured."""

    SPEED = "speed"
    """A whole evaluation, its forward pass alone, and a loop over sessions."""
    MEMORY = "memory"
    """The peak of a process that evaluates a log, one of ten times the users, smaller blocks."""


@dataclass(frozen=True)
class EvaluationBenchmarkConfig:
    """What to measure.

    Raises:
        UserError: An option is out of its range.
    """

    directory: Path
    """For logs and results."""
    mode: Mode = Mode.SPEED
    num_users: int = 2_200
    num_tracks: int = 20_000
    lstm_units: int = 400
    max_sessions: int = 400
    sample: int = 1_000
    repeats: int = 3
    sessions_per_block: int = SESSIONS_PER_BLOCK
    seed: int = 1

    def __post_init__(self) -> None:
        for flag in ("num_tracks", "lstm_units", "sample", "repeats", "sessions_per_block"):
            value = getattr(self, flag)
            require(value >= 1, f"--{flag}={value} must be at least 1")
        require(self.max_sessions >= 2, f"--max_sessions={self.max_sessions} must be at least 2")
        least = _TIMES if self.mode is Mode.MEMORY else 1
        require(self.num_users >= least, f"--num_users={self.num_users} must be at least {least}")


def benchmark(config: EvaluationBenchmarkConfig) -> str:
    """Measures, writes `evaluation-<mode>.json`, and gives a Markdown table."""
    config.directory.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    rows, content = (_memory if config.mode is Mode.MEMORY else _speed)(config)
    path = config.directory / f"evaluation-{config.mode}.json"
    everything = {"machine": machine, "options": dataclasses.asdict(config), **content}
    path.write_text(json.dumps(everything, indent=2, default=str) + "\n", encoding="utf-8")
    header, *others = rows
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *others]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{in_one_line(machine)}\n\n{table}\n"


# Speed -------------------------------------------------------------------------------------------


def _speed(config: EvaluationBenchmarkConfig) -> tuple[list[list[str]], dict[str, Any]]:
    # TensorFlow comes after the flags have been checked.
    from benchmarks.evaluation_log import make_workspace, write_untrained_run
    from cosernn_tf.evaluation.run import evaluate_runs

    workspace = make_workspace(
        config.directory,
        num_users=config.num_users,
        num_tracks=config.num_tracks,
        seed=config.seed,
    )
    run = write_untrained_run(
        workspace, lstm_units=config.lstm_units, max_sessions=config.max_sessions, seed=config.seed
    )
    output = config.directory / "evaluation"
    prepared = _Prepared(workspace, run, config)

    def evaluate(*, catalogue: bool = False) -> None:
        evaluate_runs(
            workspace,
            [run],
            config=EvaluationConfig(catalogue=catalogue),
            output=output,
            sessions_per_block=config.sessions_per_block,
        )

    contenders: dict[str, Callable[[], object]] = {
        FORWARD: prepared.predict,
        WHOLE: evaluate,
        CATALOGUE: functools.partial(evaluate, catalogue=True),
        SCORING: prepared.score,
        LOOP: prepared.score_by_loop,
    }
    found: dict[str, list[float]] = {name: [] for name in contenders}
    # The first round traces and warms up.
    for number in range(config.repeats + 1):
        taken = {}
        for name, contender in contenders.items():
            started = time.perf_counter()
            contender()
            taken[name] = time.perf_counter() - started
        taken[LOOP] *= prepared.sessions / prepared.sampled
        logging.info(
            "Round %d: %s", number, ", ".join(f"{name} {s:.2f} s" for name, s in taken.items())
        )
        if number:
            for name, seconds in taken.items():
                found[name].append(seconds)
    different = prepared.share_of_different_scores(output)
    require(
        different <= _MAX_DIFFERENT,
        f"{different:.2%} of the loop's scores are not those of the evaluation",
    )
    ratios = {
        name: median(
            seconds / of for seconds, of in zip(found[name], found[reference], strict=True)
        )
        for name, reference in ((WHOLE, FORWARD), (CATALOGUE, FORWARD), (LOOP, SCORING))
    }
    rows = [["what", "seconds", "sessions/s", "ratio"]]
    for name, ratio in (
        (FORWARD, ""),
        (WHOLE, f"{ratios[WHOLE]:.2f} times the forward pass"),
        (CATALOGUE, f"{ratios[CATALOGUE]:.2f} times the forward pass"),
        (SCORING, ""),
        (LOOP, f"{ratios[LOOP]:.1f} times that without one"),
    ):
        seconds = median(found[name])
        rows.append([name, f"{seconds:,.1f}", f"{prepared.sessions / seconds:,.0f}", ratio])
    return rows, {
        "seconds": found,
        "ratios": ratios,
        "sessions": prepared.sessions,
        "sampled": prepared.sampled,
        "models": prepared.models,
        "tracks": prepared.tracks,
        "different_scores": different,
    }


class _Prepared:
    """What the forward pass, scoring and loop are given: their time is of their own work only."""

    def __init__(self, workspace: Any, run: str, config: EvaluationBenchmarkConfig) -> None:
        from cosernn_tf.dataset import read_shards
        from cosernn_tf.evaluation.heuristics import predict_heuristics, predict_oracles
        from cosernn_tf.features import embed_sessions, normalize
        from cosernn_tf.models.base import load_model
        from cosernn_tf.prediction import Predictor
        from cosernn_tf.table import in_blocks
        from cosernn_tf.tracks import load_track_embeddings
        from cosernn_tf.windows import MIN_EARLIER_SESSIONS, evaluation_windows, sequence_data
        from cosernn_tf.workspace import open_sessions

        sessions = open_sessions(workspace.sessions)
        self._run = run
        self._training_end = sessions.manifest.split.validation_start
        self._tracks = load_track_embeddings(workspace.tracks, sessions).vectors
        self._predictor = Predictor(load_model(workspace.run(run)))
        first, before = EvaluatedSplit.TEST.bounds(sessions.manifest.split)
        self._inputs, self._blocks = [], []
        self.sessions = 0
        for table in in_blocks(read_shards(sessions), max_sessions=config.sessions_per_block):
            embeddings = embed_sessions(table, self._tracks)
            windows = evaluation_windows(
                table,
                first=first,
                before=before,
                max_sessions=max(config.max_sessions, 2 * MIN_EARLIER_SESSIONS),
            )
            data = sequence_data(table, embeddings, self._predictor.inputs)
            of_run = self._predictor(data, windows)
            predictions = np.zeros_like(embeddings.played)
            predictions[of_run.sessions] = of_run.embeddings
            in_split = table.starts_within(first, before)
            self._inputs.append((data, windows))
            self._blocks.append((table, embeddings, in_split, predictions))
            self.sessions += int(np.count_nonzero(in_split & embeddings.has_played))
        # Shards are filled by a hash of the user: the users of a block are a random sample already.
        self._table, self._embeddings, in_split, predictions = self._blocks[0]
        targets = np.flatnonzero(in_split & self._embeddings.has_played)
        targets = np.random.default_rng(config.seed).permutation(targets)
        self._targets = targets[: config.sample]
        everyones = {
            **predict_heuristics(self._table, self._embeddings, sessions.train_listens),
            run: predictions,
            **predict_oracles(self._table, self._embeddings, self._tracks),
        }
        self._predictions = {name: normalize(vectors) for name, vectors in everyones.items()}
        self.sampled = len(self._targets)
        self.models = list(self._predictions)
        self.tracks = int(np.count_nonzero(self._tracks.any(axis=1)))

    def predict(self) -> None:
        for data, windows in self._inputs:
            self._predictor(data, windows)

    def score(self) -> None:
        from cosernn_tf.evaluation.scores import score_sessions

        for table, embeddings, in_split, predictions in self._blocks:
            score_sessions(
                table,
                embeddings,
                self._tracks,
                sessions_mask=in_split,
                predictions={self._run: predictions},
                training_end=self._training_end,
            )

    def score_by_loop(self, models: Sequence[str] = ()) -> dict[str, dict[str, np.ndarray]]:
        """Scores the sample: by default of the run only."""
        from benchmarks.evaluation_loop import score_by_loop

        return score_by_loop(
            self._table,
            self._embeddings,
            self._tracks,
            targets=self._targets,
            predictions={name: self._predictions[name] for name in models or [self._run]},
        )

    def share_of_different_scores(self, evaluation: Path) -> float:
        """Of the loop's and an evaluation's, of all models, where either has one."""
        import pyarrow.parquet as pq

        from cosernn_tf.evaluation.config import SCORES_FILE

        scores = pq.read_table(evaluation / SCORES_FILE)
        users = self._table.user_id[self._table.user_of_session[self._targets]]
        starts = self._table.session_start[self._targets].tolist()
        place = {
            (user.decode(), start): number
            for number, (user, start) in enumerate(zip(users, starts, strict=True))
        }
        of_loop = self.score_by_loop(self.models)
        different = count = 0
        for row in scores.to_pylist():
            number = place.get((row["user_id"], row["session_start"]))
            if number is not None:
                for name, values in of_loop[row["model"]].items():
                    ours = np.nan if row[name] is None else row[name]
                    count += not (np.isnan(ours) and np.isnan(values[number]))
                    different += not np.isclose(
                        ours, values[number], rtol=0, atol=_TOLERANCE, equal_nan=True
                    )
        require(count > 0, "the evaluation has none of the sessions of the loop")
        return different / count


# Memory ------------------------------------------------------------------------------------------


def _memory(config: EvaluationBenchmarkConfig) -> tuple[list[list[str]], dict[str, Any]]:
    runs = list(_memory_runs(config))
    rows = [["users", "sessions", "sessions a block", "peak memory, MB", "times the first"]]
    for run in runs:
        rows.append(
            [
                f"{run['users']:,}",
                f"{run['sessions']:,}",
                f"{run['sessions_per_block']:,}",
                f"{run['peak_bytes'] / 10**6:,.0f}",
                f"{run['peak_bytes'] / runs[0]['peak_bytes']:.2f}",
            ]
        )
    return rows, {"runs": runs}


def _memory_runs(config: EvaluationBenchmarkConfig) -> Iterator[dict[str, int]]:
    from benchmarks.evaluation_log import make_workspace, write_untrained_run
    from cosernn_tf.workspace import open_sessions

    block = config.sessions_per_block
    for num_users, per_block in (
        (config.num_users // _TIMES, block),
        (config.num_users, block),
        (config.num_users, max(1, block // _TIMES)),
    ):
        workspace = make_workspace(
            config.directory,
            num_users=num_users,
            num_tracks=config.num_tracks,
            seed=config.seed,
        )
        run = write_untrained_run(
            workspace,
            lstm_units=config.lstm_units,
            max_sessions=config.max_sessions,
            seed=config.seed,
        )
        flags = (
            f"--workspace={workspace.root}",
            f"--runs={run}",
            f"--sessions_per_block={per_block}",
        )
        measured = measure(
            (sys.executable, "-m", "cosernn_tf.evaluate", *flags),
            folder=ROOT,
            log=config.directory / "evaluate.log",
        )
        shards = open_sessions(workspace.sessions).manifest.shards
        yield {
            "users": sum(shard.users for shard in shards),
            "sessions": sum(shard.sessions for shard in shards),
            "sessions_per_block": per_block,
            "peak_bytes": measured.peak_bytes,
        }
