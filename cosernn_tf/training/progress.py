"""How far a run has come: what the rest of it depends on, beside weights and optimizer."""

import dataclasses
import json
from dataclasses import dataclass, field

from cosernn_tf.training.step import StepResult


@dataclass(frozen=True)
class EpochResult:
    """Figures of one epoch; cosines are means over sessions."""

    epoch: int
    train_loss: float
    train_cosine: float
    """1 - the loss of §5.2.1, whatever the loss."""
    train_attention: float | None
    """Mean β̂, the attention on the offset; None of a model that has no attention."""
    validation_cosine: float
    validation_score: float
    """By which the best epoch is told, of `--best_by`."""
    validation_attention: float | None
    sessions_per_second: float
    """Training sessions, padding not counted."""
    seconds: float
    """Of training and validation."""
    validation_ranking: dict[str, float] = field(default_factory=dict)
    """Means by metric over a sample of sessions (`evaluation.ranking_sample`), if any is scored."""


@dataclass(frozen=True)
class Sums:
    """Over the batches of an epoch that are done."""

    batches: int = 0
    loss: float = 0.0
    cosine: float = 0.0
    attention: float = 0.0
    pairs: int = 0
    seconds: float = 0.0

    def after(self, step: StepResult, *, seconds: float) -> "Sums":
        """With one batch more, which took so long."""
        return Sums(
            self.batches + 1,
            self.loss + step.loss,
            self.cosine + step.cosine,
            self.attention + step.attention,
            self.pairs + step.pairs,
            self.seconds + seconds,
        )


@dataclass(frozen=True)
class Progress:
    """Epochs that are finished, and how far the next one is."""

    history: tuple[EpochResult, ...] = ()
    under_way: Sums = Sums()

    @property
    def epoch(self) -> int:
        """The last one that is finished; 0: none."""
        return len(self.history)

    @property
    def best(self) -> EpochResult | None:
        """The first epoch with the highest validation score."""
        return max(self.history, key=lambda epoch: epoch.validation_score, default=None)

    @property
    def moment(self) -> str:
        """As people say it."""
        if self.under_way.batches:
            return f"in epoch {self.epoch + 1} after batch {self.under_way.batches}"
        return f"after epoch {self.epoch}" if self.epoch else "before epoch 1"

    def finish(self, result: EpochResult) -> "Progress":
        """With the epoch under way as one more of the history."""
        return Progress((*self.history, result))

    def to_json(self) -> str:
        """Numbers come back from it to the last bit."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """From what `to_json` gave."""
        fields = json.loads(text)
        history = tuple(EpochResult(**epoch) for epoch in fields["history"])
        return cls(history, Sums(**fields["under_way"]))
