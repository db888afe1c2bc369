"""Where every file of the workspace is, and how a directory of session sequences is trusted.

A finished directory holds `_SUCCESS`; jobs write into a staging directory beside it and rename, so
that a reader never sees half an output and a failed job leaves the older one as it was.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosernn_tf.config import canonical_json
from cosernn_tf.errors import UserError
from cosernn_tf.schema import SCHEMA_VERSION

SUCCESS: Final = "_SUCCESS"
MANIFEST: Final = "manifest.json"
TRACK_VOCABULARY: Final = "vocabulary/tracks.parquet"
DEVICE_VOCABULARY: Final = "vocabulary/devices.txt"
STREAM_SOURCE_VOCABULARY: Final = "vocabulary/stream_sources.txt"
VOCABULARIES: Final = (TRACK_VOCABULARY, DEVICE_VOCABULARY, STREAM_SOURCE_VOCABULARY)

RAW_IDS: Final = {"user_id": "raw", "track_id": "raw"}
"""The ids are those of the log."""


@dataclass(frozen=True)
class Workspace:
    """Paths of the workspace's parts (WORKSPACE.md)."""

    root: Path

    @property
    def log(self) -> Path:
        """The embedded default log."""
        return self.root / "log"

    @property
    def sessions(self) -> Path:
        return self.root / "sessions"

    @property
    def description(self) -> Path:
        """What is in `sessions`: statistics, plots and data card."""
        return self.root / "description"

    @property
    def tracks(self) -> Path:
        """Track embeddings."""
        return self.root / "tracks"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def run(self, name: str) -> Path:
        return self.runs / name

    def table(self, number: int) -> Path:
        """A table of the paper, made by `experiments.table`."""
        return self.root / "tables" / f"table{number}"


@dataclass(frozen=True)
class Split:
    """Boundaries of the splits (§5.2), UTC seconds: a session belongs to that it starts in."""

    validation_start: int
    test_start: int


@dataclass(frozen=True)
class Shard:
    """A TFRecord file of session sequences."""

    name: str
    users: int
    sessions: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a sessionise run made: `manifest.json`."""

    shards: tuple[Shard, ...]
    counters: Mapping[str, int]
    split: Split
    options: Mapping[str, Any]
    first_timestamp: int
    last_timestamp: int
    vocabularies: Mapping[str, str]
    """SHA-256 of each vocabulary file."""
    ids: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(RAW_IDS))
    """How each id is stored: as in the log, or hashed, and then by which salt and key."""
    state: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """SHA-256 of each file that a run needs to add newer listens; none if they were not kept."""
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: Path) -> "Manifest":
        """Raises `UserError` if `text` is not a manifest of this schema version."""
        try:
            fields = json.loads(text)
            version = fields["schema_version"]
            if version == SCHEMA_VERSION:
                shards = tuple(Shard(**shard) for shard in fields["shards"])
                return cls(**{**fields, "shards": shards, "split": Split(**fields["split"])})
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{where} is not a manifest ({type(error).__name__}: {error}): "
                "run beam_pipelines.sessionize again"
            ) from error
        raise UserError(
            f"{where} has schema version {version}, this program reads {SCHEMA_VERSION}: "
            "run beam_pipelines.sessionize again, or use the release that wrote it"
        )


@dataclass(frozen=True)
class SessionsDirectory:
    """A finished directory of session sequences; get one from `open_sessions`."""

    path: Path
    manifest: Manifest

    @cached_property
    def devices(self) -> tuple[str, ...]:
        return self._lines(DEVICE_VOCABULARY)

    @cached_property
    def stream_sources(self) -> tuple[str, ...]:
        return self._lines(STREAM_SOURCE_VOCABULARY)

    @cached_property
    def tracks(self) -> pa.Table:
        """`track_id`, `train_listens`; the row number is the track's index."""
        return pq.read_table(
            pa.BufferReader(self._checked(TRACK_VOCABULARY, self.manifest.vocabularies))
        )

    @cached_property
    def train_listens(self) -> np.ndarray:
        """(tracks,) int64 of `tracks`, for who does not need the ids, the better part of it."""
        buffer = pa.BufferReader(self._checked(TRACK_VOCABULARY, self.manifest.vocabularies))
        table = pq.read_table(buffer, columns=["train_listens"])
        return np.asarray(table["train_listens"].to_numpy(), np.int64)

    @property
    def sha256(self) -> str:
        """Of everything that later jobs read; the same log sessionised elsewhere has the same."""
        fields = dataclasses.asdict(self.manifest)
        content = {name: fields[name] for name in ("shards", "split", "vocabularies")}
        return sha256(canonical_json(content).encode())

    @property
    def track_vocabulary_sha256(self) -> str:
        return self.manifest.vocabularies[TRACK_VOCABULARY]

    def state(self, name: str) -> bytes:
        """A file of what adding newer listens needs.

        Raises:
            UserError: It is missing or does not have the checksum of the manifest.
        """
        return self._checked(name, self.manifest.state)

    def _lines(self, name: str) -> tuple[str, ...]:
        return from_lines(self._checked(name, self.manifest.vocabularies))

    def _checked(self, name: str, checksums: Mapping[str, str]) -> bytes:
        path = self.path / name
        if name not in checksums or not path.is_file():
            raise UserError(f"{path} does not exist: run beam_pipelines.sessionize again")
        data = path.read_bytes()
        check_sha256(path, data, checksums[name])
        return data


def open_sessions(path: Path) -> SessionsDirectory:
    """Opens a directory of session sequences.

    Raises:
        UserError: It does not exist, has no `_SUCCESS`, or is of another schema version.
    """
    if not path.is_dir():
        raise UserError(f"{path} does not exist: run beam_pipelines.sessionize first")
    for name in (SUCCESS, MANIFEST):
        if not (path / name).is_file():
            raise UserError(
                f"{path} has no {name}, so it is not a finished directory of session sequences: "
                "run beam_pipelines.sessionize again"
            )
    text = (path / MANIFEST).read_text(encoding="utf-8")
    return SessionsDirectory(path, Manifest.from_json(text, where=path / MANIFEST))


_ESCAPES: Final = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"))


def to_lines(values: Iterable[str]) -> bytes:
    r"""A value a line, whatever it holds: a line's end in it is `\n` or `\r`, a backslash `\\`."""
    lines = []
    for value in values:
        for character, escape in _ESCAPES:
            value = value.replace(character, escape)
        lines.append(value + "\n")
    return "".join(lines).encode()


def from_lines(data: bytes) -> tuple[str, ...]:
    """The values of `to_lines`."""
    meanings = {escape: character for character, escape in _ESCAPES}
    return tuple(
        re.sub(r"\\[\\nr]", lambda escape: meanings[escape[0]], line)
        for line in data.decode().removesuffix("\n").split("\n")
    )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check_sha256(path: Path, data: bytes, expected: str) -> None:
    """Raises `UserError` unless `data`, read from `path`, has the checksum of the manifest."""
    if sha256(data) != expected:
        raise UserError(
            f"{path} does not have the checksum of its manifest (it was changed or damaged): "
            "run the job that wrote it again"
        )


@contextlib.contextmanager
def staged(final: Path, *, marker: str = SUCCESS) -> Iterator[Path]:
    """A fresh directory beside `final` that replaces it, whole, if the block does not raise.

    Args:
        final: The directory to write.
        marker: A file that every output of this job has: a directory without it is no older output
            of this job, and is not replaced unless it is empty.

    Raises:
        UserError: `final` is something else than an older output, or cannot be written, also if
            the block has met one of `DISK_TROUBLES`.
    """
    # What a link leads to is replaced, not the link.
    target = final.resolve()
    staging = _beside(target, _STAGING)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.parent):
            _clean_up_after_the_dead(target)
            _require_replaceable(final, marker)
            staging.mkdir()
    except OSError as error:
        # A file where a folder would have to be.
        reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise UserError(
            f"{final} cannot be written ({error.filename}: {reason}): choose another place"
        ) from error
    try:
        yield staging
        (staging / SUCCESS).touch()
        _replace(target, staging)
    except OSError as error:
        reason = DISK_TROUBLES.get(error.errno or 0)
        if reason is None:
            raise
        raise UserError(
            f"{final} could not be written: {reason} (it had {_megabytes(_size(staging))} by then, "
            f"{_megabytes(shutil.disk_usage(staging).free)} are free); what was there is as it was"
        ) from error
    finally:
        _remove(staging)


DISK_TROUBLES: Final = {
    errno.ENOSPC: "the disk is full, make room or choose another place",
    errno.EDQUOT: "your share of the disk is used up, make room or choose another place",
    errno.EFBIG: "a file is larger than the disk or `ulimit -f` lets it be, choose another place",
    errno.EROFS: "the disk may only be read, choose another place",
    errno.EIO: "the disk has a fault, choose another place",
    errno.EMFILE: "too many files are open, allow more by `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine",
}
"""Errors that are the machine's, by what a person can do."""

_STAGING: Final = "staging"
_OLD: Final = "old"
_TRIES: Final = 20
_SECONDS_BETWEEN_TRIES: Final = 0.05


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _remove(folder: Path) -> None:
    """Removes a folder, also one in which threads of a job that has failed still write."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _beside(final: Path, what: str) -> Path:
    """A directory of this process; the host stands in it as a workspace may be shared."""
    return final.parent / f".{final.name}.{what}-{platform.node()}-{os.getpid()}"


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time put outputs into the folder, where its file system has locks."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _require_replaceable(final: Path, marker: str) -> None:
    if not final.exists() or (final / marker).is_file():
        return
    if not final.is_dir() or any(final.iterdir()):
        raise UserError(
            f"{final} exists and is not an older output of this job (it has no {marker}), so it is "
            "not replaced: remove it, or choose another place"
        )


def _replace(final: Path, staging: Path) -> None:
    """Puts `staging` in the place of `final`, which comes back if that fails."""
    old = _beside(final, _OLD)
    with _alone(final.parent):
        if final.exists():
            final.rename(old)
        try:
            staging.rename(final)
        except OSError:
            if old.exists():
                old.rename(final)
            raise
    shutil.rmtree(old, ignore_errors=True)


def _clean_up_after_the_dead(final: Path) -> None:
    """Removes what killed processes have left; an output that was about to be replaced returns."""
    for what in (_OLD, _STAGING):
        of_this_host = _beside(final, what).name.rpartition("-")[0]
        for leftover in final.parent.glob(".*"):
            stem, _, pid = leftover.name.rpartition("-")
            if stem != of_this_host or not pid.isdigit() or _is_another_alive(int(pid)):
                continue
            if what == _OLD and not final.exists():
                leftover.rename(final)
            else:
                shutil.rmtree(leftover, ignore_errors=True)


def _is_another_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # Alive, and someone else's.
    return pid != os.getpid()
