"""Looks at session sequences as §4 does, block by block: writes `workspace/analysis/`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

import cosernn_tf
from cosernn_tf.analysis.block import Block
from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.contexts import COMPARED, dimensions
from cosernn_tf.analysis.coverage import CoverageCounts
from cosernn_tf.analysis.evaluated import Evaluation, choose_models, notes_on, open_evaluation
from cosernn_tf.analysis.improvement import improvements
from cosernn_tf.analysis.nearest import NearestSessions
from cosernn_tf.analysis.result import (
    ANALYSIS_FILE,
    CONTEXT_SHARES,
    CONTEXT_SIMILARITY,
    IMPROVEMENT,
    NEAREST_SESSIONS,
    SKIP_CORRELATION,
    SKIP_CURVE,
    Analysis,
)
from cosernn_tf.analysis.rows import Row
from cosernn_tf.analysis.sampling import rates
from cosernn_tf.analysis.skips import SkipRelation
from cosernn_tf.analysis.variety import SimilarityWithin
from cosernn_tf.dataset import read_shards
from cosernn_tf.errors import UserError
from cosernn_tf.provenance import describe_machine
from cosernn_tf.staging import staged
from cosernn_tf.table import in_blocks
from cosernn_tf.tracks import TrackEmbeddings, load_track_embeddings
from cosernn_tf.workspace import SessionsDirectory, Workspace, open_sessions

SESSIONS_PER_BLOCK: Final = 50_000
"""Sessions looked at at once, with some 3 KB of vectors and numbers each: some 150 MB."""


def analyze(
    workspace: Workspace,
    *,
    config: AnalysisConfig,
    evaluation: Path | None = None,
    output: Path | None = None,
    sessions_per_block: int = SESSIONS_PER_BLOCK,
) -> Analysis:
    """Redoes the figures of §4 from sessions and track embeddings, and Fig. 5 from an evaluation.

    Args:
        workspace: With sessions and track embeddings.
        config: What is looked at, and how much is drawn.
        evaluation: Directory of an evaluation of these sessions; None: the workspace's, and without
            one there is no Fig. 5.
        output: Directory to write, replaced as a whole; None: the workspace's.
        sessions_per_block: Sessions looked at at once; changes nothing but rounding.

    Raises:
        UserError: Something is missing in the workspace, or there is no session to look at, or the
            evaluation does not have what is to be compared.
    """
    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    compared = _compared(workspace, sessions, config, evaluation)
    with staged(output or workspace.analysis, marker=ANALYSIS_FILE) as staging:
        analysis = _analyze(_Reader(sessions, tracks, config, sessions_per_block), compared)
        analysis.write(staging)
    return analysis


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Passes over the sessions of the split."""

    sessions: SessionsDirectory
    tracks: TrackEmbeddings
    config: AnalysisConfig
    sessions_per_block: int

    def blocks(self, what: str) -> Iterator[Block]:
        """Whole users, some at a time."""
        before = self.config.split.before(self.sessions.manifest.split)
        total = sum(shard.sessions for shard in self.sessions.manifest.shards)
        with tqdm(total=total, desc=f"analyze: {what}", unit="session") as bar:
            tables = in_blocks(read_shards(self.sessions), max_sessions=self.sessions_per_block)
            for table in tables:
                looked_at = table if before is None else table.starting_before(before)
                if looked_at.num_sessions:
                    yield Block(looked_at, self.tracks.vectors, self.config.seed)
                bar.update(table.num_sessions)


@dataclasses.dataclass(frozen=True)
class _Compared:
    """The models of Fig. 5; none without an evaluation."""

    evaluation: Evaluation | None
    models: tuple[str, ...]
    reference: str | None
    notes: tuple[str, ...]

    def rows(self, sessions: SessionsDirectory) -> tuple[Row, ...]:
        if self.evaluation is None or self.reference is None or not self.models:
            return ()
        return improvements(
            self.evaluation.scores,
            models=self.models,
            reference=self.reference,
            devices=sessions.devices,
        )

    def provenance(self) -> dict[str, Any] | None:
        if self.evaluation is None:
            return None
        return {
            "folder": str(self.evaluation.path),
            "models": list(self.models),
            "reference": self.reference,
            **self.evaluation.metrics["provenance"],
        }


def _compared(
    workspace: Workspace, sessions: SessionsDirectory, config: AnalysisConfig, path: Path | None
) -> _Compared:
    """Before all else, as what was asked for may not be there."""
    try:
        evaluation = open_evaluation(path or workspace.evaluation, sessions)
    except UserError as error:
        if path or config.models or config.reference:
            raise
        return _Compared(None, (), None, (f"Models are not compared by context: {error}.",))
    models, reference = choose_models(evaluation, config.models, config.reference)
    notes = notes_on(models, reference, wanted=config.reference)
    return _Compared(evaluation, models, reference, tuple(notes))


def _analyze(reader: _Reader, compared: _Compared) -> Analysis:
    """Two passes: what is drawn of a context in the second depends on how much there is of it."""
    counts = CoverageCounts(dimensions(reader.sessions.devices))
    for block in reader.blocks("contexts"):
        counts.add(block)
    if not counts.contexts.sessions:
        raise UserError(
            f"the {reader.config.split} split of {reader.sessions.path} has no session: "
            "sessionise a longer log, or take --split=all"
        )
    music = _music(reader, counts)
    return Analysis(
        config=reader.config,
        coverage=counts.coverage(),
        tables={
            CONTEXT_SHARES: counts.contexts.rows(),
            **music,
            IMPROVEMENT: compared.rows(reader.sessions),
        },
        notes=(*counts.notes(), *compared.notes),
        provenance={
            "boundaries": dataclasses.asdict(reader.sessions.manifest.split),
            "sessions_sha256": reader.sessions.sha256,
            "embeddings_sha256": reader.tracks.sha256,
            "cosernn_tf": cosernn_tf.__version__,
            "machine": describe_machine(),
            "evaluation": compared.provenance(),
        },
    )


def _music(reader: _Reader, counts: CoverageCounts) -> dict[str, tuple[Row, ...]]:
    """Fig. 2 and 3."""
    vectors, config = reader.tracks.vectors, reader.config
    compared = [
        dimension
        for dimension in dimensions(reader.sessions.devices)
        if dimension.name in COMPARED and counts.is_known(dimension)
    ]
    similarities = [
        SimilarityWithin(
            dimension,
            rates=rates(counts.listens_in(dimension), config.sample_listens),
            dim=vectors.shape[1],
        )
        for dimension in compared
    ]
    skips = SkipRelation()
    nearest = NearestSessions(
        compared,
        rates=[rates(counts.contexts.sessions_in(d), config.sample_sessions) for d in compared],
    )
    parts: list[SimilarityWithin | SkipRelation | NearestSessions]
    parts = [*similarities, skips, nearest]
    for block in reader.blocks("music"):
        for part in parts:
            part.add(block)
    return {
        CONTEXT_SIMILARITY: tuple(row for of_one in similarities for row in of_one.rows(vectors)),
        SKIP_CORRELATION: skips.correlations(),
        SKIP_CURVE: skips.curve(),
        NEAREST_SESSIONS: nearest.rows(),
    }
