"""Measures training: sessions a second beside padded windows, and memory.

    python -m benchmarks.training --mode=speed
    python -m benchmarks.training --lstm_units=100 --max_sessions=100 --batch_size=8 --batches=20
    python -m benchmarks.training --mode=gpu --batch_size=256 --batches=8 --precision=mixed_bfloat16
    python -m benchmarks.training --mode=memory

speed   gradient steps on the same batches, in turn, in one process: CoSeRNN as cosernn_tf.train
        trains it; the same model on windows that are all padded to --max_sessions; and the graph of
        the reference implementation, rebuilt of layers of Keras, padded as well. Then what the
        matrix products of the first take alone, in their sizes and at the rate of a large one
gpu     the same without matrix products, on a GPU and in any --precision
memory  the peak of a process that trains for an epoch, on a log and on one of ten times the users

Speed is measured on the embedded default log, whose users have about as many sessions as those of
the paper (220 in two months on average, heavy-tailed), memory on logs of benchmarks.make_log: 500
listens a user on average, a tenth of the users has 60 % of them. They are made at first use.

All that is measured goes to <workspace>/benchmarks/training-<mode>.json, with the machine; a
Markdown table is printed at the end. A ratio is the median of those within each round. Figures to
keep need a machine on which nothing else runs.
"""

from pathlib import Path

from absl import flags

from benchmarks.training_runner import Mode, TrainingBenchmarkConfig, benchmark
from cosernn_tf import cli

flags.declare_key_flag("workspace")
_DEFAULT = TrainingBenchmarkConfig(Path())
_MODE = flags.DEFINE_enum_class("mode", Mode.SPEED, Mode, "What is measured (see above).")
_SESSIONS = flags.DEFINE_string(
    "sessions",
    None,
    "Session sequences to measure speed on, such as workspace/sessions; by default those of the "
    "embedded default log, made beside the results.",
)
_NUM_LISTENS = flags.DEFINE_integer(
    "num_listens",
    None,
    "Listens in a log of benchmarks.make_log: for speed one in place of the default log; for "
    "memory, where there is one of ten times as many as well, by default 200,000.",
)
_LSTM_UNITS = flags.DEFINE_integer("lstm_units", _DEFAULT.lstm_units, "Cells of each LSTM.")
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    _DEFAULT.batch_size,
    "Windows in a batch; 64 padded windows of 400 sessions take some 3 GB.",
)
_MAX_SESSIONS = flags.DEFINE_integer(
    "max_sessions", _DEFAULT.max_sessions, "Sessions of a window at most, and with padding."
)
_BATCHES = flags.DEFINE_integer("batches", _DEFAULT.batches, "Batches in a round.")
_REPEATS = flags.DEFINE_integer("repeats", _DEFAULT.repeats, "Rounds, after one to warm up.")
_SESSIONS_PER_BLOCK = flags.DEFINE_integer(
    "sessions_per_block",
    _DEFAULT.sessions_per_block,
    "Sessions that training holds at once, with --mode=memory; less than the log has.",
)
_PRECISION = flags.DEFINE_string(
    "precision", _DEFAULT.precision, "What all compute in with --mode=gpu; the loss is not scaled."
)
_SEED = flags.DEFINE_integer("seed", _DEFAULT.seed, "Of the log and of the weights.")


def main(argv: list[str]) -> None:
    del argv
    config = TrainingBenchmarkConfig(
        directory=Path(cli.WORKSPACE.value) / "benchmarks",
        mode=_MODE.value,
        sessions=Path(_SESSIONS.value) if _SESSIONS.value else None,
        num_listens=_NUM_LISTENS.value,
        lstm_units=_LSTM_UNITS.value,
        batch_size=_BATCH_SIZE.value,
        max_sessions=_MAX_SESSIONS.value,
        batches=_BATCHES.value,
        repeats=_REPEATS.value,
        sessions_per_block=_SESSIONS_PER_BLOCK.value,
        seed=_SEED.value,
        precision=_PRECISION.value,
    )
    print(benchmark(config))


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
