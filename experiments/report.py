"""`python -m experiments.report`: what a workspace shows, as one page that people read.

    python -m experiments.report --workspace=workspace

Writes `<workspace>/report/`: `report.html`, which opens with the model to deploy and why, needs no
network and no other file, and the same tables as CSV and LaTeX. What is missing in the workspace,
the page says, with the command that makes it.
"""

from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.workspace import Workspace, open_sessions

flags.declare_key_flag("workspace")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory to write; by default report/ in the workspace."
)
_EVALUATION = flags.DEFINE_string(
    "evaluation",
    None,
    "Directory of cosernn_tf.evaluate to report; by default the workspace's evaluation/, else that "
    "of its Table 2, or of another of its tables.",
)
_TITLE = flags.DEFINE_string(
    "title", None, "Title of the page; by default after the workspace's directory."
)


def main(_: list[str]) -> None:
    workspace = Workspace(Path(cli.WORKSPACE.value))
    open_sessions(workspace.sessions)
    # Heavy imports follow the checks: a bad flag is refused at once.
    from experiments.reporting.run import make_report

    made = make_report(
        workspace,
        output=Path(_OUTPUT.value) if _OUTPUT.value else None,
        evaluation=Path(_EVALUATION.value) if _EVALUATION.value else None,
        title=_TITLE.value,
    )
    print(f"{made.verdict}\nWritten to {made.page}, with {made.tables} tables beside it")


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
