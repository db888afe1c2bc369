"""Looks at session sequences as §4 does, block by block: writes `workspace/analysis/`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

import cosernn_tf
from cosernn_tf.analysis.block import Block
from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.contexts import DEVICE, Dimension, dimensions
from cosernn_tf.analysis.distribution import ContextCounts
from cosernn_tf.analysis.result import ANALYSIS_FILE, CONTEXT_SHARES, Analysis, Coverage
from cosernn_tf.dataset import read_shards
from cosernn_tf.errors import UserError
from cosernn_tf.provenance import describe_machine
from cosernn_tf.schema import TRACK_PADDING
from cosernn_tf.sessions import local_day_and_hour
from cosernn_tf.staging import staged
from cosernn_tf.table import SessionTable, in_blocks
from cosernn_tf.tracks import TrackEmbeddings, load_track_embeddings
from cosernn_tf.workspace import SessionsDirectory, Workspace, open_sessions

SESSIONS_PER_BLOCK: Final = 50_000
"""Sessions looked at at once, with some 2 KB of vectors and products each: some 100 MB."""


def analyze(
    workspace: Workspace,
    *,
    config: AnalysisConfig,
    output: Path | None = None,
    sessions_per_block: int = SESSIONS_PER_BLOCK,
) -> Analysis:
    """Redoes the figures of §4 from the workspace's sessions and track embeddings.

    Args:
        workspace: With sessions and track embeddings.
        config: What is looked at, and how much is drawn.
        output: Directory to write, replaced as a whole; None: the workspace's.
        sessions_per_block: Sessions looked at at once; changes nothing but rounding.

    Raises:
        UserError: Something is missing in the workspace, or there is no session to look at.
    """
    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    reader = _Reader(sessions, config, sessions_per_block)
    with staged(output or workspace.analysis, marker=ANALYSIS_FILE) as staging:
        analysis = _analyze(reader, tracks)
        analysis.write(staging)
    return analysis


class _Reader:
    """Passes over the sessions of the split."""

    def __init__(
        self, sessions: SessionsDirectory, config: AnalysisConfig, sessions_per_block: int
    ) -> None:
        self.sessions = sessions
        self.config = config
        self._sessions_per_block = sessions_per_block

    def tables(self, what: str) -> Iterator[SessionTable]:
        """Whole users, some at a time."""
        before = self.config.split.before(self.sessions.manifest.split)
        total = sum(shard.sessions for shard in self.sessions.manifest.shards)
        with tqdm(total=total, desc=f"analyze: {what}", unit="session") as bar:
            blocks = in_blocks(read_shards(self.sessions), max_sessions=self._sessions_per_block)
            for table in blocks:
                bar.update(table.num_sessions)
                looked_at = table if before is None else table.starting_before(before)
                if looked_at.num_sessions:
                    yield looked_at

    def blocks(self, what: str, track_embeddings: np.ndarray) -> Iterator[Block]:
        """The same with what their music takes."""
        for table in self.tables(what):
            yield Block(table, track_embeddings, self.config.seed)


def _analyze(reader: _Reader, tracks: TrackEmbeddings) -> Analysis:
    all_dimensions = dimensions(reader.sessions.devices)
    counts = _Counts(all_dimensions)
    for block in reader.blocks("contexts", tracks.vectors):
        counts.add(block)
    if not counts.contexts.sessions:
        raise UserError(
            f"the {reader.config.split} split of {reader.sessions.path} has no session: "
            "sessionise a longer log, or take --split=all"
        )
    return Analysis(
        config=reader.config,
        coverage=counts.coverage,
        tables={CONTEXT_SHARES: counts.contexts.rows()},
        notes=tuple(counts.notes()),
        provenance=_provenance(reader.sessions, tracks),
    )


class _Counts:
    """What there is: of contexts, and of what a log may lack."""

    def __init__(self, of: tuple[Dimension, ...]) -> None:
        self.contexts = ContextCounts(of)
        self._devices = next(d for d in of if d.name == DEVICE)
        self._off_utc = 0
        self._sums = np.zeros(4, np.int64)

    def add(self, block: Block) -> None:
        table = block.table
        self.contexts.add(table)
        day, hour = local_day_and_hour(table.session_start, np.zeros_like(table.session_start))
        is_off = (day != table.day_of_week) | (hour != table.hour)
        self._off_utc += int(np.count_nonzero(is_off))
        self._sums += (
            np.count_nonzero(block.is_embedded_listen.any(axis=1)),
            np.count_nonzero(table.track != TRACK_PADDING),
            np.count_nonzero(block.is_embedded_listen),
            np.count_nonzero(table.skipped == 1),
        )

    @property
    def coverage(self) -> Coverage:
        return Coverage(self.contexts.users, self.contexts.sessions, *self._sums.tolist())

    def notes(self) -> Iterator[str]:
        """What the log does not tell."""
        coverage = self.coverage
        if not self._devices.is_known(self.contexts.sessions_in(self._devices)):
            yield "The log has no devices: nothing is compared by device."
        if not self._off_utc:
            yield (
                "No session has another local time than UTC, as in a log without "
                "utc_offset_minutes: days, hours and periods are those of UTC."
            )
        if not coverage.listens_skipped:
            yield ("No listen is skipped, or the log does not tell: skips are related to nothing.")
        if not coverage.sessions_embedded:
            yield "No track of a session has an embedding: nothing is said of music."


def _provenance(sessions: SessionsDirectory, tracks: TrackEmbeddings) -> dict[str, Any]:
    """What was looked at, and with what."""
    return {
        "boundaries": dataclasses.asdict(sessions.manifest.split),
        "sessions_sha256": sessions.sha256,
        "embeddings_sha256": tracks.sha256,
        "cosernn_tf": cosernn_tf.__version__,
        "machine": describe_machine(),
    }
