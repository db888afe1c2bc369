"""Measures `beam_pipelines.sessionize`: whole processes, in turn, on logs made for it.

    python -m benchmarks.sessionize --mode=compare
    python -m benchmarks.sessionize --mode=scale --repeats=3
    python -m benchmarks.sessionize --mode=skew
    python -m benchmarks.sessionize --mode=huge --max_memory_mb=3000

compare  our job, a sessioniser hand-written in polars, and a Beam pipeline of one element a listen,
         on one log (10 million listens); --also lets a program of yours run beside them
scale    our job on logs of 1, 3, 10 and 30 million listens
skew     our job on three logs of 10 million: a balanced one, one in which a user has 30 % of the
         listens, one in which a track has a third of them
huge     our job on 100 million listens; it needs some 16 GB of disk

Every run is a process of its own, and all of a round are run one after the other. Wall time is that
of the whole process, its start included; peak memory is resident memory, with that of child
processes; spilled is what was written beside the output. Ratios are taken within a round. Programs
that do not find the same number of listens, users and sessions in a log end the benchmark.

All that is measured goes to <workspace>/benchmarks/<mode>.json as soon as it is, with the machine;
a Markdown table of medians is printed at the end. Figures to keep need a machine on which nothing
else runs.
"""

from pathlib import Path

from absl import flags

from benchmarks.runner import BenchmarkConfig, Mode, benchmark, parse_sizes
from cosernn_tf import cli

flags.declare_key_flag("workspace")
_MODE = flags.DEFINE_enum_class("mode", Mode.COMPARE, Mode, "What is compared (see above).")
_NUM_LISTENS = flags.DEFINE_list(
    "num_listens",
    [],
    "Listens in a log, in place of the mode's; for scale several, comma-separated.",
)
_REPEATS = flags.DEFINE_integer(
    "repeats", None, "Rounds; by default 5 of compare, 3 of scale and of skew, 1 of huge."
)
_PER_LISTEN_REPEATS = flags.DEFINE_integer(
    "per_listen_repeats",
    1,
    "Rounds of compare in which the pipeline of one element a listen runs, too; it is slow.",
)
_MAX_MEMORY_MB = flags.DEFINE_integer(
    "max_memory_mb", None, "--max_memory_mb of our job; its default by default."
)
_ALSO = flags.DEFINE_string(
    "also",
    None,
    "One more program for compare, NAME=COMMAND: {listens} in it becomes a directory of Parquet "
    "files, {output} a directory to write.",
)
_SEED = flags.DEFINE_integer("seed", 11, "Of the logs: equal seeds give equal rows.")
_KEEP_LOGS = flags.DEFINE_boolean(
    "keep_logs", False, "Leave the logs for another time. Those that were there are left anyway."
)


def main(argv: list[str]) -> None:
    del argv
    config = BenchmarkConfig(
        directory=Path(cli.WORKSPACE.value) / "benchmarks",
        mode=_MODE.value,
        sizes=parse_sizes(_NUM_LISTENS.value),
        repeats=_REPEATS.value,
        per_listen_repeats=_PER_LISTEN_REPEATS.value,
        max_memory_mb=_MAX_MEMORY_MB.value,
        also=_ALSO.value,
        seed=_SEED.value,
        keep_logs=_KEEP_LOGS.value,
    )
    print(benchmark(config))


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
