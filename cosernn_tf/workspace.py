"""Where every file of the workspace is, and how a directory of session sequences is trusted."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
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
    def analysis(self) -> Path:
        """The figures of §4, and Fig. 5."""
        return self.root / "analysis"

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

    @property
    def report(self) -> Path:
        """The page of `experiments.report`."""
        return self.root / "report"

    @property
    def serving(self) -> Path:
        """Listens and states of users, by `cosernn_tf.serve`."""
        return self.root / "serving"

    def tuning(self, study: str) -> Path:
        """A study, made by `experiments.tune`."""
        return self.root / "tuning" / study


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
        return self._read_tracks()

    @cached_property
    def train_listens(self) -> np.ndarray:
        """(tracks,) int64 of `tracks`, for who does not need the ids, the better part of it."""
        listens = self._read_tracks(columns=["train_listens"])["train_listens"]
        return np.asarray(listens.to_numpy(), np.int64)

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

    def _read_tracks(self, columns: list[str] | None = None) -> pa.Table:
        data = self._checked(TRACK_VOCABULARY, self.manifest.vocabularies)
        return pq.read_table(pa.BufferReader(data), columns=columns)

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
