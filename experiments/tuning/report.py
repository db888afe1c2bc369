"""What a study has found: a table, plots, TensorBoard's HParams, and the flags of the best."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cosernn_tf.config import TrainConfig
from cosernn_tf.runs import CONFIG
from cosernn_tf.whole_files import write_text
from experiments.table_report import aligned
from experiments.tuning.study import Study
from experiments.tuning.trials import State, Trial, best_of, ranked

MARKDOWN: Final = "table.md"
CSV: Final = "table.csv"
BEST_FLAGS: Final = "best.flags"
"""What a study's directory has of them (WORKSPACE.md)."""

COLUMNS: Final = (
    "trial", "state", "score", "best_epoch", "epochs", "sessions_per_second", "seconds", "error"
)  # fmt: skip
"""Of the CSV, those of the flags that are searched being after the first."""

_ABSENT: Final = "-"


def write_tables(study: Study, trials: Sequence[Trial]) -> str:
    """Writes the table in both forms, and the flags of the best if there is one.

    Returns:
        The table in Markdown.
    """
    text = to_markdown(study, trials)
    write_text(study.folder / MARKDOWN, text)
    write_text(study.folder / CSV, to_csv(trials))
    best = best_of(trials)
    if best is not None:
        write_text(study.folder / BEST_FLAGS, best_flags(study, best, len(trials)))
    return text


def to_markdown(study: Study, trials: Sequence[Trial]) -> str:
    """The best trial first, then notes on those that failed."""
    plan = study.plan
    flags = plan.space.flags
    states = {state: sum(trial.state is state for trial in trials) for state in State}
    lines = [
        f"# Study {plan.name}",
        "",
        f"- {len(trials)} trials: {', '.join(f'{n} {state}' for state, n in states.items() if n)}. "
        f"Sampler {plan.strategy.sampler}, pruner {plan.strategy.pruner}, seed "
        f"{plan.strategy.seed}.",
        f"- Searched: {'; '.join(map(str, plan.space.dimensions))}.",
        f"- Of all trials: {' '.join(plan.training_flags)}.",
        "- By validation score: the cosine, or what --best_by says. The test split plays no part. "
        "What was pruned or failed comes last, and is not chosen.",
        "",
    ]
    rows = [["trial", *flags, "score", "best epoch", "epochs", "sessions/s", "seconds", "state"]]
    for trial in ranked(trials):
        numbers = [str(trial.flags[flag]) for flag in flags]
        rate = trial.sessions_per_second
        rows.append(
            [
                str(trial.number),
                *numbers,
                _ABSENT if trial.score is None else f"{trial.score:.4f}",
                _ABSENT if trial.best_epoch is None else str(trial.best_epoch),
                str(len(trial.scores)),
                _ABSENT if rate is None else f"{rate:,.0f}",
                f"{trial.seconds:,.1f}",
                str(trial.state),
            ]
        )
    lines += aligned(rows)
    failed = [trial for trial in trials if trial.state is State.FAILED]
    if failed:
        lines += ["", *(f"- Trial {trial.number} failed: {trial.error}" for trial in failed)]
    return "\n".join(lines) + "\n"


def to_csv(trials: Sequence[Trial]) -> str:
    """A row a trial, with the columns of `COLUMNS`; what is not defined is empty."""
    flags = list(trials[0].flags) if trials else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([COLUMNS[0], *flags, *COLUMNS[1:]])
    for trial in ranked(trials):
        figures = figures_of(trial)
        writer.writerow(
            [
                trial.number,
                *(trial.flags[flag] for flag in flags),
                trial.state,
                *(figures.get(column, "") for column in COLUMNS[2:-1]),
                trial.error or "",
            ]
        )
    return text.getvalue()


def figures_of(trial: Trial) -> Mapping[str, float]:
    """What there is of the numbers of a trial, by name of the column."""
    values = {
        "score": trial.score,
        "best_epoch": trial.best_epoch,
        "epochs": len(trial.scores),
        "sessions_per_second": trial.sessions_per_second,
        "seconds": trial.seconds,
    }
    return {name: value for name, value in values.items() if value is not None}


def best_flags(study: Study, best: Trial, num_trials: int) -> str:
    """A flagfile of `cosernn_tf.train` that trains the best trial's model again."""
    text = (study.run(best.number) / CONFIG).read_text(encoding="utf-8")
    config = TrainConfig.from_dict(json.loads(text)["config"])
    path = study.folder / BEST_FLAGS
    return (
        f"# The best of {num_trials} trials of study {study.plan.name}: validation score "
        f"{best.score:.4f} in epoch {best.best_epoch} (trial {best.number}).\n"
        "#\n"
        f"#   python -m cosernn_tf.train --workspace={_root(path)} --flagfile={path}\n"
        f"--run={study.plan.name}-best\n"
    ) + config.to_flags()


def _root(path: Path) -> Path:
    """Of the workspace: `tuning/<study>/best.flags` is in it."""
    return path.parents[2]
