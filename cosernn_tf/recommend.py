"""`python -m cosernn_tf.recommend`: tracks for a user's session that is about to start.

    python -m cosernn_tf.recommend --user=ID --device=mobile --at=2019-06-01T08:00:00+02:00 --k=10

Prints them with their cosines to the predicted user embedding, as text or as JSON.
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
_USER = flags.DEFINE_string("user", None, "The user_id, as in the listening log (required).")
_DEVICE = flags.DEFINE_string(
    "device", "mobile", "On which the session starts; a name of the device vocabulary."
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
    "the local day and hour; without one it is UTC. By default now, UTC.",
)
_K = flags.DEFINE_integer("k", 10, "Number of tracks.", lower_bound=1)
_FORMAT = flags.DEFINE_enum("format", "text", ["text", "json"], "How to print the answer.")


def main(_: list[str]) -> None:
    run = check_run_name(_RUN.value)
    require(bool(_USER.value), "--user is missing: give a user_id of the listening log")
    at = parse_time(_AT.value, flag="at") if _AT.value else datetime.now(UTC).replace(microsecond=0)
    # Heavy imports follow the checks: a bad flag is refused at once.
    from cosernn_tf.runs import open_run
    from cosernn_tf.workspace import Workspace

    workspace = Workspace(Path(cli.WORKSPACE.value))
    open_run(workspace.run(run))
    from cosernn_tf.recommendation import Recommender

    recommender = Recommender.open(workspace, run)
    answer = recommender.recommend(
        _USER.value,
        device=_DEVICE.value,
        at=at,
        k=_K.value,
        stream_source=_STREAM_SOURCE.value,
    )
    print(json.dumps(answer.to_dict(), indent=2) if _FORMAT.value == "json" else answer.to_text())


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
