"""JODIE (Kumar et al., KDD 2019), as §6.1 adapts it."""

import keras

from cosernn_tf.models import layers
from cosernn_tf.models.base import PREDICTION, SequenceModel
from cosernn_tf.models.encodings import Encodings, concatenated
from cosernn_tf.models.simple_rnn import StackedRNN
from cosernn_tf.schema import EMBEDDING_DIM


class JODIE(SequenceModel):
    """A dynamic embedding that an RNN updates and time projects, beside a static one.

    With the symbols of JODIE's paper, for each pathway:

    - update by the session before: u_t = σ(W₁ u_{t-1} + W₂ s_{t-1} + W₃ f + W₄ Δ);
    - projection to the session that begins: û_t = (1 + w) ∗ u_t, with w = W_p Δ;
    - prediction of an item: W₁ û_t + W₂ ū + W₃ s_{t-1} + B, ū being the user's static embedding.

    What is adapted:

    - Track embeddings stay fixed (§6.1): of the coupled updates that of the user remains, and an
      item is the embedding of the last session, both its dynamic and its static one.
    - An RNN for each pathway (§6.1); the prediction is linear in all of their embeddings.
    - The update takes f_t, as the RNNs of all models here: the features f are those known when
      session t begins, its context among them, and the Δ of update and projection is that one,
      log-standardised.
    - The loss is the cosine (§6.1), of the prediction scaled to unit norm, without the terms that
      hold consecutive embeddings together.
    - A static embedding is a row of a table, in place of the one-hot vector times W₂: a table of
      users × dim, and a row for users that the training split does not have.
    - σ is tanh, as in the authors' code; what that does besides, scaling u_t to unit norm at every
      update, is in no equation, and not done.
    """

    name = "jodie"

    def graph(self, encodings: Encodings) -> dict[str, keras.KerasTensor]:
        parts = []
        for pathway, features in encodings.features.items():
            rnn = StackedRNN(self.config.lstm_units, name=f"{pathway}_rnn")
            dynamic = rnn(features, initial_state=encodings.initial_state(pathway, "u"))
            drift = layers.modulation(self.config.lstm_units, name=f"{pathway}_drift")
            parts.append(
                layers.Modulate(name=f"{pathway}_projected")([dynamic, drift(encodings.gap)])
            )
        parts += encodings.last.values()
        of_sessions = keras.layers.Dense(EMBEDDING_DIM, name="of_sessions")(
            concatenated("pathways", parts)
        )
        of_user = keras.layers.Dense(EMBEDDING_DIM, use_bias=False, name="of_user")(
            encodings.user_embedding()
        )
        prediction = keras.layers.Add(name="combined")([of_sessions, of_user])
        return {PREDICTION: layers.UnitNorm(name="unit_norm")(prediction)}
