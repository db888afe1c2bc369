"""Where every file of the workspace is, and how a directory of session sequences is trusted.

A finished directory holds `_SUCCESS`; jobs write into a staging directory beside it and rename, so
that a reader never sees half an output and a failed job leaves the older one as it was.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from cosernn_tf.errors import UserError
from cosernn_tf.schema import SCHEMA_VERSION

SUCCESS: Final = "_SUCCESS"
MANIFEST: Final = "manifest.json"
TRACK_VOCABULARY: Final = "vocabulary/tracks.parquet"
DEVICE_VOCABULARY: Final = "vocabulary/devices.txt"
STREAM_SOURCE_VOCABULARY: Final = "vocabulary/stream_sources.txt"
VOCABULARIES: Final = (TRACK_VOCABULARY, DEVICE_VOCABULARY, STREAM_SOURCE_VOCABULARY)


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
    def tracks(self) -> Path:
        """Track embeddings."""
        return self.root / "tracks"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    def run(self, name: str) -> Path:
        return self.root / "runs" / name


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
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: Path) -> "Manifest":
        """Raises `UserError` if `text` is not a manifest of this schema version."""
        try:
            fields = json.loads(text)
            version = fields["schema_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{where} is not a manifest ({error}): run beam_pipelines.sessionize again"
            ) from error
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{where} has schema version {version}, this program reads {SCHEMA_VERSION}: "
                "run beam_pipelines.sessionize again, or use the release that wrote it"
            )
        fields["shards"] = tuple(Shard(**shard) for shard in fields["shards"])
        fields["split"] = Split(**fields["split"])
        return cls(**fields)


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
        return pq.read_table(self._checked(TRACK_VOCABULARY))

    @property
    def sha256(self) -> str:
        """Of the manifest, which has the checksums of everything else."""
        return sha256(self.manifest.to_json().encode())

    @property
    def track_vocabulary_sha256(self) -> str:
        return self.manifest.vocabularies[TRACK_VOCABULARY]

    def _lines(self, name: str) -> tuple[str, ...]:
        return tuple(self._checked(name).read_text(encoding="utf-8").splitlines())

    def _checked(self, name: str) -> Path:
        path = self.path / name
        check_sha256(path, path.read_bytes(), self.manifest.vocabularies[name])
        return path


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
def staged(final: Path) -> Iterator[Path]:
    """A fresh directory beside `final` that replaces it, whole, if the block does not raise."""
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(final)
    staging = final.parent / f".{final.name}.staging-{os.getpid()}"
    staging.mkdir()
    try:
        yield staging
        (staging / SUCCESS).touch()
        old = final.parent / f".{final.name}.old-{os.getpid()}"
        if final.exists():
            final.rename(old)
        staging.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _remove_leftovers(final: Path) -> None:
    """Removes staging directories of processes that were killed."""
    for leftover in final.parent.glob(f".{final.name}.*-*"):
        pid = leftover.name.rpartition("-")[2]
        if pid.isdigit() and (int(pid) == os.getpid() or not Path(f"/proc/{pid}").exists()):
            shutil.rmtree(leftover, ignore_errors=True)
