"""`python -m experiments.table`: makes Table 2, 3 or 4 of the paper, or 5, on the workspace's log.

    python -m experiments.table --table=3 --seeds=1,2,3

Trains and evaluates each row, prints the table beside the paper's relative figures, and writes it
to `<workspace>/tables/table3/`. Given again after an interruption, it goes on where it stopped.
Flags that it does not know, such as --max_epochs=5, go to `cosernn_tf.train`, for all rows.
"""

import sys
from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import require
from cosernn_tf.workspace import Workspace
from experiments.steps import command_line
from experiments.table_runs import OF_A_ROW_OR_RUN, TablePlan, chosen_rows, make_table
from experiments.tables import FOLDER, TABLES
from experiments.training_flags import training_flags

flags.declare_key_flag("workspace")
_TABLE = flags.DEFINE_integer(
    "table", None, "Number of the paper's table: 2, 3 or 4; 5 has our own models (required)."
)
_SEEDS = flags.DEFINE_list("seeds", ["1"], "Seeds of training, comma-separated: a run each.")
_ROWS = flags.DEFINE_list(
    "rows",
    None,
    "Names of the rows to make, comma-separated, such as cosernn,jodie; by default all.",
)
_SPLIT = flags.DEFINE_enum("split", "test", ["test", "validation"], "The sessions that are scored.")
_BASE = flags.DEFINE_string(
    "base",
    str(FOLDER / "cosernn.flags"),
    "Flagfile of cosernn_tf.train with the sizes and the training of all rows, such as "
    "experiments/quickstart.flags.",
)
_EXCLUDE_USERS = flags.DEFINE_list(
    "exclude_users", [], "User ids whose sessions are not scored; they are trained on."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory to write; by default tables/table<number>/ in the workspace."
)
_PREFIX = flags.DEFINE_string(
    "prefix",
    "",
    "What the runs' names begin with, to have a table of other flags in the same workspace.",
)


def main(argv: list[str]) -> None:
    require(
        _TABLE.value in TABLES,
        f"--table={_TABLE.value} is none of {', '.join(map(str, TABLES))}",
    )
    table = TABLES[_TABLE.value]
    for seed in _SEEDS.value:
        require(seed.isdecimal(), f"--seeds has {seed!r}, which is no whole number")
    require(bool(_SEEDS.value), "--seeds is empty: give at least one")
    plan = TablePlan(
        table=table if _ROWS.value is None else chosen_rows(table, _ROWS.value),
        seeds=tuple(dict.fromkeys(map(int, _SEEDS.value))),
        split=_SPLIT.value,
        training_flags=training_flags(Path(_BASE.value), argv[1:], own=OF_A_ROW_OR_RUN),
        prefix=_PREFIX.value,
        command=command_line("experiments.table", sys.argv[1:]),
        exclude_users=tuple(_EXCLUDE_USERS.value),
        output=Path(_OUTPUT.value) if _OUTPUT.value else None,
    )
    make_table(Workspace(Path(cli.WORKSPACE.value)), plan)


def entry_point() -> None:
    cli.run(main, passes_unknown_flags=True)


if __name__ == "__main__":
    entry_point()
