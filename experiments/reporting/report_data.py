"""What sections are made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.reporting.costs import Cost
from experiments.reporting.inputs import Evaluation, Inputs
from experiments.reporting.models import Comparison
from experiments.reporting.palette import Look
from experiments.reporting.verdict import Verdict


@dataclass(frozen=True)
class Evaluated:
    """Models, and what follows from their scores."""

    evaluation: Evaluation
    comparison: Comparison
    verdict: Verdict
    costs: Mapping[str, Cost]
    looks: Mapping[str, Look]
    grouped_scores: Path
    """`scores.parquet` with a model over its seeds as one; gone when the report is made."""


@dataclass(frozen=True)
class ReportData:
    """All that is known of a workspace."""

    inputs: Inputs
    evaluated: Evaluated | None
    """None: nothing was evaluated."""
