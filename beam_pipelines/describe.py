"""Tells what is in a directory of session sequences: statistics, plots and a data card.

    python -m beam_pipelines.describe
    python -m beam_pipelines.describe --title='Anna listens' --licence='CC BY 4.0'

Prints the tables, and writes `<workspace>/description/` (see WORKSPACE.md). It goes through the
records shard by shard: memory does not grow with the users.
"""

from pathlib import Path

from absl import flags

from beam_pipelines.inspection.config import CardFields, DescribeConfig
from cosernn_tf import cli
from cosernn_tf.workspace import Workspace, open_sessions

flags.declare_key_flag("workspace")
_SESSIONS = flags.DEFINE_string(
    "sessions", None, "Directory of session sequences; <workspace>/sessions by default."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory to write; <workspace>/description by default. Replaced as a whole."
)
_TITLE = flags.DEFINE_string("title", "", "Name of the data set, for the data card.")
_AUTHOR = flags.DEFINE_string("author", "", "Who made the data set, for the data card.")
_LICENCE = flags.DEFINE_string("licence", "", "Terms of use, for the data card.")
_SOURCE = flags.DEFINE_string(
    "source", "", "Where the log is from and how it was collected, for the data card."
)


def main(argv: list[str]) -> None:
    del argv
    workspace = Workspace(Path(cli.WORKSPACE.value))
    config = DescribeConfig(
        sessions=Path(_SESSIONS.value) if _SESSIONS.value else workspace.sessions,
        output=Path(_OUTPUT.value) if _OUTPUT.value else workspace.description,
        card=CardFields(
            title=_TITLE.value, author=_AUTHOR.value, licence=_LICENCE.value, source=_SOURCE.value
        ),
    )
    open_sessions(config.sessions)
    # Heavy imports follow the checks: a bad flag is refused at once.
    from beam_pipelines.inspection.run import describe
    from beam_pipelines.inspection.tables import format_text

    statistics = describe(config)
    print(format_text(statistics))
    print(f"Of {config.sessions}. Statistics, plots and data card: {config.output}")


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
