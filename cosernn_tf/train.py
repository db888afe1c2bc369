"""`python -m cosernn_tf.train`: trains a model on the session sequences of the workspace.

    python -m cosernn_tf.train --flagfile=experiments/cosernn.flags

Writes `<workspace>/runs/<run>/` (see WORKSPACE.md), the track index included. A run that was
interrupted goes on where it stopped when the same command is given again.
"""

from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import (
    MODEL_NAMES,
    PRECISIONS,
    STRATEGIES,
    CheckpointConfig,
    ModelConfig,
    TrainConfig,
    check_run_name,
    check_strategy,
)
from cosernn_tf.playlists import FORMATS
from cosernn_tf.schema import FEATURES, PATHWAYS

_DEFAULT = TrainConfig()
_DEFAULT_CHECKPOINTS = CheckpointConfig()
flags.declare_key_flag("workspace")
_MODEL = flags.DEFINE_string(
    "model", _DEFAULT.model.name, f"Which model to train: {', '.join(MODEL_NAMES)}."
)
_LSTM_UNITS = flags.DEFINE_integer(
    "lstm_units", _DEFAULT.model.lstm_units, "Size of each RNN (the paper's d); encore has none."
)
_DENSE_UNITS = flags.DEFINE_integer(
    "dense_units", _DEFAULT.model.dense_units, "Size of the fully connected layers."
)
_FEATURES = flags.DEFINE_list(
    "features",
    list(_DEFAULT.model.features),
    f"What models see, comma-separated, of {', '.join(FEATURES)} (Table 3). The last is not known "
    "before a session starts.",
)
_PATHWAYS = flags.DEFINE_list(
    "pathways",
    [],
    f"Parts of the last session with an RNN each, comma-separated, of {', '.join(PATHWAYS)} "
    "(Table 4). By default the paper's for the model: played,skipped for cosernn, all three for "
    "others.",
)
_DROPOUT = flags.DEFINE_float(
    "dropout",
    _DEFAULT.model.dropout,
    "Share of what enters dense layers that training leaves out; of --model=encore only.",
)
_LOSS = flags.DEFINE_string(
    "loss",
    "",
    "cosine: 1 - cosine of prediction and s⁺ (§5.2.1). ranking: that, and two terms by which the "
    "session comes before the user's earlier ones, and its tracks before the others of late. By "
    "default ranking for encore, cosine for others.",
)
_SESSION_WEIGHT = flags.DEFINE_float(
    "session_weight", _DEFAULT.session_weight, "Of the session term of --loss=ranking."
)
_TRACK_WEIGHT = flags.DEFINE_float(
    "track_weight", _DEFAULT.track_weight, "Of the track term of --loss=ranking."
)
_BEST_BY = flags.DEFINE_string(
    "best_by",
    "",
    "By what of the validation split the epoch is chosen that is kept: cosine, or ranking, the "
    "geometric mean of MRR and mAP of a sample of its sessions. By default as --loss.",
)
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", _DEFAULT.learning_rate, "Adam's learning rate (the paper's λ)."
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    _DEFAULT.batch_size,
    "Windows of users' session sequences in a batch (the paper's m).",
)
_MAX_SESSIONS = flags.DEFINE_integer(
    "max_sessions",
    _DEFAULT.max_sessions,
    "Sessions in the longest window; longer sequences are cut in several, and nothing is dropped.",
)
_MAX_EPOCHS = flags.DEFINE_integer(
    "max_epochs", _DEFAULT.max_epochs, "Passes over the training split, at most."
)
_PATIENCE = flags.DEFINE_integer(
    "patience",
    _DEFAULT.patience,
    "Epochs without a better validation score (--best_by) after which training stops.",
)
_CLIP_NORM = flags.DEFINE_float(
    "clip_norm", _DEFAULT.clip_norm, "Global norm to which gradients are clipped; 0: not at all."
)
_SEED = flags.DEFINE_integer("seed", _DEFAULT.seed, "Of the weights and of the order of batches.")
_PRECISION = flags.DEFINE_string(
    "precision",
    _DEFAULT.precision,
    f"What the model computes in, of {', '.join(PRECISIONS)}; weights, the fusion, the loss and "
    "what is predicted are float32 in each. The last two are for GPUs.",
)
_STRATEGY = flags.DEFINE_string(
    "strategy",
    "none",
    f"What to train on, of {', '.join(STRATEGIES)}: one device, all GPUs of this machine, or those "
    "of all processes in TF_CONFIG. The batch is that of one device, shared out; a run may go on "
    "with another choice.",
)
_CHECKPOINT_STEPS = flags.DEFINE_integer(
    "checkpoint_steps",
    _DEFAULT_CHECKPOINTS.steps,
    "Batches after which a checkpoint is written within an epoch; 0: not by batches. It has no "
    "influence on the weights.",
)
_CHECKPOINT_MINUTES = flags.DEFINE_float(
    "checkpoint_minutes",
    _DEFAULT_CHECKPOINTS.minutes,
    "Minutes after which a checkpoint is written within an epoch; 0: not by time. It has no "
    "influence on the weights.",
)
_RUN = flags.DEFINE_string("run", None, "Name of the run's directory; the model's by default.")
_PLAYLISTS = flags.DEFINE_string(
    "playlists",
    None,
    "Playlists for the track embeddings, if they have to be made: a file, or a directory of slices "
    "(mpd). Without it: those of the embedded default log if the sessions come from there, else "
    "the sessions of the training split.",
)
_PLAYLISTS_FORMAT = flags.DEFINE_enum(
    "playlists_format",
    FORMATS[0],
    FORMATS,
    "jsonl: JSON Lines (may be gzip); mpd: slices of the Million Playlist Dataset.",
)
_OVERWRITE = flags.DEFINE_boolean(
    "overwrite",
    False,
    "Train again, and replace the run of that name once that has succeeded. Interrupted, the same "
    "command goes on with what it had begun.",
)


def main(_: list[str]) -> None:
    config = TrainConfig(
        model=ModelConfig(
            name=_MODEL.value,
            lstm_units=_LSTM_UNITS.value,
            dense_units=_DENSE_UNITS.value,
            features=tuple(_FEATURES.value),
            pathways=tuple(_PATHWAYS.value),
            dropout=_DROPOUT.value,
        ),
        loss=_LOSS.value,
        session_weight=_SESSION_WEIGHT.value,
        track_weight=_TRACK_WEIGHT.value,
        best_by=_BEST_BY.value,
        learning_rate=_LEARNING_RATE.value,
        batch_size=_BATCH_SIZE.value,
        max_sessions=_MAX_SESSIONS.value,
        max_epochs=_MAX_EPOCHS.value,
        patience=_PATIENCE.value,
        clip_norm=_CLIP_NORM.value,
        seed=_SEED.value,
        precision=_PRECISION.value,
    )
    checkpoints = CheckpointConfig(steps=_CHECKPOINT_STEPS.value, minutes=_CHECKPOINT_MINUTES.value)
    run = check_run_name(_RUN.value or config.model.name)
    strategy = check_strategy(_STRATEGY.value)
    # Heavy imports follow the checks: a bad flag is refused at once.
    from cosernn_tf.workspace import Workspace, open_sessions

    workspace = Workspace(Path(cli.WORKSPACE.value))
    open_sessions(workspace.sessions)
    from cosernn_tf.training.run import train_run

    train_run(
        workspace,
        config,
        run=run,
        checkpoints=checkpoints,
        strategy=strategy,
        playlists=Path(_PLAYLISTS.value) if _PLAYLISTS.value else None,
        playlists_format=_PLAYLISTS_FORMAT.value,
        overwrite=_OVERWRITE.value,
    )


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
