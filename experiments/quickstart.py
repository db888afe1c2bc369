"""`make quickstart`: from a listening log to a trained, evaluated model and recommendations.

Runs the commands that a user would run, one by one, and shows them. Running it again redoes what
is cheap and leaves the finished run as it is.
"""

import datetime
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
from absl import flags

from cosernn_tf import cli
from cosernn_tf.workspace import Workspace, open_sessions
from experiments.steps import run_step

FLAGFILE: Final = Path(__file__).with_name("quickstart.flags")
RUN: Final = "quickstart"

_NUM_TRACKS: Final = 5
flags.declare_key_flag("workspace")
_USER: Final = flags.DEFINE_string(
    "user",
    None,
    "Whom to recommend tracks to; by default the user with the most sessions evaluated.",
)


@dataclass(frozen=True)
class Context:
    """A session that could start after the log's end."""

    title: str
    device: str
    weekday: int
    """0 = Monday."""
    hour: int

    def after(self, timestamp: int) -> str:
        """The first such time after a UTC timestamp, RFC 3339."""
        last = datetime.datetime.fromtimestamp(timestamp, datetime.UTC)
        day = last.date() + datetime.timedelta(days=1)
        day += datetime.timedelta(days=(self.weekday - day.weekday()) % 7)
        start = datetime.datetime.combine(day, datetime.time(self.hour), datetime.UTC)
        return start.isoformat()


CONTEXTS: Final = (
    Context("on the way to work", "mobile", weekday=0, hour=8),
    Context("at home on Saturday night", "speaker", weekday=5, hour=22),
)


def quickstart(root: Path, *, user: str | None = None) -> None:
    """Runs the whole job in the workspace at `root`, printing as it goes.

    Raises:
        UserError: A step failed; it has said why.
    """
    started = time.monotonic()
    workspace = Workspace(root)
    at = f"--workspace={root}"
    run_step(
        "Sessions from the embedded default log",
        "beam_pipelines.sessionize",
        [
            at,
            "--runner=DirectRunner",
        ],
    )
    run_step(
        "Track embeddings, and a small CoSeRNN",
        "cosernn_tf.train",
        [
            at,
            f"--flagfile={_shown(FLAGFILE)}",
        ],
    )
    run_step("Evaluation on the last two weeks", "cosernn_tf.evaluate", [at, f"--runs={RUN}"])
    user = user or _user_with_many_scores(workspace)
    last = open_sessions(workspace.sessions).manifest.last_timestamp
    for context in CONTEXTS:
        run_step(
            f"Five tracks for {user}, {context.title}",
            "cosernn_tf.recommend",
            [
                at,
                f"--run={RUN}",
                f"--user={user}",
                f"--device={context.device}",
                f"--at={context.after(last)}",
                f"--k={_NUM_TRACKS}",
            ],
        )
    print(
        f"Done in {(time.monotonic() - started) / 60:.1f} minutes. Where to look next:\n"
        f"  {workspace.evaluation}/scores.parquet   every score of the table above\n"
        f"  {workspace.run(RUN)}/   the model, its SavedModel export and its index\n"
        f"  {Path(sys.executable).parent}/tensorboard --logdir {root / 'runs'}\n"
        f"  python -m cosernn_tf.serve --workspace={root} --run={RUN}   "
        "a page to try it, and an API\n"
        "  README.md   your own log, and the paper's sizes\n"
        "The default log is synthetic: its results compare models with each other, never with "
        "the paper's."
    )


def _shown(path: Path) -> str:
    """Relative where that is what one would type."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _user_with_many_scores(workspace: Workspace) -> str:
    """The user with the most sessions evaluated; the first by id among equals."""
    scores = pq.read_table(workspace.evaluation / "scores.parquet", columns=["user_id"])
    counts = scores.group_by("user_id").aggregate([("user_id", "count")])
    counts = counts.sort_by([("user_id_count", "descending"), ("user_id", "ascending")])
    return str(counts["user_id"][0])


def main(_: list[str]) -> None:
    quickstart(Path(cli.WORKSPACE.value), user=_USER.value)


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
