"""What an analysis is asked to do; light, so that a bad flag is refused at once."""

from dataclasses import dataclass
from enum import StrEnum

from cosernn_tf.workspace import Split


class AnalyzedSplit(StrEnum):
    """The sessions that are looked at."""

    ALL = "all"
    TRAINING = "training"

    def before(self, split: Split) -> int | None:
        """UTC seconds before which its sessions start; None: there is no end."""
        return None if self is AnalyzedSplit.ALL else split.validation_start


@dataclass(frozen=True)
class AnalysisConfig:
    """Options of `cosernn_tf.analyze`."""

    split: AnalyzedSplit = AnalyzedSplit.ALL
    """§4 looks at all of the log."""
    seed: int = 1
    """Of what is drawn where a context has more than is looked at."""
    sample_sessions: int = 100_000
    """About so many sessions of each context have their nearest one searched (Fig. 3)."""
    sample_listens: int = 4_000
    """Of about so many listens of each context all pairs are compared (Fig. 2a)."""
    models: tuple[str, ...] | None = None
    """Models of the evaluation to compare (Fig. 5); None: all runs."""
    reference: str | None = None
    """What they are compared with; None: the run of JODIE, as in the paper."""
