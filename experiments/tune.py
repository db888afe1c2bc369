"""`python -m experiments.tune`: searches hyperparameters on the validation split (§5.2.2).

    python -m experiments.tune --search=learning_rate=0.001,0.0005 --search=batch_size=4,8,16
    python -m experiments.tune --model=jodie --sampler=tpe --trials=12 --pruner=median
    python -m experiments.tune --study=wide --sampler=tpe --trials=40 --search=lstm_units=50..400

Without --search, the paper's grids of λ, d and m, which are for a log of the paper's size. Each
trial is a run of `cosernn_tf.train` in `<workspace>/tuning/<study>/runs/`, judged by its best
validation score: the cosine, or what --best_by says. The test split plays no part. Flags that this
command does not know, such as --model=jodie or --max_epochs=10, go to `cosernn_tf.train`, for all
trials.

Given again after an interruption, it goes on where it stopped, and ends with the same trials as if
there had been none. A trial that fails is recorded, and the study goes on. At the end come a table,
plots, TensorBoard's HParams and `best.flags`, which trains the best again.
"""

import importlib.util
from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import ARCHITECTURES, TrainConfig, check_run_name, require
from cosernn_tf.errors import UserError
from cosernn_tf.workspace import Workspace
from experiments.tables import FOLDER
from experiments.training_flags import OF_A_RUN, flag_name, training_flags
from experiments.tuning.space import PAPER, PRUNERS, SAMPLERS, SEARCHED, parse_space

_DEFAULT_MODEL = TrainConfig().model.name
_WITHOUT_RNN = tuple(model.name for model in ARCHITECTURES if not model.has_rnn)
_RNN_SIZE = "lstm_units"
flags.declare_key_flag("workspace")
_STUDY = flags.DEFINE_string(
    "study", None, "Name of the study's directory in tuning/; the model's by default."
)
_SEARCH = flags.DEFINE_multi_string(
    "search",
    list(PAPER),
    "A flag of training, and its values as flag=a,b,c or, where the sampler is not grid, a range "
    "as flag=lowest..highest on a logarithmic scale; once for each flag. Flags that can "
    f"be searched: {', '.join(sorted(SEARCHED))}.",
)
_SAMPLER = flags.DEFINE_enum(
    "sampler",
    "grid",
    SAMPLERS,
    "How trials are chosen: all combinations in an order that the seed gives, at random, or by the "
    "tree-structured Parzen estimator, which learns from earlier trials after ten random ones.",
)
_TRIALS = flags.DEFINE_integer(
    "trials",
    None,
    "How many trials the study has in all; by default all combinations. A larger number adds "
    "trials to a study that has ended.",
)
_PRUNER = flags.DEFINE_enum(
    "pruner",
    "none",
    PRUNERS,
    "Gives up trials by their validation score: below the median of the earlier ones at the same "
    "epoch, or by successive halving, which takes the best third on at 1, 3, 9 ... times "
    "--prune_after_epochs. Both are hard on low learning rates, which are slow to begin with.",
)
_PRUNE_AFTER_EPOCHS = flags.DEFINE_integer(
    "prune_after_epochs", 5, "Epochs that every trial is given before it may be pruned."
)
_PRUNE_AFTER_TRIALS = flags.DEFINE_integer(
    "prune_after_trials", 4, "Trials that have to finish before the median pruner begins."
)
_SEED = flags.DEFINE_integer("seed", 1, "Of the choice of trials, and of the training of each.")
_BASE = flags.DEFINE_string(
    "base",
    str(FOLDER / "cosernn.flags"),
    "Flagfile of cosernn_tf.train with what is not searched, such as experiments/quickstart.flags.",
)
_RETRY_FAILED = flags.DEFINE_boolean(
    "retry_failed", False, "Train trials that failed, for want of memory for example, once more."
)
_OVERWRITE = flags.DEFINE_boolean(
    "overwrite", False, "Begin the study again, and remove what there is of it at once."
)


def main(argv: list[str]) -> None:
    space = parse_space(_SEARCH.value)
    base = training_flags(Path(_BASE.value), argv[1:], own=(*OF_A_RUN, *space.flags))
    model = _value(base, "model") or _DEFAULT_MODEL
    require(
        model not in _WITHOUT_RNN or _RNN_SIZE not in space.flags,
        f"--search has {_RNN_SIZE}, and --model={model} has no RNN: trials would be the same, so "
        "give --search without it",
    )
    name = _STUDY.value or model
    check_run_name(f"{name}-best")
    TrainConfig(seed=_SEED.value)
    max_trials = space.size if _TRIALS.value is None else _TRIALS.value
    if space.size is None:
        require(_SAMPLER.value != "grid", "--sampler=grid takes no range: give values as a,b,c")
    if max_trials is None:
        raise UserError("--trials is needed where --search has a range")
    require(max_trials >= 1, f"--trials={max_trials} must be at least 1")
    require(
        importlib.util.find_spec("optuna") is not None,
        "Optuna is not installed: pip install '.[tuning]' in the repository's root",
    )
    # Heavy imports follow the checks: a bad flag is refused at once.
    from experiments.tuning.advice import Strategy
    from experiments.tuning.run import tune
    from experiments.tuning.study import StudyPlan

    plan = StudyPlan(
        name=name,
        space=space,
        strategy=Strategy(
            sampler=_SAMPLER.value,
            pruner=_PRUNER.value,
            prune_after_epochs=_PRUNE_AFTER_EPOCHS.value,
            prune_after_trials=_PRUNE_AFTER_TRIALS.value,
            seed=_SEED.value,
        ),
        max_trials=max_trials,
        training_flags=base,
    )
    tune(
        Workspace(Path(cli.WORKSPACE.value)),
        plan,
        retry_failed=_RETRY_FAILED.value,
        overwrite=_OVERWRITE.value,
    )


def _value(given: tuple[str, ...], name: str) -> str | None:
    """Of a flag among others."""
    values = (flag.partition("=")[2] for flag in given if flag_name(flag) == name)
    return next(values, None)


def entry_point() -> None:
    cli.run(main, passes_unknown_flags=True)


if __name__ == "__main__":
    entry_point()
