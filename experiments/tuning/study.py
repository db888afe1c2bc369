"""A study: trials one after the other, each a run of its own, until the last one is done."""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cosernn_tf.config import require
from cosernn_tf.errors import UserError
from cosernn_tf.runs import CONFIG, FLAGFILE, HISTORY
from cosernn_tf.tracks import DESCRIPTION
from cosernn_tf.whole_files import write_json
from cosernn_tf.workspace import SUCCESS, Workspace, open_sessions
from experiments.tuning.advice import Advice, Strategy
from experiments.tuning.space import Space
from experiments.tuning.training import TrialRun, train
from experiments.tuning.trials import (
    State,
    Trial,
    best_of,
    read_trials,
    run_name,
    write_trials,
)

STUDY: Final = "study.json"
TRIALS: Final = "trials.json"
"""What a study's directory holds (WORKSPACE.md)."""

KEPT: Final = (CONFIG, FLAGFILE, HISTORY, "tensorboard")
"""Of every run; the best one is kept whole."""

SHARED: Final = ("log", "sessions", "tracks")
"""Parts of the workspace that the runs of a study read; they are made, if need be, where they
belong."""


@dataclass(frozen=True)
class StudyPlan:
    """A study to make."""

    name: str
    space: Space
    strategy: Strategy
    max_trials: int
    training_flags: tuple[str, ...]
    """Of `cosernn_tf.train`, for all trials."""

    def identity(self, sessions_sha256: str) -> dict[str, Any]:
        """What makes two studies the same; more trials may follow."""
        return {
            "search": [str(dimension) for dimension in self.space.dimensions],
            **asdict(self.strategy),
            "training_flags": sorted(self.training_flags),
            "sessions_sha256": sessions_sha256,
        }


@dataclass(frozen=True)
class Study:
    """A study on disk; get one from `open_study`."""

    folder: Path
    plan: StudyPlan

    @property
    def trials(self) -> list[Trial]:
        """Those that have ended, by number."""
        return read_trials(self.folder / TRIALS)

    def run(self, number: int) -> Path:
        return Workspace(self.folder).run(run_name(number))

    def add(self, trial: Trial) -> None:
        """Records a trial."""
        trials = sorted([*self.trials, trial], key=lambda trial: trial.number)
        write_trials(self.folder / TRIALS, trials)
        self.trim()

    def trim(self) -> None:
        """Leaves of the runs that are not the best what is worth its room."""
        trials = self.trials
        best = best_of(trials)
        for trial in trials:
            if best is None or trial.number != best.number:
                _trim(self.run(trial.number))

    def forget_failed(self) -> None:
        """As if trials that failed, and those not ended, had not begun."""
        trials = [trial for trial in self.trials if trial.state is not State.FAILED]
        write_trials(self.folder / TRIALS, trials)
        known = [self.run(trial.number) for trial in trials]
        for run in Workspace(self.folder).runs.glob("*"):
            if run not in known:
                shutil.rmtree(run)


@contextlib.contextmanager
def open_study(workspace: Workspace, plan: StudyPlan, *, overwrite: bool) -> Iterator[Study]:
    """Makes or re-enters the directory of a study, alone.

    Raises:
        UserError: There are no session sequences; the directory holds something else, or a study
            that differs, and not `overwrite`; another process is at work there.
    """
    identity = plan.identity(open_sessions(workspace.sessions).sha256)
    folder = workspace.tuning(plan.name)
    is_new = not folder.exists() or not any(folder.iterdir())
    require(
        is_new or (folder / STUDY).is_file(),
        f"{folder} is no study (it has no {STUDY}): choose another --study",
    )
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if overwrite:
            _clear(folder)
        elif not is_new:
            _require_equal(folder, identity)
        write_json(folder / STUDY, identity)
        for part in SHARED:
            link = folder / part
            if not link.is_symlink():
                link.symlink_to(Path("..") / ".." / part)
        yield Study(folder, plan)


def make_trials(study: Study) -> Iterator[list[Trial]]:
    """Trains what is not trained yet, yielding all trials that have ended, after each.

    Raises:
        UserError: Training was refused or stopped.
    """
    plan = study.plan
    _require_same_embeddings(study)
    study.trim()
    started, made = time.monotonic(), 0
    for number in range(plan.max_trials):
        trials = study.trials
        if any(trial.number == number for trial in trials):
            continue
        earlier = [trial for trial in trials if trial.number < number]
        advice = Advice(plan.space, plan.strategy, earlier)
        if advice.flags is None:
            print(f"Study {plan.name}: all {len(trials)} combinations have been tried")
            return
        searched = [f"--{flag}={value}" for flag, value in advice.flags.items()]
        title = f"Study {plan.name}, trial {number} (of 0 to {plan.max_trials - 1}): "
        run = TrialRun(
            number,
            title + " ".join(searched),
            study.run(number),
            (
                f"--workspace={study.folder}",
                *plan.training_flags,
                *searched,
                f"--run={run_name(number)}",
                f"--seed={plan.strategy.seed}",
            ),
        )
        trial = train(run, advice)
        study.add(trial)
        trials, made = study.trials, made + 1
        left = (plan.max_trials - len(trials)) * (time.monotonic() - started) / made
        print(f"{_told(trial, best_of(trials))}; about {left / 60:.0f} min left", flush=True)
        yield trials


def _told(trial: Trial, best: Trial | None) -> str:
    """How a trial ended, in a line."""
    match trial.state:
        case State.FAILED:
            outcome = f"failed: {trial.error}"
        case State.PRUNED:
            outcome = f"pruned after epoch {len(trial.scores)} at a score of {trial.score:.4f}"
        case _:
            outcome = f"validation score {trial.score:.4f} in epoch {trial.best_epoch}"
    others = "" if best is None else f"; best: trial {best.number}, {best.score:.4f}"
    return f"Trial {trial.number} {outcome}{others}"


def _require_equal(folder: Path, identity: dict[str, Any]) -> None:
    stored = json.loads((folder / STUDY).read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(identity))
    names = sorted({*stored, *wanted})
    differences = [name for name in names if stored.get(name) != wanted.get(name)]
    if differences:
        there, asked = ({name: of.get(name) for name in differences} for of in (stored, wanted))
        raise UserError(
            f"{folder} holds a study that differs in {', '.join(differences)} ({there} there, "
            f"{asked} asked for): choose another --study, or give --overwrite to replace it"
        )


def _require_same_embeddings(study: Study) -> None:
    """Trials on other track embeddings would not compare."""
    description = study.folder / "tracks" / DESCRIPTION
    if not description.is_file():
        return
    now = json.loads(description.read_text(encoding="utf-8"))["embeddings_sha256"]
    for config in Workspace(study.folder).runs.glob(f"*/{CONFIG}"):
        then = json.loads(config.read_text(encoding="utf-8"))["embeddings_sha256"]
        require(
            then == now,
            f"{config.parent} was trained on other track embeddings than the workspace holds now: "
            "choose another --study, or give --overwrite to begin this one again",
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes out of the folder, where its file system has locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"another process is at work in {folder}: wait for it, or choose another "
                    "--study"
                ) from error
        yield
    finally:
        os.close(descriptor)


def _trim(run: Path) -> None:
    if not run.is_dir():
        return
    # First: a finished run is a whole one.
    (run / SUCCESS).unlink(missing_ok=True)
    for path in run.iterdir():
        if path.name not in KEPT:
            _remove(path)


def _clear(folder: Path) -> None:
    """Empties it; what makes it a study goes last."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == STUDY):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
