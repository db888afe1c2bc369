"""RRN (Wu et al., WSDM 2017), as §6.1 adapts it."""

import keras

from cosernn_tf.models import layers
from cosernn_tf.models.base import PREDICTION, SequenceModel
from cosernn_tf.models.encodings import Encodings, concatenated
from cosernn_tf.models.lstm import StackedLSTM
from cosernn_tf.schema import EMBEDDING_DIM


class RRN(SequenceModel):
    """A recurrent state of the user, beside a stationary embedding that is learned.

    With the symbols of RRN's paper, for each pathway:

    - input: y_t = W_embed x_t;
    - state: u_t = LSTM(u_{t-1}, y_t);
    - rating of item j: ⟨ũ_t, m̃_jt⟩ + ⟨u, m_j⟩ with ũ_t = A u_t + b, and u stationary.

    What is adapted:

    - Track embeddings stay fixed (§6.1): both m̃_jt and m_j are the embedding of track j, and the
      rating is ⟨ũ_t + u, m_j⟩. So ũ_t + u, scaled to unit norm, is the user embedding: the output
      of 40 that §6.1 asks for.
    - x_t is f_t, as for all models here. It has what RRN's own has: what was last consumed, the
      clock, and whether the user is new (N_{t-1} is 0 for these only).
    - An LSTM for each pathway (§6.1); A takes all of their states.
    - The loss is the cosine (§6.1).
    - Users that the training split does not have share a stationary embedding.
    """

    name = "rrn"

    def graph(self, encodings: Encodings) -> dict[str, keras.KerasTensor]:
        states = []
        for pathway, features in encodings.features.items():
            embed = keras.layers.Dense(
                self.config.dense_units, use_bias=False, name=f"{pathway}_embed"
            )
            embedded = embed(features)
            initial_state = encodings.initial_state(pathway, "h", "c")
            lstm = StackedLSTM(self.config.lstm_units, name=f"{pathway}_lstm")
            states.append(lstm(embedded, initial_state=initial_state))
        affine = keras.layers.Dense(EMBEDDING_DIM, name="affine")(concatenated("pathways", states))
        combined = keras.layers.Add(name="combined")([affine, encodings.user_embedding()])
        return {PREDICTION: layers.UnitNorm(name="unit_norm")(combined)}
