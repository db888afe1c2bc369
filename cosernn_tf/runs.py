"""Run directories: what identifies a run, when it is finished, and what it refuses."""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cosernn_tf.config import TrainConfig, canonical_json
from cosernn_tf.errors import UserError
from cosernn_tf.tracks import TrackEmbeddings
from cosernn_tf.whole_files import write_text
from cosernn_tf.workspace import SUCCESS, SessionsDirectory

CONFIG: Final = "config.json"
FLAGFILE: Final = "flags.txt"
HISTORY: Final = "history.json"
MODEL_FILE: Final = "model.keras"
INDEX: Final = "index"
EXPORT: Final = "export"
PROVENANCE: Final = "provenance.json"
DIVERGED: Final = "diverged.txt"
"""Why training was stopped for good."""

_LOCK: Final = ".lock"


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

    def to_json(self) -> str:
        return canonical_json(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "embeddings_sha256": self.embeddings_sha256,
            "sessions_sha256": self.sessions_sha256,
        }


@contextlib.contextmanager
def training_run(run: Path, identity: RunIdentity, *, overwrite: bool) -> Iterator[Path | None]:
    """Makes or re-enters the directory of a run; the block trains in it.

    If the block raises, or the process is killed, the directory stays, to be re-entered with the
    same identity. With `overwrite` it is another one, which takes the run's place when the block is
    through: until then an older run is as it was.

    Yields:
        Where to train, or None if there is nothing left to do.

    Raises:
        UserError: The directory holds a run with other flags or data, and not `overwrite`; or one
            that has diverged; or another process trains in it.
    """
    if run.exists() and not (run / CONFIG).is_file() and any(run.glob("[!.]*")):
        raise UserError(f"{run} is no run (it has no {CONFIG}): choose another --run")
    wanted = json.loads(canonical_json(identity.to_dict()))
    attempt = _hidden(run, "attempts")
    if not overwrite and not run.exists() and is_finished(attempt):
        _put_in_place(attempt, run)
    folder = attempt if overwrite else run
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if not overwrite:
            _require_equal(run, wanted)
        elif not _is_equal(folder, wanted):
            _clear(folder)
        if not is_finished(folder):
            _require_no_divergence(folder)
            for leftover in filter(Path.is_file, folder.glob(".*.*")):
                leftover.unlink()  # of a file that a killed process was writing
            write_text(folder / CONFIG, canonical_json(wanted))
            yield folder
            (folder / SUCCESS).touch()
        else:
            yield None
    if overwrite:
        _put_in_place(attempt, run)


def _hidden(run: Path, what: str) -> Path:
    """A directory of the same name, on the same file system."""
    return run.parent / f".{what}" / run.name


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes out of the folder, where its file system has locks."""
    path = folder / _LOCK
    with path.open("ab") as file:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"another process trains in {folder}: wait for it, or choose another --run"
                ) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _require_equal(run: Path, wanted: Mapping[str, Any]) -> None:
    stored = _stored(run)
    if stored is not None and stored != wanted:
        differences = ", ".join(_differences(stored, wanted))
        raise UserError(
            f"{run} holds a run that differs in {differences}: choose another --run, or give "
            "--overwrite to replace it"
        )


def _is_equal(run: Path, wanted: Mapping[str, Any]) -> bool:
    try:
        return _stored(run) == wanted
    except UserError:
        return False


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()


def _require_no_divergence(run: Path) -> None:
    path = run / DIVERGED
    if path.is_file():
        raise UserError(
            f"the same flags would lead to the same again (remove {path} to try nonetheless): "
            f"{path.read_text(encoding='utf-8')}"
        )


def _put_in_place(attempt: Path, run: Path) -> None:
    """Makes a finished attempt the run; killed on the way, `training_run` brings it to its end."""
    replaced = _hidden(run, "replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if run.exists():
        replaced.parent.mkdir(exist_ok=True)
        run.rename(replaced)
    attempt.rename(run)
    shutil.rmtree(replaced, ignore_errors=True)
    for parent in (attempt.parent, replaced.parent):
        with contextlib.suppress(OSError):  # others are there
            parent.rmdir()


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
