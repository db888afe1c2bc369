"""Makes the report of a workspace: reads, compares, writes `report/`."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cosernn_tf
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.clusters import Bootstrap
from cosernn_tf.provenance import describe_machine, in_one_line
from cosernn_tf.staging import DISK_TROUBLES, staged
from cosernn_tf.workspace import Workspace
from experiments.reporting.cautions import cautions
from experiments.reporting.costs import costs_of
from experiments.reporting.document import Document, Missing, Section, Table
from experiments.reporting.formats import counted
from experiments.reporting.html import to_html
from experiments.reporting.inputs import Evaluation, Inputs, read_inputs
from experiments.reporting.latex import to_latex
from experiments.reporting.log_facts import log_facts, log_sentences, not_told
from experiments.reporting.models import Comparison, comparison_of, groups_of
from experiments.reporting.palette import looks_of
from experiments.reporting.report_data import Evaluated, ReportData
from experiments.reporting.sections.answer import answer_section
from experiments.reporting.sections.catalogue import best_at_retrieval, catalogue_section
from experiments.reporting.sections.contexts import contexts_section
from experiments.reporting.sections.definitions import definitions_section
from experiments.reporting.sections.groups import groups_section
from experiments.reporting.sections.log import log_section
from experiments.reporting.sections.paper import paper_section
from experiments.reporting.sections.provenance import provenance_section
from experiments.reporting.sections.results import results_section
from experiments.reporting.sections.scorecard import scorecard
from experiments.reporting.sections.training import training_section
from experiments.reporting.seeds import summarize_groups
from experiments.reporting.text_tables import to_csv
from experiments.reporting.verdict import decide
from experiments.reporting.words import headline, reasons

PAGE: Final = "report.html"
TABLES: Final = "tables"
"""What `report/` holds (WORKSPACE.md)."""

_GROUPED: Final = "grouped.parquet"


@dataclass(frozen=True)
class Made:
    """A report that was made."""

    page: Path
    tables: int
    verdict: str


def make_report(
    workspace: Workspace,
    *,
    output: Path | None = None,
    evaluation: Path | None = None,
    title: str | None = None,
) -> Made:
    """Writes the page, and its tables as CSV and LaTeX.

    Args:
        workspace: With sessions; what else is missing, the page says.
        output: Directory to write, replaced as a whole; None: the workspace's.
        evaluation: Directory of the evaluation to report; None: the workspace's, else that of one
            of its tables.
        title: Of the page; None: after the workspace's directory.

    Raises:
        UserError: There are no sessions, no such evaluation, a file is damaged or of another
            version, or the output is something else than an older report.
    """
    final = output or workspace.report
    inputs = read_inputs(workspace, evaluation=evaluation)
    with staged(final, marker=PAGE) as staging, tempfile.TemporaryDirectory(dir=staging) as folder:
        evaluated = None
        if inputs.evaluation is not None:
            evaluated = _evaluate(inputs, inputs.evaluation, Path(folder) / _GROUPED)
        document = _document(ReportData(inputs, evaluated), title or _title(workspace))
        (staging / TABLES).mkdir()
        tables = list(document.tables())
        for table in tables:
            stem = staging / TABLES / table.name
            stem.with_suffix(".csv").write_text(to_csv(table), encoding="utf-8")
            stem.with_suffix(".tex").write_text(to_latex(table), encoding="utf-8")
        (staging / PAGE).write_text(to_html(document, folder=final), encoding="utf-8")
    return Made(final / PAGE, len(tables), document.verdict)


def _title(workspace: Workspace) -> str:
    return f"Report: {workspace.root.resolve().name}"


def _evaluate(inputs: Inputs, evaluation: Evaluation, grouped: Path) -> Evaluated:
    """Seeds put together, tests over all pairs, and the verdict."""
    provenance = evaluation.content["provenance"]
    groups = groups_of(evaluation.runs, provenance["runs"])
    options = evaluation.content["bootstrap"]
    bootstrap = options and Bootstrap(options["resamples"], options["seed"])
    try:
        statistics = summarize_groups(
            evaluation.scores.path, groups, bootstrap=bootstrap, grouped=grouped
        )
    except (OSError, KeyError, ValueError) as error:
        # What the machine cannot do, such as a full disk, is no fault of the file.
        if isinstance(error, OSError) and error.errno in DISK_TROUBLES:
            raise
        raise UserError(
            f"{evaluation.scores.path} cannot be read or does not go with its metrics.json "
            f"({error}): run cosernn_tf.evaluate again"
        ) from error
    comparison = comparison_of(statistics, seeds=groups, of_runs=evaluation.content)
    costs = costs_of(inputs.workspace, groups, evaluated=provenance)
    verdict = decide(comparison, costs)
    trained = [s.model.name for s in verdict.standings if s.model in comparison.trained]
    return Evaluated(
        evaluation=evaluation,
        comparison=comparison,
        verdict=verdict,
        costs=costs,
        looks=looks_of(trained, _untrained(comparison)),
        grouped_scores=grouped,
    )


def _untrained(comparison: Comparison) -> list[str]:
    trained = comparison.trained
    return [model.name for model in comparison.models if model not in trained]


def _document(data: ReportData, title: str) -> Document:
    inputs, evaluated = data.inputs, data.evaluated
    facts = log_facts(inputs)
    sections: list[Section] = []
    verdict = "Nothing has been evaluated yet, so no model can be recommended."
    why: list[str] = []
    limits: Sequence[str] = ()
    card: Table | None = None
    if evaluated is None:
        missing = Missing(
            "There is no evaluation: means, differences and tests are missing.",
            f"python -m cosernn_tf.evaluate {inputs.at}",
        )
        sections.append(Section("answer", "How the models compare", (), (missing,)))
    else:
        verdict = headline(evaluated.verdict)
        why = reasons(evaluated.verdict, evaluated.costs)
        retrieval = best_at_retrieval(evaluated)
        if retrieval is not None:
            why.append(retrieval)
        card = scorecard(evaluated)
        limits = cautions(
            evaluated.verdict,
            evaluated.costs,
            is_synthetic=inputs.is_synthetic,
            split=evaluated.evaluation.content["provenance"]["evaluation"]["split"],
            not_told=not_told(facts),
            not_evaluated=_not_evaluated(inputs, evaluated),
            seeds_in_tables=inputs.seeds_in_tables,
        )
        sections += [answer_section(evaluated), results_section(evaluated)]
        contexts = contexts_section(data, evaluated)
        if contexts is not None:
            sections.append(contexts)
        sections.append(groups_section(evaluated, inputs.at))
        sections.append(catalogue_section(evaluated, inputs.at))
    sections.append(paper_section(inputs))
    sections.append(log_section(inputs))
    if evaluated is not None:
        training = training_section(evaluated)
        if training is not None:
            sections.append(training)
    sections += [definitions_section(), provenance_section(data)]
    return Document(
        title=title,
        subtitle=_subtitle(data),
        verdict=verdict,
        reasons=tuple(why),
        scorecard=card,
        cautions=tuple(limits),
        sections=tuple(sections),
        data=tuple(log_sentences(inputs, facts)),
        colophon=_colophon(),
    )


def _subtitle(data: ReportData) -> str:
    if data.evaluated is None:
        return f"{data.inputs.workspace.root}: nothing evaluated"
    comparison = data.evaluated.comparison
    split = data.evaluated.evaluation.content["provenance"]["evaluation"]["split"]
    return (
        f"{counted(len(comparison.trained), 'trained model')} beside heuristics and oracles, "
        f"on {counted(comparison.sessions, 'session')} of {counted(comparison.users, 'user')} "
        f"of the {split} split{' of a synthetic log' * data.inputs.is_synthetic}"
    )


def _not_evaluated(inputs: Inputs, evaluated: Evaluated) -> list[str]:
    known = set(evaluated.evaluation.runs)
    return [run for run in inputs.finished_runs if run not in known]


def _colophon() -> tuple[str, ...]:
    machine = describe_machine(("jinja2", "numpy", "pyarrow", "scipy"))
    return (
        f"Made by python -m experiments.report of cosernn_tf {cosernn_tf.__version__} at "
        f"{machine['time']}.",
        in_one_line(machine),
    )
