"""A trial: a run of `cosernn_tf.train`, watched epoch by epoch."""

import json
import math
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cosernn_tf.config import TrainConfig
from cosernn_tf.errors import UserError
from cosernn_tf.runs import CONFIG, is_finished
from experiments.steps import started_step
from experiments.tuning.advice import Advice
from experiments.tuning.trials import State, Trial, read_history

MODULE: Final = "cosernn_tf.train"

_SECONDS_BETWEEN_LOOKS: Final = 0.2
_TAIL: Final = 8192
_ERROR: Final = "error: "
_FAILURES: Final = (1, 2, -signal.SIGKILL)
"""Exit codes of a training that failed, not of one that was stopped. Nobody but a system that is
short of memory is supposed to kill it."""


@dataclass(frozen=True)
class TrialRun:
    """What to train."""

    number: int
    title: str
    path: Path
    """The run directory."""
    arguments: Sequence[str]


def train(run: TrialRun, advice: Advice) -> Trial:
    """Trains a run, or goes on with it, until its end or until the advice is to give it up.

    Raises:
        UserError: Training was refused, or stopped from outside.
    """
    number, flags = run.number, advice.flags
    assert flags is not None
    watch = _Watch(run.path, advice)
    error = _train(run, watch) if watch.pruned_after() is None else None
    history = read_history(run.path)
    # Whether it was stopped in time or ran on meanwhile, it is pruned after the same epoch.
    epoch = watch.pruned_after()
    if epoch is not None:
        return history.until(epoch).trial(number, flags, State.PRUNED)
    if error is None and not any(map(math.isfinite, history.scores)):
        error = "no validation score is finite"
    state = State.FINISHED if error is None else State.FAILED
    return history.trial(number, flags, state, error=error)


class _Watch:
    """Tells the advice of every epoch that a run has finished, once."""

    def __init__(self, run: Path, advice: Advice) -> None:
        self._run = run
        self._advice = advice
        self._told = 0
        self._pruned_after: int | None = None

    def pruned_after(self) -> int | None:
        """The epoch after which it is to be given up, if it would go on; None so far."""
        scores = read_history(self._run).scores
        while self._pruned_after is None and self._told < len(scores):
            self._told += 1
            is_pruned = self._advice.should_prune(self._told, scores[self._told - 1])
            if is_pruned and self._config.goes_on_after(scores[: self._told]):
                self._pruned_after = self._told
        return self._pruned_after

    @property
    def _config(self) -> TrainConfig:
        text = (self._run / CONFIG).read_text(encoding="utf-8")
        return TrainConfig.from_dict(json.loads(text)["config"])


def _train(run: TrialRun, watch: _Watch) -> str | None:
    """Why the run failed, or None if it ended well, or was pruned."""
    with started_step(run.title, MODULE, run.arguments, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        tail = _Tail(process.stderr)
        while process.poll() is None:
            if watch.pruned_after() is not None:
                tail.hush()
                break
            try:
                process.wait(timeout=_SECONDS_BETWEEN_LOOKS)
            except subprocess.TimeoutExpired:
                continue
    if watch.pruned_after() is not None or is_finished(run.path):
        return None
    message = tail.message(process.returncode)
    if process.returncode in _FAILURES and (run.path / CONFIG).is_file():
        return message
    raise UserError(
        f"the training of {run.path} ended with exit code {process.returncode} ({message}): give "
        "the same command again to go on"
    )


class _Tail:
    """Shows what a process writes to its standard error, and keeps the end of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._end = b""
        self._is_shown = True
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def hush(self) -> None:
        """Shows no more: what a training says that is stopped would read as a failure."""
        self._is_shown = False

    def message(self, code: int) -> str:
        """The line for people, else the last one, else the exit code; of a process that ended."""
        self._thread.join()
        lines = [line.strip() for line in self._end.decode(errors="replace").splitlines()]
        lines = [line for line in lines if line]
        errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
        if code == -signal.SIGKILL:
            return "killed by SIGKILL, perhaps for want of memory"
        return (errors or lines or [f"exit code {code}"])[-1]

    def _copy(self) -> None:
        while chunk := os.read(self._stream.fileno(), _TAIL):
            self._end = (self._end + chunk)[-_TAIL:]
            if self._is_shown:
                os.write(2, chunk)
