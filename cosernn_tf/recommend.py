"""`python -m cosernn_tf.recommend`: tracks for sessions that are about to start.

    python -m cosernn_tf.recommend --user=ID --device=mobile --at=2019-06-01T08:00:00+02:00 --k=10

Prints them with their cosines to the predicted user embedding, as text or as JSON.

    python -m cosernn_tf.recommend --all_users --output=tracks.parquet --device=mobile,desktop

Writes them for every user of the log, on each device and at each of several times, or in each
context of a file (`--contexts`).
"""

import json
from datetime import UTC, datetime
from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import check_run_name, require
from cosernn_tf.rfc3339 import parse_time

flags.declare_key_flag("workspace")
_RUN = flags.DEFINE_string("run", "cosernn", "The trained run that predicts.")
_USER = flags.DEFINE_string(
    "user", None, "The user_id, as in the listening log (required, unless --all_users)."
)
_DEVICE = flags.DEFINE_string(
    "device",
    "mobile",
    "On which the session starts; a name of the device vocabulary. With --all_users several, "
    "comma-separated.",
)
_STREAM_SOURCE = flags.DEFINE_string(
    "stream_source",
    None,
    "Where playback will be started from, a name of the stream-source vocabulary; for runs that "
    "were trained with current_stream_source among their --features. By default unknown.",
)
_AT = flags.DEFINE_string(
    "at",
    None,
    "When the session starts, RFC 3339, such as 2019-06-01T08:00:00+02:00. The UTC offset gives "
    "the local day and hour; without one it is UTC. By default now, UTC. With --all_users several, "
    "comma-separated.",
)
_K = flags.DEFINE_integer("k", 10, "Number of tracks.", lower_bound=1)
_FORMAT = flags.DEFINE_enum("format", "text", ["text", "json"], "How to print the answer.")
_ALL_USERS = flags.DEFINE_bool(
    "all_users", False, "Recommend for every user of the log, in one or more contexts."
)
_CONTEXTS = flags.DEFINE_string(
    "contexts",
    None,
    "CSV file with a header, at,device and maybe stream_source, a context a row; of --all_users, "
    "in place of --at, --device and --stream_source.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Parquet file that --all_users writes; an older one is replaced at the end."
)


def main(_: list[str]) -> None:
    run = check_run_name(_RUN.value)
    now = datetime.now(UTC).replace(microsecond=0)
    if _ALL_USERS.value:
        _check_all_users()
    else:
        require(bool(_USER.value), "--user is missing: give a user_id of the listening log")
        for flag in (_CONTEXTS, _OUTPUT):
            require(not flag.value, f"--{flag.name} is for --all_users only")
        at = parse_time(_AT.value, flag="at") if _AT.value else now
    # Heavy imports follow the checks: a bad flag is refused at once.
    from cosernn_tf.runs import open_run
    from cosernn_tf.serving.context_file import combinations, read_contexts
    from cosernn_tf.serving.listens import Context
    from cosernn_tf.workspace import Workspace

    if _ALL_USERS.value:
        contexts = (
            read_contexts(Path(_CONTEXTS.value))
            if _CONTEXTS.value
            else combinations(
                at=(_AT.value or now.isoformat()).split(","),
                devices=_DEVICE.value.split(","),
                stream_source=_STREAM_SOURCE.value,
            )
        )
    workspace = Workspace(Path(cli.WORKSPACE.value))
    open_run(workspace.run(run))
    from cosernn_tf.serving.everyone import recommend_all
    from cosernn_tf.serving.recommender import Recommender

    recommender = Recommender.open(workspace, run)
    if _ALL_USERS.value:
        recommend_all(recommender, contexts, Path(_OUTPUT.value), k=_K.value)
        return
    context = Context(at, _DEVICE.value, _STREAM_SOURCE.value)
    answer = recommender.recommend_from_log(_USER.value, context, _K.value)
    print(json.dumps(answer.to_dict(), indent=2) if _FORMAT.value == "json" else answer.to_text())


def _check_all_users() -> None:
    require(not _USER.value, "--user and --all_users exclude each other")
    require(
        bool(_OUTPUT.value), "--output is missing: give a Parquet file for --all_users to write"
    )
    if _CONTEXTS.value:
        for flag in ("at", "device", "stream_source"):
            require(
                not flags.FLAGS[flag].present,
                f"--contexts={_CONTEXTS.value} has the contexts: leave out --{flag}",
            )


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
