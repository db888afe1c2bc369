"""Trials: what became of each, and the file that has them."""

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cosernn_tf.errors import UserError
from cosernn_tf.runs import HISTORY
from cosernn_tf.whole_files import write_json


class State(StrEnum):
    """How a trial ended."""

    FINISHED = "finished"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class Trial:
    """A trial that has ended."""

    number: int
    """From 0."""
    flags: Mapping[str, int | float]
    """Those that are searched."""
    state: State
    scores: tuple[float, ...]
    """Validation score of every epoch, of a pruned one until the one after which it was."""
    seconds: float
    """Of these epochs, training and validation."""
    sessions_per_second: float | None
    """Training sessions, the median epoch's; None without one."""
    error: str | None = None
    """Why it failed."""

    @property
    def name(self) -> str:
        """Of its run."""
        return run_name(self.number)

    @property
    def best_epoch(self) -> int | None:
        """The first with the highest score, from 1."""
        finite = [epoch for epoch, value in enumerate(self.scores, 1) if math.isfinite(value)]
        return max(finite, key=lambda epoch: self.scores[epoch - 1], default=None)

    @property
    def score(self) -> float | None:
        """The highest."""
        return None if self.best_epoch is None else self.scores[self.best_epoch - 1]


def run_name(number: int) -> str:
    return f"trial-{number:03d}"


@dataclass(frozen=True)
class History:
    """What a run has written of its epochs."""

    scores: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    rates: tuple[float, ...] = ()
    """Training sessions a second."""

    def until(self, epoch: int) -> "History":
        return History(self.scores[:epoch], self.seconds[:epoch], self.rates[:epoch])

    def trial(
        self,
        number: int,
        flags: Mapping[str, int | float],
        state: State,
        *,
        error: str | None = None,
    ) -> Trial:
        """The trial that ended with these epochs."""
        # The first epoch has TensorFlow's own preparations in it.
        rate = statistics.median(self.rates) if self.rates else None
        return Trial(number, flags, state, self.scores, sum(self.seconds), rate, error)


def read_history(run: Path) -> History:
    path = run / HISTORY
    if not path.is_file():
        return History()
    epochs = json.loads(path.read_text(encoding="utf-8"))
    return History(
        *(
            tuple(float(epoch[field]) for epoch in epochs)
            for field in ("validation_score", "seconds", "sessions_per_second")
        )
    )


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the highest score; the first of equal ones."""
    finished = [trial for trial in trials if trial.state is State.FINISHED]
    return min(finished, key=_rank, default=None)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """By score, the best first; what was not trained to its end comes after what was."""
    return sorted(trials, key=lambda trial: (trial.state is not State.FINISHED, *_rank(trial)))


def _rank(trial: Trial) -> tuple[float, int]:
    return (math.inf if trial.score is None else -trial.score, trial.number)


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    write_json(path, [dataclasses.asdict(trial) for trial in trials])


def read_trials(path: Path) -> list[Trial]:
    """Those of `write_trials`, none if there is no file.

    Raises:
        UserError: It is no such file.
    """
    if not path.is_file():
        return []

    def trial(fields: Mapping[str, Any]) -> Trial:
        return Trial(
            **{
                **fields,
                "state": State(fields["state"]),
                "scores": tuple(fields["scores"]),
            }
        )

    try:
        return [trial(fields) for fields in json.loads(path.read_text(encoding="utf-8"))]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}): give --overwrite to begin the study again"
        ) from error
