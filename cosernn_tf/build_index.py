"""`python -m cosernn_tf.build_index`: indexes the embedded tracks for a trained run.

Training does this at its end; this command does it again, with other options. It also adds tracks
to an index and takes some out, without building it again:

    python -m cosernn_tf.build_index --run=NAME --new_tracks=new.parquet --remove_tracks=removed.txt
"""

from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import check_run_name, require
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
_NEW_TRACKS = flags.DEFINE_string(
    "new_tracks",
    None,
    "Parquet file of tracks to add to the index as it is: track_id, and embedding, a list of 40 "
    "numbers in the space of the track embeddings.",
)
_REMOVE_TRACKS = flags.DEFINE_string(
    "remove_tracks",
    None,
    "File of tracks that must not be found any more: a Parquet file with a column track_id, or "
    "text with an id a line.",
)
_RESTORE_TRACKS = flags.DEFINE_string(
    "restore_tracks", None, "File of tracks that were removed, to be found again."
)

_OF_A_BUILD = (_INDEX, _MIN_RECALL, _K)
_OF_A_CHANGE = (_NEW_TRACKS, _REMOVE_TRACKS, _RESTORE_TRACKS)


def main(_: list[str]) -> None:
    run = check_run_name(_RUN.value)
    is_change = any(flag.value is not None for flag in _OF_A_CHANGE)
    if is_change:
        given = [f"--{flag.name}" for flag in _OF_A_BUILD if flag.present]
        require(
            not given,
            f"{', '.join(given)} has no use where an index is changed rather than built: leave it "
            "out, or build the index first",
        )
    # Heavy imports follow the checks: a bad flag is refused at once.
    from cosernn_tf.runs import INDEX, open_run
    from cosernn_tf.workspace import Workspace

    workspace = Workspace(Path(cli.WORKSPACE.value))
    open_run(workspace.run(run))
    if _INDEX.value == SCANN:
        require_scann()
    from cosernn_tf.retrieval.held_out import held_out_predictions
    from cosernn_tf.retrieval.index import build_index
    from cosernn_tf.retrieval.new_tracks import read_new_tracks, read_track_ids
    from cosernn_tf.retrieval.updating import update_index
    from cosernn_tf.trained_run import open_trained_run
    from cosernn_tf.training.feed import Feed

    new = read_new_tracks(Path(_NEW_TRACKS.value)) if _NEW_TRACKS.value else None
    remove, restore = (
        read_track_ids(Path(flag.value), flag=flag.name) if flag.value else None
        for flag in (_REMOVE_TRACKS, _RESTORE_TRACKS)
    )
    trained = open_trained_run(workspace, run)
    queries = held_out_predictions(
        trained.model,
        Feed(trained.sessions, trained.embeddings.vectors, inputs=trained.config.model.inputs),
        max_sessions=trained.config.max_sessions,
    )
    if is_change:
        update_index(
            trained.path / INDEX,
            trained.embeddings,
            trained.sessions.tracks["track_id"],
            queries,
            new=new,
            remove=remove,
            restore=restore,
        )
        return
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
