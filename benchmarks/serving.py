"""Measures the endpoint: its load, its memory over time, what a kill costs, and what is within.

    python -m benchmarks.serving --mode=load
    python -m benchmarks.serving --mode=soak
    python -m benchmarks.serving --mode=kill
    python -m benchmarks.serving --mode=inprocess

load    a server, and wrk beside it on the same machine: requests a second and latency of
        recommendations for random users, with several numbers of connections
soak    ten minutes of recommendations and listens, and the memory after each of them; a tenth of
        the users fits into memory, the others come from the store
kill    the server is killed under load, again and again: acknowledged listens that are lost, and
        users whose state is not that of a replay of what is stored
inprocess
        what the recommender takes by itself, without a server: latency of its calls, one user at a
        time and in batches of 64, memory of a user, `recommend --all_users`

The workspace is made at first use: users with some sessions each, tracks in clusters, an untrained
CoSeRNN of the paper's size, and an index. The store of states is kept for the next time, too.

All that is measured goes to <workspace>/benchmarks/serving-<mode>.json, with the machine; a
Markdown table is printed at the end. Figures to keep need a machine on which nothing else runs.
"""

from pathlib import Path

from absl import flags

from benchmarks.serving_runner import Mode, ServingBenchmarkConfig, benchmark
from cosernn_tf import cli

flags.declare_key_flag("workspace")
_DEFAULT = ServingBenchmarkConfig(Path())
_MODE = flags.DEFINE_enum_class("mode", Mode.LOAD, Mode, "What is measured (see above).")
_NUM_USERS = flags.DEFINE_integer(
    "num_users", _DEFAULT.num_users, "Users of the log; under load all of them are in memory."
)
_NUM_TRACKS = flags.DEFINE_integer("num_tracks", _DEFAULT.num_tracks, "Tracks of the catalogue.")
_SESSIONS_PER_USER = flags.DEFINE_integer(
    "sessions_per_user", _DEFAULT.sessions_per_user, "Sessions that users have, on average."
)
_LSTM_UNITS = flags.DEFINE_integer("lstm_units", _DEFAULT.lstm_units, "Cells of each LSTM.")
_CONNECTIONS = flags.DEFINE_list(
    "connections", list(map(str, _DEFAULT.connections)), "Numbers of connections of a load."
)
_SECONDS = flags.DEFINE_integer("seconds", _DEFAULT.seconds, "Of each load.")
_SOAK_SECONDS = flags.DEFINE_integer("soak_seconds", _DEFAULT.soak_seconds, "Of a whole soak.")
_SHARE = flags.DEFINE_float(
    "share_of_listens", _DEFAULT.share_of_listens, "Of the requests of a soak."
)
_KILLS = flags.DEFINE_integer("kills", _DEFAULT.kills, "How often the server is killed.")
_CALLS = flags.DEFINE_integer(
    "calls", _DEFAULT.calls, "Timed of each kind in process; of batches a tenth."
)
_SEED = flags.DEFINE_integer("seed", _DEFAULT.seed, "Of the workspace and the requests.")


def main(argv: list[str]) -> None:
    del argv
    config = ServingBenchmarkConfig(
        directory=Path(cli.WORKSPACE.value) / "benchmarks",
        mode=_MODE.value,
        num_users=_NUM_USERS.value,
        num_tracks=_NUM_TRACKS.value,
        sessions_per_user=_SESSIONS_PER_USER.value,
        lstm_units=_LSTM_UNITS.value,
        connections=tuple(int(text) for text in _CONNECTIONS.value),
        seconds=_SECONDS.value,
        soak_seconds=_SOAK_SECONDS.value,
        share_of_listens=_SHARE.value,
        kills=_KILLS.value,
        calls=_CALLS.value,
        seed=_SEED.value,
    )
    print(benchmark(config))


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
