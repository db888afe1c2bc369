"""Trains and evaluates the rows of a table, one command after the other."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cosernn_tf.config import check_run_name, require
from cosernn_tf.evaluation.config import METRICS_FILE
from cosernn_tf.whole_files import write_text
from cosernn_tf.workspace import Workspace, open_sessions
from experiments.steps import list_flag, run_step
from experiments.table_report import figures_of, to_csv, to_markdown
from experiments.tables import REFERENCE, Row, Table
from experiments.training_flags import OF_A_RUN, flag_name, flags_in

EVALUATION: Final = "evaluation"
MARKDOWN: Final = "table.md"
CSV: Final = "table.csv"
COMMAND: Final = "command.txt"
"""What the directory of a table holds (WORKSPACE.md)."""

_OF_A_ROW: Final = (
    "model",
    "features",
    "pathways",
    "dropout",
    "loss",
    "session_weight",
    "track_weight",
)
"""Flags of training that make a row what it is."""
OF_A_ROW_OR_RUN: Final = (*_OF_A_ROW, *OF_A_RUN)
"""Flags of training that cannot be given for all rows."""


@dataclass(frozen=True)
class TablePlan:
    """A table to make."""

    table: Table
    """With the rows that are wanted."""
    seeds: tuple[int, ...]
    split: str
    """Evaluated: test or validation."""
    training_flags: tuple[str, ...]
    """Of `cosernn_tf.train`, for all rows."""
    prefix: str
    """Of the runs' names."""
    command: str
    """What was asked for, to be told."""
    exclude_users: tuple[str, ...] = ()
    """Users whose sessions are not scored."""
    output: Path | None = None
    """Directory to write; None: the workspace's for this table."""

    def runs(self, row: str) -> list[str]:
        """Names of the runs of a row, one a seed."""
        return [f"{self.prefix}{row}-seed{seed}" for seed in self.seeds]


def chosen_rows(table: Table, names: Sequence[str]) -> Table:
    """The table with the rows that are named, in its order.

    Raises:
        UserError: It has no such row.
    """
    known = [row.name for row in table.rows]
    require(bool(names), "--rows is empty: give at least one, or leave it out")
    for name in names:
        require(name in known, f"--rows has {name!r}, which is none of {', '.join(known)}")
    return replace(table, rows=tuple(row for row in table.rows if row.name in names))


def row_flags(row: Row) -> list[str]:
    """Of a row's flagfile: what makes it that row."""
    assert row.flagfile is not None
    return [flag for flag in flags_in(row.flagfile) if flag_name(flag) in _OF_A_ROW]


def make_table(workspace: Workspace, plan: TablePlan) -> Path:
    """Trains what is not trained yet, evaluates all rows, prints the table and writes it.

    Returns:
        The table's directory.

    Raises:
        UserError: A command failed; it has said why.
    """
    open_sessions(workspace.sessions)
    table = plan.table
    at = f"--workspace={workspace.root}"
    runs = {row.name: plan.runs(row.name) for row in table.rows if row.flagfile}
    steps = [
        (row, seed, run)
        for row in table.rows
        if row.flagfile
        for seed, run in zip(plan.seeds, runs[row.name], strict=True)
    ]
    for number, (row, seed, run) in enumerate(steps, start=1):
        run_step(
            f"Table {table.number}, run {number} of {len(steps)}: {row.title}, seed {seed}",
            "cosernn_tf.train",
            [
                at,
                *row_flags(row),
                *plan.training_flags,
                f"--run={check_run_name(run)}",
                f"--seed={seed}",
            ],
        )
    folder = plan.output or workspace.table(table.number)
    trained, references = [run for _, _, run in steps], runs.get(REFERENCE, [])
    run_step(
        f"Table {table.number}: evaluation",
        "cosernn_tf.evaluate",
        [
            at,
            # The first run is the one that the printed table tests the others against.
            f"--runs={','.join(sorted(trained, key=lambda run: run not in references))}",
            f"--split={plan.split}",
            list_flag("exclude_users", plan.exclude_users),
            f"--output={folder / EVALUATION}",
        ],
    )
    content = json.loads((folder / EVALUATION / METRICS_FILE).read_text(encoding="utf-8"))
    figures = figures_of(table, runs, content)
    notes = [
        f"{plan.split.capitalize()} split, {content['sessions']:,} sessions of "
        f"{content['users']:,} users; seeds: {', '.join(map(str, plan.seeds))}"
        + (", mean ± standard deviation." if len(plan.seeds) > 1 else "."),
        f"Of all rows: {' '.join(plan.training_flags)}.",
    ]
    if plan.exclude_users:
        notes.append(f"Not scored: the sessions of {', '.join(plan.exclude_users)}.")
    text = to_markdown(table, figures, notes=notes)
    write_text(folder / MARKDOWN, text)
    write_text(folder / CSV, to_csv(table, figures))
    write_text(folder / COMMAND, f"{plan.command}\n")
    print(f"\n{text}\nWritten to {folder}", flush=True)
    return folder
