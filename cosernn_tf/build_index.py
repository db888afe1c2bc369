"""`python -m cosernn_tf.build_index`: indexes the embedded tracks for a trained run.

Training does this at its end; this command does it again, with other options.
"""

from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import check_run_name
from cosernn_tf.retrieval.approximate import require_scann
from cosernn_tf.retrieval.index import AUTO, KINDS, SCANN

flags.declare_key_flag("workspace")
_RUN = flags.DEFINE_string("run", "cosernn", "The trained run whose index is written.")
_INDEX = flags.DEFINE_enum(
    "index",
    AUTO,
    KINDS,
    "How to search: exact; scann, approximately; auto, with ScaNN where the catalogue is large. "
    "ScaNN that does not reach --min_recall falls back to exact search.",
)
_MIN_RECALL = flags.DEFINE_float(
    "min_recall",
    0.98,
    "Least share of the --k exact neighbours that ScaNN must find, on predictions for sessions of "
    "the validation split.",
    lower_bound=0.0,
    upper_bound=1.0,
)
_K = flags.DEFINE_integer(
    "k", 100, "Neighbours for which recall and latency are measured.", lower_bound=1
)


def main(_: list[str]) -> None:
    run = check_run_name(_RUN.value)
    # Heavy imports follow the checks: a bad flag is refused at once.
    from cosernn_tf.runs import INDEX, open_run
    from cosernn_tf.workspace import Workspace

    workspace = Workspace(Path(cli.WORKSPACE.value))
    open_run(workspace.run(run))
    if _INDEX.value == SCANN:
        require_scann()
    from cosernn_tf.retrieval.held_out import held_out_predictions
    from cosernn_tf.retrieval.index import build_index
    from cosernn_tf.trained_run import open_trained_run
    from cosernn_tf.training.feed import Feed

    trained = open_trained_run(workspace, run)
    queries = held_out_predictions(
        trained.model,
        Feed(trained.sessions, trained.embeddings.vectors, inputs=trained.config.model.inputs),
        max_sessions=trained.config.max_sessions,
    )
    build_index(
        trained.embeddings,
        queries,
        trained.path / INDEX,
        kind=_INDEX.value,
        min_recall=_MIN_RECALL.value,
        k=_K.value,
    )


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
