"""What an evaluation has to compare, and with what (Fig. 5)."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.config import METRICS_FILE, SCORES_FILE
from cosernn_tf.evaluation.heuristics import AVG_ANY, HEURISTICS
from cosernn_tf.evaluation.summary import Kind
from cosernn_tf.workspace import SUCCESS, SessionsDirectory

_JODIE: Final = "jodie"


@dataclass(frozen=True)
class Evaluation:
    """A finished directory of `cosernn_tf.evaluate`."""

    path: Path
    metrics: Mapping[str, Any]
    """The content of `metrics.json`."""

    @property
    def scores(self) -> Path:
        return self.path / SCORES_FILE

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self.metrics["models"])

    @property
    def runs(self) -> tuple[str, ...]:
        """Those that are neither heuristics nor oracles."""
        models = self.metrics["models"]
        return tuple(name for name, model in models.items() if model["kind"] == Kind.RUN)

    @property
    def first_jodie(self) -> str | None:
        """The first run of that model; None: there is none."""
        configs = self.metrics["provenance"]["runs"]
        runs = (run for run in self.runs if run in configs)
        return next((run for run in runs if configs[run]["model"]["name"] == _JODIE), None)


def open_evaluation(path: Path, sessions: SessionsDirectory) -> Evaluation:
    """The evaluation of `sessions` in a directory.

    Raises:
        UserError: There is none, it is damaged, or it is of other sessions.
    """
    if not (path / SUCCESS).is_file() or not (path / SCORES_FILE).is_file():
        raise UserError(f"{path} has no evaluation: run cosernn_tf.evaluate first")
    try:
        metrics = json.loads((path / METRICS_FILE).read_text(encoding="utf-8"))
        of_sessions = metrics["provenance"]["sessions_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path / METRICS_FILE} is damaged ({type(error).__name__}: {error}): "
            "run cosernn_tf.evaluate again"
        ) from error
    if of_sessions != sessions.sha256:
        raise UserError(
            f"{path} evaluates other sessions than those in {sessions.path}: "
            "run cosernn_tf.evaluate again"
        )
    return Evaluation(path, metrics)


def choose_models(
    evaluation: Evaluation, models: Sequence[str] | None, reference: str | None
) -> tuple[tuple[str, ...], str]:
    """What to compare, and with what.

    Args:
        evaluation: Which has them.
        models: Names; None: all runs but the reference.
        reference: A name; None: the first run of JODIE, as in the paper, or without one "Avg, any
            cxt", of the paper's heuristics the best by cosine.

    Raises:
        UserError: The evaluation does not have one of them.
    """
    chosen = reference or evaluation.first_jodie or AVG_ANY
    if models is None:
        models = evaluation.runs
    elif chosen in models:
        raise UserError(f"{chosen!r} is both in --models and the --reference")
    for name in (*models, chosen):
        if name not in evaluation.models:
            raise UserError(
                f"{evaluation.path} has no model {name!r} (there are "
                f"{', '.join(evaluation.models)}): evaluate it first"
            )
    return tuple(name for name in dict.fromkeys(models) if name != chosen), chosen


def notes_on(models: Sequence[str], reference: str, *, wanted: str | None) -> Iterator[str]:
    """What the choice leaves to be said, a sentence each; `wanted` is the reference asked for."""
    if not models:
        yield "The evaluation has no run to compare with another."
    elif wanted is None and reference == AVG_ANY:
        yield (
            "The evaluation has no run of JODIE, with which the paper compares: runs are compared "
            f"with {HEURISTICS[AVG_ANY]!r}."
        )
