"""`python -m cosernn_tf.evaluate`: Table 2 for runs, heuristics and oracles (§6).

    python -m cosernn_tf.evaluate --runs=cosernn

Writes `<workspace>/evaluation/` (see WORKSPACE.md) and prints the table.
"""

import json
from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.evaluation.candidates import Relevance
from cosernn_tf.evaluation.config import (
    METRICS_FILE,
    SESSIONS_PER_BLOCK,
    EvaluatedSplit,
    EvaluationConfig,
    prediction_files,
)
from cosernn_tf.workspace import Workspace, open_sessions

_DEFAULT = EvaluationConfig()
flags.declare_key_flag("workspace")
_RUNS = flags.DEFINE_list(
    "runs",
    None,
    "Runs to evaluate, comma-separated, beside the heuristics and oracles; the table marks what "
    "differs from the first. By default all finished runs trained on the workspace's data; "
    "--runs= is none.",
)
_PREDICTIONS = flags.DEFINE_list(
    "predictions",
    [],
    "Parquet files of predictions that come from elsewhere, each as name=file, comma-separated; "
    "evaluated as runs are, behind them (WORKSPACE.md has their form).",
)
_RELEVANCE = flags.DEFINE_enum_class(
    "relevance",
    _DEFAULT.relevance,
    Relevance,
    "Which tracks of a session are relevant in track ranking: any, or those that were not skipped.",
)
_SPLIT = flags.DEFINE_enum_class(
    "split", _DEFAULT.split, EvaluatedSplit, "The sessions that are scored."
)
_EXCLUDE_USERS = flags.DEFINE_list(
    "exclude_users", list(_DEFAULT.exclude_users), "User ids whose sessions are not scored."
)
_CATALOGUE = flags.DEFINE_bool(
    "catalogue",
    _DEFAULT.catalogue,
    "Whether every model also retrieves from the whole catalogue, by exact search: recall, nDCG, "
    "hit rate and MRR, of repeated and of new tracks, and what it recommends in all. It takes the "
    "longer the more tracks there are.",
)
_SAVE_PREDICTIONS = flags.DEFINE_bool(
    "save_predictions",
    _DEFAULT.save_predictions,
    "Whether scores.parquet has every prediction, too.",
)
_ORACLE_SEED = flags.DEFINE_integer(
    "oracle_seed",
    _DEFAULT.oracle_seed,
    "Seed of the half of the tracks that Oracle half sees.",
    lower_bound=0,
    upper_bound=2**63 - 1,
)
_BOOTSTRAP_RESAMPLES = flags.DEFINE_integer(
    "bootstrap_resamples",
    _DEFAULT.bootstrap_resamples,
    "Resamples of users, for confidence intervals and for tests that take users as clusters; 0 "
    "leaves both out.",
)
_BOOTSTRAP_SEED = flags.DEFINE_integer(
    "bootstrap_seed",
    _DEFAULT.bootstrap_seed,
    "Seed of these resamples.",
    lower_bound=0,
    upper_bound=2**63 - 1,
)
_SESSIONS_PER_BLOCK = flags.DEFINE_integer(
    "sessions_per_block",
    SESSIONS_PER_BLOCK,
    "Sessions, of whole users, that are held and scored at once: memory grows by some 40 MB with "
    "every 10,000, and a little with every run. Scores do not depend on it.",
    lower_bound=1,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Directory to write; by default evaluation/ in the workspace."
)


def main(_: list[str]) -> None:
    config = EvaluationConfig(
        split=_SPLIT.value,
        relevance=_RELEVANCE.value,
        exclude_users=tuple(_EXCLUDE_USERS.value),
        catalogue=_CATALOGUE.value,
        save_predictions=_SAVE_PREDICTIONS.value,
        oracle_seed=_ORACLE_SEED.value,
        bootstrap_resamples=_BOOTSTRAP_RESAMPLES.value,
        bootstrap_seed=_BOOTSTRAP_SEED.value,
    )
    predictions = prediction_files(_PREDICTIONS.value)
    workspace = Workspace(Path(cli.WORKSPACE.value))
    open_sessions(workspace.sessions)
    # Heavy imports follow the checks: a bad flag is refused at once.
    from cosernn_tf.evaluation.catalogue_report import format_catalogue
    from cosernn_tf.evaluation.report import format_table
    from cosernn_tf.evaluation.run import evaluate_runs

    output = Path(_OUTPUT.value) if _OUTPUT.value else workspace.evaluation
    summary = evaluate_runs(
        workspace,
        _RUNS.value,
        config=config,
        predictions=predictions,
        output=output,
        sessions_per_block=_SESSIONS_PER_BLOCK.value,
    )
    print(format_table(summary))
    if config.catalogue:
        content = json.loads((output / METRICS_FILE).read_text(encoding="utf-8"))
        print(format_catalogue(content["catalogue"]))
    print(
        f"Split: {config.split}. Relevant: {config.relevance}. "
        f"Excluded users: {', '.join(config.exclude_users) or 'none'}. Written to {output}"
    )


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
