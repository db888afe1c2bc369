"""Frozen configurations: what a flagfile resolves to, and what a run is identified by.

Needs neither TensorFlow nor Beam, so that a bad flag is refused before anything heavy loads.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cosernn_tf.errors import UserError
from cosernn_tf.schema import DEFAULT_FEATURES, FEATURES, MODEL_INPUTS, PATHWAYS


@dataclass(frozen=True)
class Architecture:
    """What is to be known of a model before its graph, which is in `cosernn_tf.models`."""

    name: str
    inputs: tuple[str, ...]
    """Of `schema.MODEL_INPUTS`, beside those of the features and pathways."""
    pathways: tuple[str, ...]
    """The paper's: Table 4's best for CoSeRNN, "all, skipped, and listened" for others (§6.1)."""
    needs: tuple[str, ...] = ()
    """Features without which it would be another model."""
    loss: str = "cosine"
    """What it is trained on, of `LOSSES`."""
    has_rnn: bool = True
    """Whether `lstm_units` has a say."""


LOSSES: Final = ("cosine", "ranking")
"""What `--loss` takes: that of §5.2.1, and our own (`cosernn_tf.models.losses`)."""

SELECTIONS: Final = ("cosine", "ranking")
"""What `--best_by` takes: by what of the validation split the best epoch is told."""

ARCHITECTURES: Final = (
    Architecture("cosernn", inputs=("age_bucket", "long_term"), pathways=("played", "skipped")),
    Architecture("jodie", inputs=("age_bucket", "user_id"), pathways=PATHWAYS, needs=("gap",)),
    Architecture("rrn", inputs=("age_bucket", "user_id"), pathways=PATHWAYS),
    Architecture("latent_cross", inputs=("age_bucket",), pathways=PATHWAYS, needs=("context",)),
    Architecture(
        "encore",
        inputs=("age_bucket", "long_term"),
        pathways=("played", "skipped"),
        needs=("last_session", "gap"),
        loss="ranking",
        has_rnn=False,
    ),
)
MODEL_NAMES: Final = tuple(architecture.name for architecture in ARCHITECTURES)
"""What `--model` takes; `cosernn_tf.models.MODELS` has a class for each."""


def require(condition: bool, message: str) -> None:
    """Raises `UserError(message)` unless `condition`."""
    if not condition:
        raise UserError(message)


def _chosen(names: Sequence[str], known: Sequence[str], *, flag: str) -> tuple[str, ...]:
    """Those of `known` that are named, in its order."""
    given = f"--{flag}={','.join(names)}"
    require(bool(names), f"{given} must name at least one of {', '.join(known)}")
    for name in names:
        require(name in known, f"{given} has {name!r}, which is none of {', '.join(known)}")
    return tuple(name for name in known if name in names)


@dataclass(frozen=True)
class ModelConfig:
    """A model's architecture (§5.1, §5.2.2)."""

    name: str = "cosernn"
    lstm_units: int = 400
    """Of each RNN, whatever its cell."""
    dense_units: int = 200
    features: tuple[str, ...] = DEFAULT_FEATURES
    pathways: tuple[str, ...] = ()
    """Parts of the last session, each with an RNN; empty becomes the paper's of this model."""
    dropout: float = 0.0
    """Share of what enters the dense layers of encore that training leaves out."""

    def __post_init__(self) -> None:
        require(
            self.name in MODEL_NAMES,
            f"--model={self.name} is unknown: choose from {', '.join(MODEL_NAMES)}",
        )
        for flag in ("lstm_units", "dense_units"):
            value = getattr(self, flag)
            require(value >= 1, f"--{flag}={value} must be at least 1")
        require(0 <= self.dropout < 1, f"--dropout={self.dropout} must be from 0 to below 1")
        require(
            not self.dropout or self.name == "encore",
            f"--dropout={self.dropout} is of --model=encore only: --model={self.name} has none",
        )
        # In one order, so that equal choices are equal configurations.
        for flag, default, known in (
            ("features", (), FEATURES),
            ("pathways", self.architecture.pathways, PATHWAYS),
        ):
            chosen = _chosen(getattr(self, flag) or default, known, flag=flag)
            object.__setattr__(self, flag, chosen)
        for feature in self.architecture.needs:
            require(
                feature in self.features,
                f"--features={','.join(self.features)} lacks {feature}, without which "
                f"--model={self.name} is none",
            )

    @property
    def architecture(self) -> Architecture:
        return next(found for found in ARCHITECTURES if found.name == self.name)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the `schema.MODEL_INPUTS` that the model takes."""
        return tuple(
            spec.name
            for spec in MODEL_INPUTS
            if spec.name in self.architecture.inputs
            or (spec.feature in self.features and spec.pathway in (None, *self.pathways))
        )


PRECISIONS: Final = ("float32", "mixed_float16", "mixed_bfloat16")
"""Of Keras: what a model computes in; weights are float32 in each."""

STRATEGIES: Final = ("none", "mirrored", "multi_worker")
"""Of `--strategy`: one device; all GPUs of this machine; those of the processes of TF_CONFIG."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    model: ModelConfig = ModelConfig()
    learning_rate: float = 0.0005
    batch_size: int = 256
    """Windows of users' sequences in a batch (decision 15)."""
    max_sessions: int = 400
    """Longest window."""
    max_epochs: int = 50
    patience: int = 5
    """Epochs without a better validation score before training stops."""
    clip_norm: float = 0.0
    """Global norm to which gradients are clipped; 0 clips nothing."""
    loss: str = ""
    """Of `LOSSES`; empty becomes the model's."""
    session_weight: float = 0.15
    """Of the session term of the ranking loss."""
    track_weight: float = 0.2
    """Of its track term."""
    best_by: str = ""
    """Of `SELECTIONS`, the score of an epoch; empty becomes that of the loss."""
    seed: int = 1
    precision: str = "float32"

    def __post_init__(self) -> None:
        require(
            self.precision in PRECISIONS,
            f"--precision={self.precision} is unknown: choose from {', '.join(PRECISIONS)}",
        )
        require(
            0 < self.learning_rate < math.inf,
            f"--learning_rate={self.learning_rate} must be above 0 and finite",
        )
        if not self.loss:
            object.__setattr__(self, "loss", self.model.architecture.loss)
        require(
            self.loss in LOSSES,
            f"--loss={self.loss} is unknown: choose from {', '.join(LOSSES)}",
        )
        if not self.best_by:
            object.__setattr__(self, "best_by", self.loss)
        require(
            self.best_by in SELECTIONS,
            f"--best_by={self.best_by} is unknown: choose from {', '.join(SELECTIONS)}",
        )
        for flag in ("session_weight", "track_weight"):
            value = getattr(self, flag)
            require(0 <= value < math.inf, f"--{flag}={value} must be 0 or above, and finite")
        require(0 <= self.clip_norm < math.inf, f"--clip_norm={self.clip_norm} must be 0 or above")
        _require_seed(self.seed)
        require(self.max_sessions >= 2, f"--max_sessions={self.max_sessions} must be at least 2")
        for flag in ("batch_size", "max_epochs", "patience"):
            value = getattr(self, flag)
            require(value >= 1, f"--{flag}={value} must be at least 1")

    def goes_on_after(self, scores: Sequence[float]) -> bool:
        """Whether another epoch follows on those with these validation scores."""
        best = max(range(len(scores)), key=scores.__getitem__, default=-1) + 1
        return len(scores) < self.max_epochs and len(scores) - best < self.patience

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "TrainConfig":
        """From what `to_dict` gave, also before a field with a default was added."""
        return cls(**{**fields, "model": ModelConfig(**fields["model"])})

    def to_flags(self) -> str:
        """A flagfile that resolves to this configuration."""
        return "".join(f"--{flag}={value}\n" for flag, value in self.flag_values().items())

    def flag_values(self) -> dict[str, bool | int | float | str]:
        """By flag; lists as a flag takes them."""
        fields = self.to_dict()
        model = fields.pop("model")
        values = {"model": model.pop("name"), **model, **fields}
        return {
            flag: ",".join(value) if isinstance(value, tuple) else value
            for flag, value in values.items()
        }


@dataclass(frozen=True)
class CheckpointConfig:
    """When a run is saved within an epoch, beside at its end; no part of what a run is."""

    steps: int = 0
    """Batches from one checkpoint to the next; 0: by time alone."""
    minutes: float = 10.0
    """From one checkpoint to the next; 0: by batches alone."""

    def __post_init__(self) -> None:
        require(self.steps >= 0, f"--checkpoint_steps={self.steps} must be 0 or above")
        require(
            0 <= self.minutes < math.inf,
            f"--checkpoint_minutes={self.minutes} must be 0 or above, and finite",
        )


@dataclass(frozen=True)
class EmbeddingConfig:
    """Track embeddings by word2vec, continuous bag of words (§3.2)."""

    epochs: int = 20
    window: int = 10
    min_count: int = 2
    negative: int = 10
    learning_rate: float = 0.1
    """The first; it falls linearly. gensim's own, 0.025, is too low for a few thousand playlists:
    the vectors stay near each other, far from converged."""
    seed: int = 1
    workers: int = 1
    """More than one thread trains faster, but not to the same bytes twice."""

    def __post_init__(self) -> None:
        for flag in ("epochs", "window", "min_count", "negative", "workers"):
            value = getattr(self, flag)
            require(value >= 1, f"--{flag}={value} must be at least 1")
        require(
            0 < self.learning_rate <= 1,
            f"--learning_rate={self.learning_rate} must be above 0 and at most 1",
        )
        _require_seed(self.seed)


def _require_seed(seed: int) -> None:
    """NumPy and Keras take 32 bits."""
    require(0 <= seed < 2**32, f"--seed={seed} must be at least 0 and below 2**32")


def check_strategy(name: str) -> str:
    """`name`, if it is one of `STRATEGIES`.

    No part of a `TrainConfig`: where a run is computed may change when it goes on.
    """
    choices = ", ".join(STRATEGIES)
    require(name in STRATEGIES, f"--strategy={name} is unknown: choose from {choices}")
    return name


RESERVED_RUN_NAMES: Final = frozenset(
    ("last_any", "last_same", "avg_any", "avg_same", "popularity", "oracle_half", "oracle_full")
)
"""What stands beside the runs in an evaluation."""


def check_run_name(name: str) -> str:
    """`name`, if it can be a directory of the workspace's `runs/`."""
    allowed = name and not name.startswith((".", "-")) and "/" not in name and "," not in name
    require(bool(allowed), f"--run={name} must be a name without '/', ',' or a leading '.' or '-'")
    require(
        name not in RESERVED_RUN_NAMES,
        f"--run={name} is the name of a heuristic or oracle in evaluations: choose another",
    )
    return name


def canonical_json(fields: Mapping[str, Any]) -> str:
    """JSON that is equal for equal configurations."""
    return json.dumps(fields, indent=2, sort_keys=True) + "\n"
