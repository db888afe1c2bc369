"""`python -m experiments.reproduce`: makes the tables of a log, and keeps or checks them.

    python -m experiments.reproduce --flagfile=experiments/results/default.flags
    python -m experiments.reproduce --flagfile=experiments/results/small.flags --check

Makes sessions, unless the workspace has some, then each table by `experiments.table`. The tables go
to `experiments/results/<log>/`, as Markdown and CSV, with `provenance.json`: what they were made
from, by which flags and commit, and where. With --check nothing is written; what differs from the
tables that are there by more than --tolerance is listed, and the exit code is 2.

Given again after an interruption, it goes on where it stopped. Flags that it does not know, such as
--max_epochs=5, go to `cosernn_tf.train`, for all rows.
"""

from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import require
from cosernn_tf.workspace import Workspace
from experiments.reproduction import Reproduction, reproduce
from experiments.tables import FOLDER, TABLES

flags.declare_key_flag("workspace")
_LOG = flags.DEFINE_string("log", None, "Name of the log, and of the directory of its results.")
_LISTENS = flags.DEFINE_string(
    "listens",
    None,
    "The listening log, as beam_pipelines.sessionize takes it; by default the embedded one. It is "
    "read if the workspace has no sessions; those of files of other names are refused.",
)
_SYNTHESIZE = flags.DEFINE_list(
    "synthesize",
    [],
    "Flags of beam_pipelines.synthesize, comma-separated, such as num_users=60,seed=2: the "
    "embedded log is then another than the default one.",
)
_TABLES = flags.DEFINE_list("tables", ["2", "3", "4", "5"], "Tables to make, comma-separated.")
_ROWS = flags.DEFINE_list(
    "rows", None, "Rows to make of each table that has them, comma-separated; by default all."
)
_SEEDS = flags.DEFINE_list("seeds", ["1", "2", "3"], "Seeds of training: a run of each row each.")
_BASE = flags.DEFINE_string(
    "base",
    str(FOLDER / "quickstart.flags"),
    "Flagfile of cosernn_tf.train with the sizes and the training of all rows.",
)
_WITHOUT = flags.DEFINE_list(
    "without",
    [],
    "User ids: each table is made a second time, without the scores of these users.",
)
_OUTPUT = flags.DEFINE_string(
    "output", str(FOLDER / "results"), "Directory of the results of all logs."
)
_CHECK = flags.DEFINE_boolean("check", False, "Compare with the results that are there.")
_TOLERANCE = flags.DEFINE_float(
    "tolerance",
    0.05,
    "By how much a mean may differ with --check, as a share of what is there. Another processor "
    "rounds differently, which training carries on.",
    lower_bound=0.0,
)


def main(argv: list[str]) -> None:
    log = _LOG.value or ""
    require(bool(log), "--log is missing: give the log a name, or a --flagfile")
    require(
        "/" not in log and not log.startswith("."),
        f"--log={log} must be a name without '/' or a leading '.'",
    )
    require(bool(_TABLES.value), "--tables is empty: give at least one")
    for number in _TABLES.value:
        known = ", ".join(map(str, TABLES))
        require(
            number.isdecimal() and int(number) in TABLES,
            f"--tables has {number!r}, which is none of {known}",
        )
    _require_rows(set(map(int, _TABLES.value)))
    reproduce(
        Workspace(Path(cli.WORKSPACE.value)),
        Reproduction(
            log=log,
            listens=_LISTENS.value,
            synthesize=tuple(_SYNTHESIZE.value),
            tables=tuple(map(int, _TABLES.value)),
            rows=None if _ROWS.value is None else tuple(_ROWS.value),
            seeds=tuple(_SEEDS.value),
            base=_BASE.value,
            without=tuple(_WITHOUT.value),
            training_flags=tuple(argv[1:]),
        ),
        output=Path(_OUTPUT.value),
        tolerance=_TOLERANCE.value if _CHECK.value else None,
    )


def _require_rows(numbers: set[int]) -> None:
    """Every name is of a row of one of the tables, which all have one."""
    if _ROWS.value is None:
        return
    of_table = {number: [row.name for row in TABLES[number].rows] for number in sorted(numbers)}
    for name in _ROWS.value:
        known = ", ".join(dict.fromkeys(row for rows in of_table.values() for row in rows))
        require(
            any(name in rows for rows in of_table.values()),
            f"--rows has {name!r}, which is none of {known}",
        )
    for number, rows in of_table.items():
        require(
            any(name in rows for name in _ROWS.value),
            f"--rows={','.join(_ROWS.value)} has none of Table {number}: leave it out of --tables",
        )


def entry_point() -> None:
    cli.run(main, passes_unknown_flags=True)


if __name__ == "__main__":
    entry_point()
