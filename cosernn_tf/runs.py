"""Run directories: what identifies a run, when it is finished, and what it refuses."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cosernn_tf.config import TrainConfig, canonical_json
from cosernn_tf.errors import UserError
from cosernn_tf.tracks import TrackEmbeddings
from cosernn_tf.workspace import SUCCESS, SessionsDirectory

CONFIG: Final = "config.json"
FLAGFILE: Final = "flags.txt"
HISTORY: Final = "history.json"
INDEX: Final = "index"
EXPORT: Final = "export"


@dataclass(frozen=True)
class RunIdentity:
    """What a run was asked to do, and on which data: two equal ones give equal weights."""

    config: TrainConfig
    sessions_sha256: str
    embeddings_sha256: str

    @classmethod
    def of(
        cls, config: TrainConfig, sessions: SessionsDirectory, embeddings: TrackEmbeddings
    ) -> "RunIdentity":
        return cls(config, sessions.sha256, embeddings.sha256)

    def to_dict(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "embeddings_sha256": self.embeddings_sha256,
            "sessions_sha256": self.sessions_sha256,
        }


@contextlib.contextmanager
def training_run(run: Path, identity: RunIdentity, *, overwrite: bool) -> Iterator[bool]:
    """Makes or re-enters a run directory; the block trains in it.

    A run that is overwritten is kept beside it, and put back if the block raises. Unfinished, a run
    that is not overwritten stays, to be re-entered.

    Yields:
        Whether there is something to train: False if the same run is finished already.

    Raises:
        UserError: The directory holds a run with other flags or data, and not `overwrite`.
    """
    if run.exists() and not (run / CONFIG).is_file() and any(run.iterdir()):
        raise UserError(f"{run} is no run (it has no {CONFIG}): choose another --run")
    stored = None if overwrite else _stored(run)
    wanted = json.loads(canonical_json(identity.to_dict()))
    if stored is not None and stored != wanted:
        differences = ", ".join(_differences(stored, wanted))
        raise UserError(
            f"{run} holds a run that differs in {differences}: choose another --run, or give "
            "--overwrite to replace it"
        )
    replaced = run.parent / f".{run.name}.replaced"
    if is_finished(run):
        shutil.rmtree(replaced, ignore_errors=True)
    if overwrite and run.exists():
        # With both there, what is in `run` is the attempt of a process that was killed.
        if replaced.exists():
            shutil.rmtree(run)
        else:
            run.rename(replaced)
    if is_finished(run):
        yield False
        return
    run.mkdir(parents=True, exist_ok=True)
    (run / CONFIG).write_text(canonical_json(identity.to_dict()), encoding="utf-8")
    try:
        yield True
    except BaseException:
        if overwrite and replaced.exists():
            shutil.rmtree(run)
            replaced.rename(run)
        raise
    (run / SUCCESS).touch()
    shutil.rmtree(replaced, ignore_errors=True)


def is_finished(run: Path) -> bool:
    return (run / SUCCESS).is_file()


def open_run(run: Path) -> TrainConfig:
    """The configuration of a finished run.

    Raises:
        UserError: There is no such run, or it did not finish.
    """
    if not run.is_dir():
        others = sorted(path.name for path in run.parent.glob("[!.]*") if path.is_dir())
        there = f"there are {', '.join(others)}" if others else "there is none"
        raise UserError(f"run {run.name!r} does not exist in {run.parent} ({there})")
    stored = _stored(run)
    if stored is None or not is_finished(run):
        raise UserError(f"{run} is not a finished run: run cosernn_tf.train --run={run.name} again")
    return TrainConfig.from_dict(stored["config"])


def check_run_data(run: Path, sessions: SessionsDirectory, embeddings: TrackEmbeddings) -> None:
    """Raises `UserError` unless the run was trained on these session sequences and embeddings."""
    stored = _stored(run) or {}
    for what, name, found in (
        ("session sequences", "sessions_sha256", sessions.sha256),
        ("track embeddings", "embeddings_sha256", embeddings.sha256),
    ):
        if stored.get(name) != found:
            raise UserError(
                f"run {run.name!r} was trained on other {what} than the workspace holds now: "
                f"run cosernn_tf.train --run={run.name} --overwrite"
            )


def _stored(run: Path) -> dict[str, Any] | None:
    path = run / CONFIG
    if not path.is_file():
        return None
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
        # A run of before a flag existed is one with its default.
        config = TrainConfig.from_dict(stored["config"]).to_dict()
        return {**stored, "config": json.loads(canonical_json(config))}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged or of another version ({error}): run cosernn_tf.train "
            f"--run={run.name} --overwrite"
        ) from error


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Names of the flags, or data, in which two identities differ."""
    names: list[str] = []
    for name in sorted({*stored, *wanted}):
        left, right = stored.get(name), wanted.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            names += _differences(left, right)
        elif left != right:
            names.append(f"{name} ({left} there, {right} asked for)")
    return names
