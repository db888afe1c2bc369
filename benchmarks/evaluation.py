"""Measures evaluation: beside its forward pass, beside a loop over sessions, and its memory.

    python -m benchmarks.evaluation --mode=speed
    python -m benchmarks.evaluation --lstm_units=100
    python -m benchmarks.evaluation --mode=memory

speed   round by round, in one process: the forward pass of a CoSeRNN over all that it needs for the
        sessions of the test split; a whole evaluation of that run as cosernn_tf.evaluate does it,
        with the heuristics and the oracles, from reading to writing, and the same with --catalogue;
        the part of it that builds candidates and scores the run; and that part by a plain NumPy
        loop over a sample of the sessions, whose scores must be the same
memory  the peak of cosernn_tf.evaluate on a log and on one of ten times the users; and on the
        second with a tenth of --sessions_per_block

The log is one of beam_pipelines.synthesize, whose users have as many sessions as those of the
paper: of 2,200 users, some 106,000 sessions are scored. It is made at first use. The run is not
trained, which changes no time.

All that is measured goes to <workspace>/benchmarks/evaluation-<mode>.json, with the machine; a
Markdown table is printed at the end. A ratio is the median of those within each round. Figures to
keep need a machine on which nothing else runs.
"""

from pathlib import Path

from absl import flags

from benchmarks.evaluation_runner import EvaluationBenchmarkConfig, Mode, benchmark
from cosernn_tf import cli

flags.declare_key_flag("workspace")
_DEFAULT = EvaluationBenchmarkConfig(Path())
_MODE = flags.DEFINE_enum_class("mode", Mode.SPEED, Mode, "What is measured (see above).")
_NUM_USERS = flags.DEFINE_integer(
    "num_users", _DEFAULT.num_users, "Users of the log; for memory there is one of a tenth as well."
)
_NUM_TRACKS = flags.DEFINE_integer("num_tracks", _DEFAULT.num_tracks, "Tracks of the log.")
_LSTM_UNITS = flags.DEFINE_integer("lstm_units", _DEFAULT.lstm_units, "Cells of each LSTM.")
_MAX_SESSIONS = flags.DEFINE_integer(
    "max_sessions", _DEFAULT.max_sessions, "Sessions of a window of the run, at most."
)
_SAMPLE = flags.DEFINE_integer(
    "sample", _DEFAULT.sample, "Sessions that the loop scores; its time is scaled to all."
)
_REPEATS = flags.DEFINE_integer("repeats", _DEFAULT.repeats, "Rounds, after one to warm up.")
_SESSIONS_PER_BLOCK = flags.DEFINE_integer(
    "sessions_per_block",
    _DEFAULT.sessions_per_block,
    "Sessions that evaluation holds at once; with --mode=memory fewer than the smaller log has.",
)
_SEED = flags.DEFINE_integer("seed", _DEFAULT.seed, "Of the log, the weights and the sample.")


def main(argv: list[str]) -> None:
    del argv
    config = EvaluationBenchmarkConfig(
        directory=Path(cli.WORKSPACE.value) / "benchmarks",
        mode=_MODE.value,
        num_users=_NUM_USERS.value,
        num_tracks=_NUM_TRACKS.value,
        lstm_units=_LSTM_UNITS.value,
        max_sessions=_MAX_SESSIONS.value,
        sample=_SAMPLE.value,
        repeats=_REPEATS.value,
        sessions_per_block=_SESSIONS_PER_BLOCK.value,
        seed=_SEED.value,
    )
    print(benchmark(config))


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
