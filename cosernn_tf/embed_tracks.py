"""`python -m cosernn_tf.embed_tracks`: track embeddings from playlists or from sessions (§3.2).

    python -m cosernn_tf.embed_tracks --playlists=workspace/log/playlists.jsonl.gz

Writes `<workspace>/tracks/` (see WORKSPACE.md).
"""

from pathlib import Path

from absl import flags

from cosernn_tf import cli
from cosernn_tf.config import EmbeddingConfig
from cosernn_tf.playlists import FORMATS

_DEFAULT = EmbeddingConfig()
flags.declare_key_flag("workspace")
_PLAYLISTS = flags.DEFINE_string(
    "playlists",
    None,
    "Playlists whose tracks are the sentences: a file, or a directory of slices (mpd). Without it, "
    "the sessions of the training split are.",
)
_PLAYLISTS_FORMAT = flags.DEFINE_enum(
    "playlists_format",
    FORMATS[0],
    FORMATS,
    "jsonl: JSON Lines (may be gzip); mpd: slices of the Million Playlist Dataset.",
)
_EPOCHS = flags.DEFINE_integer("epochs", _DEFAULT.epochs, "Passes over the sentences.")
_WINDOW = flags.DEFINE_integer("window", _DEFAULT.window, "Tracks on each side that predict one.")
_MIN_COUNT = flags.DEFINE_integer(
    "min_count", _DEFAULT.min_count, "A track that occurs less often gets no embedding."
)
_NEGATIVE = flags.DEFINE_integer("negative", _DEFAULT.negative, "Negative samples a word.")
_LEARNING_RATE = flags.DEFINE_float(
    "learning_rate", _DEFAULT.learning_rate, "Word2vec's first learning rate; it falls linearly."
)
_SEED = flags.DEFINE_integer("seed", _DEFAULT.seed, "Seed of word2vec.")
_WORKERS = flags.DEFINE_integer(
    "workers", _DEFAULT.workers, "Threads; with more than one, two runs differ in the last bits."
)


def main(_: list[str]) -> None:
    config = EmbeddingConfig(
        epochs=_EPOCHS.value,
        window=_WINDOW.value,
        min_count=_MIN_COUNT.value,
        negative=_NEGATIVE.value,
        learning_rate=_LEARNING_RATE.value,
        seed=_SEED.value,
        workers=_WORKERS.value,
    )
    # Heavy imports follow the checks: a bad flag is refused at once.
    from cosernn_tf.embedding import embed_tracks
    from cosernn_tf.workspace import Workspace, open_sessions

    workspace = Workspace(Path(cli.WORKSPACE.value))
    embed_tracks(
        open_sessions(workspace.sessions),
        playlists=Path(_PLAYLISTS.value) if _PLAYLISTS.value else None,
        output=workspace.tracks,
        config=config,
        playlists_format=_PLAYLISTS_FORMAT.value,
    )


def entry_point() -> None:
    cli.run(main)


if __name__ == "__main__":
    entry_point()
