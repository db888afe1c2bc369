"""Measures retrieval: our searchers beside NumPy, faiss and hnswlib, on a million tracks.

    pip install -e '.[benchmark]'
    python -m benchmarks.retrieval

Two catalogues of 40-d unit vectors: clustered, as music is, and isotropic, the worst case. Every
contender builds its index in a process of its own, tuned to --min_recall on the same held-out
queries where it can be tuned, and is opened in another. Then all are asked other queries, round by
round, in one process; recall is that of these.

All that is measured goes to <workspace>/benchmarks/retrieval.json, with the machine; a Markdown
table is printed at the end: medians over rounds, of ratios of those within each. Figures to keep
need a machine on which nothing else runs.
"""

from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import require

flags.declare_key_flag("workspace")
_NUM_TRACKS = flags.DEFINE_integer("num_tracks", 1_000_000, "Tracks of a catalogue.")
_VECTORS = flags.DEFINE_list(
    "vectors", ["clustered", "isotropic"], "What the catalogues are like, separated by commas."
)
_WITHOUT = flags.DEFINE_list(
    "without", [], "Contenders that are left out, by the beginnings of their names: faiss, hnswlib."
)
_K = flags.DEFINE_integer("k", 100, "Neighbours to find.")
_MIN_RECALL = flags.DEFINE_float("min_recall", 0.98, "Least share of them that all are tuned to.")
_NUM_QUERIES = flags.DEFINE_integer("num_queries", 1_000, "To tune on, and as many to measure.")
_SLOW_QUERIES = flags.DEFINE_integer(
    "slow_queries", 100, "Of these, how many exact contenders are asked."
)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Rounds, after one to warm up.")
_SEED = flags.DEFINE_integer("seed", 1, "Of the catalogues.")


def main(argv: list[str]) -> None:
    del argv
    # NumPy and what it searches with come after the flags have been checked.
    from benchmarks.retrieval_runner import NAMES, RetrievalBenchmarkConfig, benchmark
    from benchmarks.retrieval_vectors import Vectors

    for name in _VECTORS.value:
        require(
            name in tuple(Vectors),
            f"--vectors={name} is unknown: choose from {', '.join(Vectors)}",
        )
    without = tuple(_WITHOUT.value)
    for name in without:
        require(
            any(contender.startswith(name) for contender in NAMES),
            f"--without={name} is the beginning of none of {'; '.join(NAMES)}",
        )
    print(
        benchmark(
            RetrievalBenchmarkConfig(
                directory=Path(cli.WORKSPACE.value) / "benchmarks",
                num_tracks=_NUM_TRACKS.value,
                vectors=tuple(Vectors(name) for name in _VECTORS.value),
                contenders=tuple(name for name in NAMES if not name.startswith(without or ("\0",))),
                k=_K.value,
                min_recall=_MIN_RECALL.value,
                num_queries=_NUM_QUERIES.value,
                slow_queries=_SLOW_QUERIES.value,
                repeats=_REPEATS.value,
                seed=_SEED.value,
            )
        )
    )


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
