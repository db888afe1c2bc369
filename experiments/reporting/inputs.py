"""What the report rests on: the files of a workspace, read once, each with its command."""

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.result import ANALYSIS_FILE, ANALYSIS_FORMAT
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.config import METRICS_FILE, SCORES_FILE, EvaluationConfig
from cosernn_tf.evaluation.report import METRICS_FORMAT
from cosernn_tf.runs import is_finished
from cosernn_tf.tracks import DESCRIPTION
from cosernn_tf.whole_files import file_sha256
from cosernn_tf.workspace import SessionsDirectory, Workspace, open_sessions
from experiments.reporting.document import Source
from experiments.steps import command_line, list_flag
from experiments.table_runs import COMMAND, CSV, EVALUATION
from experiments.tables import TABLES


@dataclass(frozen=True)
class Evaluation:
    """A directory of `cosernn_tf.evaluate`."""

    folder: Path
    content: Mapping[str, Any]
    """Of `metrics.json`."""
    metrics: Source
    scores: Source

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(self.content["references"])


@dataclass(frozen=True)
class MadeTable:
    """A table of `experiments.table`."""

    number: int
    rows: tuple[Mapping[str, str], ...]
    """Of `table.csv`."""
    source: Source
    content: Mapping[str, Any]
    """Of its own `metrics.json`."""


@dataclass(frozen=True)
class AnalysisFile:
    """What `cosernn_tf.analyze` has found."""

    content: Mapping[str, Any]
    """Of `analysis.json`."""
    source: Source


@dataclass(frozen=True)
class Inputs:
    """What a workspace holds."""

    workspace: Workspace
    sessions: SessionsDirectory
    evaluation: Evaluation | None
    tables: Mapping[int, MadeTable]
    """Of these sessions; others are left out."""
    analysis: AnalysisFile | None
    """Of these sessions; another is left out."""
    embeddings: Mapping[str, Any] | None
    """How the track embeddings were made, if they are those of the evaluation."""

    @property
    def at(self) -> str:
        """The flag that names the workspace."""
        return shlex.quote(_at(self.workspace))

    @cached_property
    def finished_runs(self) -> tuple[str, ...]:
        folders = sorted(self.workspace.runs.glob("[!.]*"))
        return tuple(folder.name for folder in folders if is_finished(folder))

    @property
    def seeds_in_tables(self) -> Mapping[str, int]:
        """By row, the most seeds that a table has."""
        found: dict[str, int] = {}
        for table in self.tables.values():
            for row in table.rows:
                if row["seeds"]:
                    found[row["row"]] = max(found.get(row["row"], 0), int(row["seeds"]))
        return found

    @property
    def is_synthetic(self) -> bool:
        """Whether the sessions are those of the embedded default log."""
        listens = self.sessions.manifest.options.get("listens") or []
        return len(listens) == 1 and Path(listens[0]).parts[-2:] == ("log", "listens")


def read_inputs(workspace: Workspace, *, evaluation: Path | None = None) -> Inputs:
    """Reads what there is.

    Args:
        workspace: With sessions, at least.
        evaluation: Directory of the evaluation to report; None: the workspace's, else that of its
            Table 2, or of another of its tables.

    Raises:
        UserError: There are no sessions, no such evaluation, or one of other sessions, or a file is
            of another version.
    """
    sessions = open_sessions(workspace.sessions)
    made = (_read_table(n, workspace) for n in TABLES if (workspace.table(n) / CSV).is_file())
    tables = {table.number: table for table in made if _is_of(sessions, table.content)}
    folders = [workspace.evaluation, *(workspace.table(number) / EVALUATION for number in tables)]
    there = next((folder for folder in folders if (folder / METRICS_FILE).is_file()), None)
    chosen = evaluation or there
    if evaluation is not None and not (evaluation / METRICS_FILE).is_file():
        raise UserError(
            f"{evaluation} has no {METRICS_FILE}: give a directory of cosernn_tf.evaluate"
        )
    analysis = workspace.analysis / ANALYSIS_FILE
    found = None if chosen is None else _read_evaluation(chosen, workspace)
    if found is not None and not _is_of(sessions, found.content):
        raise UserError(
            f"{found.folder} evaluates other sessions than those in {sessions.path}: run "
            "cosernn_tf.evaluate again"
        )
    analysed = _read_analysis(analysis, workspace) if analysis.is_file() else None
    return Inputs(
        workspace=workspace,
        sessions=sessions,
        evaluation=found,
        tables=tables,
        analysis=analysed if analysed and _is_of(sessions, analysed.content) else None,
        embeddings=_read_embeddings(workspace, found),
    )


def _is_of(sessions: SessionsDirectory, content: Mapping[str, Any]) -> bool:
    return bool(content["provenance"]["sessions_sha256"] == sessions.sha256)


def _at(workspace: Workspace) -> str:
    return f"--workspace={workspace.root}"


def _read_evaluation(folder: Path, workspace: Workspace) -> Evaluation:
    content = read_json(folder / METRICS_FILE)
    _check_format(folder / METRICS_FILE, content, METRICS_FORMAT, "cosernn_tf.evaluate")
    command = _evaluate_command(folder, content, workspace)
    return Evaluation(
        folder,
        content,
        metrics=_source(folder / METRICS_FILE, command),
        scores=_source(folder / SCORES_FILE, command),
    )


def _evaluate_command(folder: Path, content: Mapping[str, Any], workspace: Workspace) -> str:
    """What evaluates the same again."""
    options = content["provenance"]["evaluation"]
    predictions = content["provenance"].get("predictions", {})
    runs = [name for name in content["references"] if name not in predictions]
    arguments = [_at(workspace), list_flag("runs", runs)]
    if predictions:
        files = [f"{name}={given['file']}" for name, given in predictions.items()]
        arguments.append(list_flag("predictions", files))
    arguments += _flags_of(options, EvaluationConfig())
    if folder.resolve() != workspace.evaluation.resolve():
        arguments.append(f"--output={folder}")
    return command_line("cosernn_tf.evaluate", arguments)


def _flags_of(options: Mapping[str, Any], default: EvaluationConfig | AnalysisConfig) -> list[str]:
    """Of a job, from its options in a file: each is a flag of that name."""
    flags = []
    for name, value in options.items():
        own = getattr(default, name, None)
        if value == (list(own) if isinstance(own, tuple) else own):
            continue
        flags.append(
            list_flag(name, value)
            if isinstance(value, Sequence) and not isinstance(value, str)
            else f"--{'no' * (value is False)}{name}"
            if isinstance(value, bool)
            else f"--{name}={value}"
        )
    return flags


def _read_table(number: int, workspace: Workspace) -> MadeTable:
    path = workspace.table(number) / CSV
    with path.open(encoding="utf-8", newline="") as file:
        rows = tuple(csv.DictReader(file))
    content = read_json(workspace.table(number) / EVALUATION / METRICS_FILE)
    kept = workspace.table(number) / COMMAND
    command = (
        kept.read_text(encoding="utf-8").strip()
        if kept.is_file()
        else "python -m experiments.table, with flags that this older version did not keep"
    )
    return MadeTable(number, rows, _source(path, command), content)


def _read_analysis(path: Path, workspace: Workspace) -> AnalysisFile:
    content = read_json(path)
    _check_format(path, content, ANALYSIS_FORMAT, "cosernn_tf.analyze")
    arguments = [_at(workspace), *_flags_of(content["options"], AnalysisConfig())]
    folder = (content["provenance"]["evaluation"] or {}).get("folder")
    if folder is not None and Path(folder).resolve() != workspace.evaluation.resolve():
        arguments.append(f"--evaluation={folder}")
    return AnalysisFile(content, _source(path, command_line("cosernn_tf.analyze", arguments)))


def _read_embeddings(
    workspace: Workspace, evaluation: Evaluation | None
) -> Mapping[str, Any] | None:
    path = workspace.tracks / DESCRIPTION
    if not path.is_file():
        return None
    content: Mapping[str, Any] = read_json(path)
    known = content.get("embeddings_sha256")
    if evaluation is not None and evaluation.content["provenance"]["embeddings_sha256"] != known:
        return None
    return content


def _check_format(path: Path, content: Mapping[str, Any], expected: int, job: str) -> None:
    if content.get("format") != expected:
        raise UserError(
            f"{path} has format {content.get('format')}, this program reads {expected}: run {job} "
            "again"
        )


def _source(path: Path, command: str) -> Source:
    try:
        return Source(path, command, file_sha256(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def read_json(path: Path) -> Any:
    """Raises `UserError` if the file is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read ({error}): run the job that wrote it again")
