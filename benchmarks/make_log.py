"""Makes a listening log to measure with: Parquet, shuffled, of any size, in bounded memory.

    python -m benchmarks.make_log --num_listens=10000000 --output=workspace/benchmarks/log

writes `listens/*.parquet`, the same rows for the same flags; `--listens=<output>/listens` is then
what `beam_pipelines.sessionize` takes. Nothing can be learnt from such a log: for training there
is `beam_pipelines.synthesize`.
"""

from pathlib import Path

from absl import flags

from benchmarks.logs import LogConfig, Skew, write_log
from cosernn_tf import cli

_NUM_LISTENS = flags.DEFINE_integer(
    "num_listens",
    10_000_000,
    "Rows of the log. Users grow in proportion, one per 500 listens; tracks with the square root, "
    "500,000 at 10 million.",
)
_SKEW = flags.DEFINE_enum_class(
    "skew",
    Skew.BALANCED,
    Skew,
    "balanced; one_user: 30 % of all listens are one user's; one_track: a third are of one track.",
)
_NUM_FILES = flags.DEFINE_integer("num_files", 8, "Files of the log.")
_SEED = flags.DEFINE_integer("seed", 11, "Equal seeds give equal rows.")
_OUTPUT = flags.DEFINE_string("output", None, "Directory to write.", required=True)


def main(argv: list[str]) -> None:
    del argv
    config = LogConfig(
        num_listens=_NUM_LISTENS.value,
        skew=_SKEW.value,
        num_files=_NUM_FILES.value,
        seed=_SEED.value,
    )
    write_log(config, Path(_OUTPUT.value))


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
