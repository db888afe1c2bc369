"""What an evaluation is asked to do; light, so that a bad flag is refused at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from cosernn_tf.config import RESERVED_RUN_NAMES, require
from cosernn_tf.evaluation.candidates import Relevance
from cosernn_tf.evaluation.clusters import MIN_RESAMPLES, Bootstrap
from cosernn_tf.workspace import Split

METRICS_FILE: Final = "metrics.json"
SCORES_FILE: Final = "scores.parquet"
"""What `workspace/evaluation/` holds."""

SESSIONS_PER_BLOCK: Final = 50_000
"""Sessions scored at once, each with some 3 or 4 KB: bounds memory at about 200 MB."""


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
    catalogue: bool = False
    """Whether models retrieve from all tracks, too."""
    save_predictions: bool = False
    oracle_seed: int = 0
    """Of the tracks that "Oracle half" sees."""
    bootstrap_resamples: int = 10_000
    """Of intervals and of tests that take users as clusters; 0: there are none."""
    bootstrap_seed: int = 1

    def __post_init__(self) -> None:
        require(
            self.bootstrap_resamples == 0 or self.bootstrap_resamples >= MIN_RESAMPLES,
            f"--bootstrap_resamples={self.bootstrap_resamples} must be 0, for no bootstrap, or at "
            f"least {MIN_RESAMPLES}",
        )

    @property
    def bootstrap(self) -> Bootstrap | None:
        if not self.bootstrap_resamples:
            return None
        return Bootstrap(self.bootstrap_resamples, self.bootstrap_seed)


@dataclass(frozen=True)
class PredictionFile:
    """Predictions that come from elsewhere, and their name beside the runs."""

    name: str
    path: Path

    def __str__(self) -> str:
        return f"--predictions={self.name}={self.path}"


def prediction_files(values: Sequence[str]) -> tuple[PredictionFile, ...]:
    """What `--predictions` names: files, each as `name=file` or as `file`, whose stem is the name.

    Raises:
        UserError: A name is empty, twice there, or a heuristic's, or there is no such file.
    """
    files: dict[str, PredictionFile] = {}
    for value in values:
        name, separator, path = value.partition("=")
        file = PredictionFile(name, Path(path)) if separator else _named_by_stem(Path(value))
        require(bool(file.name), f"--predictions={value} has no name: give it as name=file")
        require(
            file.name not in RESERVED_RUN_NAMES,
            f"{file} has the name of a heuristic or oracle: choose another, as name=file",
        )
        require(
            file.name not in files,
            f"{file} has the name of {files.get(file.name)}: choose another, as name=file",
        )
        require(file.path.is_file(), f"{file}: there is no such file")
        files[file.name] = file
    return tuple(files.values())


def _named_by_stem(path: Path) -> PredictionFile:
    return PredictionFile(path.stem, path)
