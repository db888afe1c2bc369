"""What an index will be asked: predictions for sessions that the model was not trained on."""

import keras
import numpy as np

from cosernn_tf.prediction import Predictor
from cosernn_tf.schema import EMBEDDING_DIM
from cosernn_tf.training.feed import Feed

_SEED = 1


def held_out_predictions(
    model: keras.Model, feed: Feed, *, max_sessions: int, limit: int = 1_000
) -> np.ndarray:
    """Predicts a random sample of up to `limit` sessions of the validation split.

    Only as many blocks are read as the sample needs: shards are filled by a hash of the user, so
    the users of one block are a random sample already.

    Returns:
        (n, dim) float32, n <= limit; n = 0 if the split has no session.
    """
    random = np.random.default_rng(_SEED)
    predictor = Predictor(model)
    found = [np.zeros((0, EMBEDDING_DIM), np.float32)]
    wanted = limit
    for block in feed.blocks():
        windows = feed.validation_windows(block, max_sessions=max_sessions)
        # Each window has a session to predict, so that many windows give enough.
        windows = windows.take(random.permutation(len(windows))[:wanted])
        predicted = predictor(block.data, windows).embeddings
        found.append(predicted[random.permutation(len(predicted))[:wanted]])
        wanted -= len(found[-1])
        if not wanted:
            break
    return np.concatenate(found)
