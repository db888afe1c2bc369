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
from experiments.steps import run_step
from experiments.table_report import figures_of, to_csv, to_markdown
from experiments.tables import REFERENCE, Row, Table

EVALUATION: Final = "evaluation"
MARKDOWN: Final = "table.md"
CSV: Final = "table.csv"
"""What the directory of a table holds (WORKSPACE.md)."""

_OF_A_ROW: Final = ("model", "features", "pathways")
"""Flags of training that make a row what it is."""
_OF_A_RUN: Final = ("run", "seed", "workspace", "flagfile")
"""Flags of training that the table gives itself."""


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

    def runs(self, row: str) -> list[str]:
        """Names of the runs of a row, one a seed."""
        return [f"{self.prefix}{row}-seed{seed}" for seed in self.seeds]


def chosen_rows(table: Table, names: Sequence[str]) -> Table:
    """The table with the rows that are named, in its order.

    Raises:
        UserError: It has no such row.
    """
    known = [row.name for row in table.rows]
    for name in names:
        require(name in known, f"--rows has {name!r}, which is none of {', '.join(known)}")
    return replace(table, rows=tuple(row for row in table.rows if row.name in names))


def training_flags(base: Path, given: Sequence[str]) -> tuple[str, ...]:
    """Flags of `cosernn_tf.train` that hold for all rows alike.

    Args:
        base: A flagfile of it; what rows or runs have of their own is passed over.
        given: Flags that override those of the file.

    Raises:
        UserError: There is no such file; what is given is no flag, or one that rows or runs have of
            their own.
    """
    require(base.is_file(), f"--base={base} does not exist")
    for flag in given:
        require(
            flag.startswith("--"),
            f"unexpected argument {flag!r}: every argument is a --flag=value (see --help)",
        )
        name = _name(flag)
        require(
            name not in (*_OF_A_ROW, *_OF_A_RUN),
            f"{flag} cannot be given: each row or run has its own --{name}",
        )
    flags = [flag for flag in _read(base) if _name(flag) not in (*_OF_A_ROW, *_OF_A_RUN)]
    return tuple({_name(flag): flag for flag in (*flags, *given)}.values())


def row_flags(row: Row) -> list[str]:
    """Of a row's flagfile: what makes it that row."""
    assert row.flagfile is not None
    return [flag for flag in _read(row.flagfile) if _name(flag) in _OF_A_ROW]


def _read(flagfile: Path) -> list[str]:
    lines = (line.strip() for line in flagfile.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line.startswith("--")]


def _name(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0]


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
    folder = workspace.table(table.number)
    trained, references = [run for _, _, run in steps], runs.get(REFERENCE, [])
    run_step(
        f"Table {table.number}: evaluation",
        "cosernn_tf.evaluate",
        [
            at,
            # The first run is the one that the printed table tests the others against.
            f"--runs={','.join(sorted(trained, key=lambda run: run not in references))}",
            f"--split={plan.split}",
            f"--output={folder / EVALUATION}",
        ],
    )
    content = json.loads((folder / EVALUATION / METRICS_FILE).read_text(encoding="utf-8"))
    figures = figures_of(table, runs, content)
    notes = [
        f"{workspace.root}, {plan.split} split, {content['sessions']:,} sessions of "
        f"{content['users']:,} users; seeds: {', '.join(map(str, plan.seeds))}"
        + (", mean ± standard deviation." if len(plan.seeds) > 1 else "."),
        f"Of all rows: {' '.join(plan.training_flags)}.",
    ]
    text = to_markdown(table, figures, notes=notes)
    write_text(folder / MARKDOWN, text)
    write_text(folder / CSV, to_csv(table, figures))
    print(f"\n{text}\nWritten to {folder}", flush=True)
    return folder
