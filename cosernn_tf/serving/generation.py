"""What states of users belong to."""

from cosernn_tf.serving import user_state
from cosernn_tf.trained_run import TrainedRun
from cosernn_tf.workspace import sha256


def generation_of(run: TrainedRun) -> str:
    """A checksum of the weights, the embeddings, the vocabularies and the session sequences."""
    parts = (
        str(user_state.VERSION),
        run.model_sha256,
        run.sessions.sha256,
        run.embeddings.sha256,
    )
    return sha256(" ".join(parts).encode())
