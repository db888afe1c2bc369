"""Encore: attention over past sessions, in place of a recurrent state. Our own successor."""

from typing import Final

import keras

from cosernn_tf.models.attention import (
    FirstVectors,
    OfEverySession,
    Previous,
    SessionAttention,
    WeightedSum,
)
from cosernn_tf.models.base import PREDICTION, SequenceModel
from cosernn_tf.models.encodings import Encodings, concatenated, scaled
from cosernn_tf.models.layers import ByteDropout
from cosernn_tf.schema import EMBEDDING_DIM, NUM_AGE_BUCKETS
from cosernn_tf.windows import MIN_EARLIER_SESSIONS

HEADS: Final = 8
KEY_SIZE: Final = 16
AGE_SIZE: Final = 16
MEMORY: Final = MIN_EARLIER_SESSIONS
"""Sessions that are remembered: those that every window of evaluation has before a target."""


class Encore(SequenceModel):
    """Looks up what the user listened to in sessions like the one that begins.

    CoSeRNN has to hold a user's past in the state of an RNN and can only paraphrase it; but people
    listen again to what they listened to. So the sessions themselves are kept:

    - a query from f_t, ū_t and age: what begins now; a key from f_i without the context of session
      i, but with that of the session before: what that session was;
    - `SessionAttention`: heads that weigh the past by content, context, time and order, and give
      means of s⁺ and s⁻;
    - û_t and the weights g_t from the query's features and the means of s⁺, of s if that is no
      pathway (those of both would cost more and tell no more);
    - u_t = û_t + g_t0 ū_t + Σ g_th,p (mean of head h and pathway p), scaled to unit norm.

    It is trained on the ranking loss (`cosernn_tf.models.losses`) unless told otherwise. `MEMORY`
    sessions are all that it needs to know of a user, ū aside.
    """

    name = "encore"

    def graph(self, encodings: Encodings) -> dict[str, keras.KerasTensor]:
        context = encodings.of_now
        last_context = [Previous(name="last_context")(tensor) for tensor in context]
        now = self._dense("now_2", self._dense("now_1", self._now(encodings)))
        then = self._dense("then", concatenated("of_then", [*last_context, *encodings.of_last]))
        vectors = encodings.last_vectors
        remembered = SessionAttention(HEADS, MEMORY, name="attention")(
            [
                self._vectors("query", [now, *context]),
                self._vectors("key", [then, *last_context]),
                keras.layers.Dense(2 * HEADS, name="decay")(now),
                concatenated("values", vectors),
                encodings.inputs["seconds_since_last"],
            ]
        )
        of_first = FirstVectors(EMBEDDING_DIM, name="of_first")(remembered)
        heads = keras.layers.Reshape((-1, HEADS * remembered.shape[-1]), name="heads")(remembered)

        combined = concatenated("combined", [now, scaled("of_first", of_first)])
        combined = self._dense("combine_2", self._dense("combine_1", combined))
        # The first guess is the mean of all that is remembered.
        weights = keras.layers.Dense(
            1 + HEADS * len(vectors),
            bias_initializer=keras.initializers.Constant(1 / HEADS),
            name="weights",
        )(combined)
        offset = keras.layers.Dense(EMBEDDING_DIM, name="offset")(combined)
        prediction = WeightedSum(name="fusion")(
            [offset, weights, encodings.inputs["long_term"], heads]
        )
        return {PREDICTION: prediction}

    def _now(self, encodings: Encodings) -> keras.KerasTensor:
        long_term = encodings.inputs["long_term"]
        age = keras.layers.Embedding(NUM_AGE_BUCKETS, AGE_SIZE, name="age")(
            encodings.inputs["age_bucket"]
        )
        return concatenated(
            "of_now",
            [
                *encodings.of_now,
                *encodings.of_last,
                scaled("long_term", long_term),
                OfEverySession(name="age_of_user")([age, long_term]),
            ],
        )

    def _dense(self, name: str, inputs: keras.KerasTensor) -> keras.KerasTensor:
        if self.config.dropout:
            inputs = ByteDropout(self.config.dropout, name=f"{name}_dropout")(inputs)
        return keras.layers.Dense(self.config.dense_units, activation="relu", name=name)(inputs)

    @staticmethod
    def _vectors(name: str, tensors: list[keras.KerasTensor]) -> keras.KerasTensor:
        """Queries or keys of all heads. Contexts enter as they are: heads look for equal ones."""
        # A softmax does not see what all keys have in common: no bias.
        dense = keras.layers.Dense(HEADS * KEY_SIZE, use_bias=name == "query", name=name)
        return dense(concatenated(f"of_{name}", tensors))
