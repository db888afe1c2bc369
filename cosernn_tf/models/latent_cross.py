"""LatentCross (Beutel et al., WSDM 2018), as §6.1 adapts it."""

import keras

from cosernn_tf.models import layers
from cosernn_tf.models.base import PREDICTION, SequenceModel
from cosernn_tf.models.encodings import Encodings, concatenated
from cosernn_tf.models.gru import StackedGRU
from cosernn_tf.schema import EMBEDDING_DIM


class LatentCross(SequenceModel):
    """An RNN whose state the context of the session to come modulates; no long-term embedding.

    With the symbols of the paper of Latent Cross:

    - state: h_t = GRU(h_{t-1}, x_t);
    - latent cross: h_t ∗ (1 + Σ w_k), w_k being an embedding of the context feature k that begins
      near zero, so that the factor begins near 1.

    What is adapted:

    - The context features are those of c_t: day of week, hour and device (their embeddings are
      rows of one matrix, which c_t multiplies). The cross comes after the RNN ("post-fusion").
    - x_t is f_t, as for all models here, c_t included ("pre-fusion").
    - A GRU for each pathway (§6.1); the cross takes all of their states.
    - In place of the softmax over items, a feed-forward layer of 40, scaled to unit norm, and the
      loss is the cosine (§6.1).
    """

    name = "latent_cross"

    def graph(self, encodings: Encodings) -> dict[str, keras.KerasTensor]:
        states = []
        for pathway, features in encodings.features.items():
            gru = StackedGRU(self.config.lstm_units, name=f"{pathway}_gru")
            states.append(gru(features, initial_state=encodings.initial_state(pathway, "h")))
        state = concatenated("pathways", states)
        context = layers.modulation(state.shape[-1], name="context_embedding")(encodings.context)
        crossed = layers.Modulate(name="latent_cross")([state, context])
        prediction = keras.layers.Dense(EMBEDDING_DIM, name="output_layer")(crossed)
        return {PREDICTION: layers.UnitNorm(name="unit_norm")(prediction)}
