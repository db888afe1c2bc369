"""CoSeRNN (Hansen et al., RecSys 2020, §5.1)."""

import keras

from cosernn_tf.models import layers
from cosernn_tf.models.base import ATTENTION, PREDICTION, SequenceModel
from cosernn_tf.models.encodings import Encodings, concatenated
from cosernn_tf.models.lstm import StackedLSTM
from cosernn_tf.schema import EMBEDDING_DIM


class CoSeRNN(SequenceModel):
    """Played and skipped tracks in two LSTM pathways, fused with the long-term embedding."""

    name = "cosernn"

    def graph(self, encodings: Encodings) -> dict[str, keras.KerasTensor]:
        # "The same transformation" (§5.1.2): these two layers are shared by the pathways.
        transform_1 = self._dense("transform_1")
        transform_2 = self._dense("transform_2")
        outputs = []
        for pathway, features in encodings.features.items():
            transformed = transform_2(transform_1(features))
            initial_state = encodings.initial_state(pathway, "h", "c")
            lstm = StackedLSTM(self.config.lstm_units, name=f"{pathway}_lstm")
            outputs.append(lstm(transformed, initial_state=initial_state))

        # §5.1.3, o_t⁻ first.
        combined = concatenated("pathways", outputs)
        combined = self._dense("combine_2")(self._dense("combine_1")(combined))
        offset = keras.layers.Dense(EMBEDDING_DIM, name="offset")(combined)

        # §5.1.4: the attention is computed from o_t (decision 14).
        attention = keras.layers.Dense(
            2, activation="softmax", dtype="float32", name="attention_weights"
        )(combined)
        prediction, attention = layers.LongTermFusion(name="fusion")(
            [offset, encodings.inputs["long_term"], attention]
        )
        return {PREDICTION: prediction, ATTENTION: attention}

    def _dense(self, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(self.config.dense_units, activation="relu", name=name)
