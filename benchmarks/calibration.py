"""Measures which tests of a mean difference hold what they promise, and what ours takes.

    python -m benchmarks.calibration
    python -m benchmarks.calibration --mode=scores --scores=workspace/evaluation/scores.parquet
    python -m benchmarks.calibration --mode=size --resamples=10000

simulated  differences with a mean of zero of users who draw their sessions, from none to a strong
           correlation of these, with as many sessions each or heavy-tailed numbers of them: percent
           of them in which each test finds a difference, at the level of 5 %. A test that holds
           finds 5 %
scores     the same of real differences, those of two models of an evaluation, in which each user's
           have one sign that is drawn
size       time and memory of the bootstrap of as many users, models and references as an evaluation
           may have; sums of users are drawn

All that is measured goes to <workspace>/benchmarks/calibration-<mode>.json, with the machine; a
Markdown table is printed at the end.
"""

from pathlib import Path

from absl import flags

from benchmarks.calibration_runner import CalibrationConfig, Mode, benchmark
from cosernn_tf import cli

flags.declare_key_flag("workspace")
_DEFAULT = CalibrationConfig(Path())
_MODE = flags.DEFINE_enum_class("mode", Mode.SIMULATED, Mode, "What is measured (see above).")
_NULLS = flags.DEFINE_integer(
    "nulls", _DEFAULT.nulls, "Mean differences of zero, a row of the table."
)
_RESAMPLES = flags.DEFINE_integer("resamples", _DEFAULT.resamples, "Of each bootstrap.")
_SCORES = flags.DEFINE_string("scores", None, "The scores.parquet of an evaluation (mode scores).")
_PAIR = flags.DEFINE_list("pair", list(_DEFAULT.pair), "Two models of --scores, comma-separated.")
_USERS = flags.DEFINE_integer("users", _DEFAULT.users, "Users (mode size).")
_MODELS = flags.DEFINE_integer("models", _DEFAULT.models, "Models (mode size).")
_REFERENCES = flags.DEFINE_integer(
    "references",
    _DEFAULT.references,
    "Of these models, those that are compared with every other one (mode size).",
)
_SEED = flags.DEFINE_integer("seed", _DEFAULT.seed, "Of all that is drawn.", lower_bound=0)


def main(argv: list[str]) -> None:
    del argv
    config = CalibrationConfig(
        directory=Path(cli.WORKSPACE.value) / "benchmarks",
        mode=_MODE.value,
        nulls=_NULLS.value,
        resamples=_RESAMPLES.value,
        scores=Path(_SCORES.value) if _SCORES.value else None,
        pair=tuple(_PAIR.value),
        users=_USERS.value,
        models=_MODELS.value,
        references=_REFERENCES.value,
        seed=_SEED.value,
    )
    print(benchmark(config))


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
