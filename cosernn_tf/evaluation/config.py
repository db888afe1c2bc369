"""What an evaluation is asked to do; light, so that a bad flag is refused at once."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cosernn_tf.evaluation.candidates import Relevance
from cosernn_tf.workspace import Split

METRICS_FILE: Final = "metrics.json"
SCORES_FILE: Final = "scores.parquet"
"""What `workspace/evaluation/` holds."""


class EvaluatedSplit(StrEnum):
    """The split whose sessions are scored."""

    TEST = "test"
    VALIDATION = "validation"

    def bounds(self, split: Split) -> tuple[int, int | None]:
        """UTC seconds in [first, before) of the starts of its sessions; None: up to the last."""
        if self is EvaluatedSplit.TEST:
            return split.test_start, None
        return split.validation_start, split.test_start


@dataclass(frozen=True)
class EvaluationConfig:
    """An evaluation, but for the runs."""

    split: EvaluatedSplit = EvaluatedSplit.TEST
    relevance: Relevance = Relevance.ANY
    """Which tracks of a session are relevant in track ranking (decision 11)."""
    exclude_users: tuple[str, ...] = ()
    """Users whose sessions are not scored."""
    save_predictions: bool = False
    oracle_seed: int = 0
    """Of the tracks that "Oracle half" sees."""
