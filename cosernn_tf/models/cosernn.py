"""CoSeRNN (Hansen et al., RecSys 2020, §5.1)."""

import math

import keras

from cosernn_tf.models import layers
from cosernn_tf.models.base import ATTENTION, PREDICTION, SequenceModel
from cosernn_tf.models.lstm import StackedLSTM
from cosernn_tf.schema import EMBEDDING_DIM, NUM_AGE_BUCKETS


class CoSeRNN(SequenceModel):
    """Played and skipped tracks in two LSTM pathways, fused with the long-term embedding."""

    name = "cosernn"

    def graph(self, inputs: dict[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
        context = self.context(inputs)
        summary = self.last_session_summary(inputs)

        # "The same transformation" (§5.1.2): these two layers are shared by the pathways.
        transform_1 = self._dense("transform_1")
        transform_2 = self._dense("transform_2")
        outputs = []
        for pathway, embedding in (("skip", "last_skipped"), ("play", "last_played")):
            # Unit norm leaves each coordinate at 1/√40: scaled to unit variance like the other
            # features, they are learnt as fast as these (README, "Differences from the paper").
            last = keras.layers.Rescaling(math.sqrt(EMBEDDING_DIM), name=f"{pathway}_scaled")(
                inputs[embedding]
            )
            features = keras.layers.Concatenate(name=f"{pathway}_features")(
                [context, last, summary]
            )
            outputs.append(self._lstm(pathway, transform_2(transform_1(features)), inputs))

        # §5.1.3, o_t⁻ first.
        combined = keras.layers.Concatenate(name="pathways")(outputs)
        combined = self._dense("combine_2")(self._dense("combine_1")(combined))
        offset = keras.layers.Dense(EMBEDDING_DIM, name="offset")(combined)

        # §5.1.4: the attention is computed from o_t (decision 14).
        attention = keras.layers.Dense(2, activation="softmax", name="attention_weights")(combined)
        prediction, attention = layers.LongTermFusion(name="fusion")(
            [offset, inputs["long_term"], attention]
        )
        return {PREDICTION: prediction, ATTENTION: attention}

    def _dense(self, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(self.config.dense_units, activation="relu", name=name)

    def _lstm(
        self, pathway: str, features: keras.KerasTensor, inputs: dict[str, keras.KerasTensor]
    ) -> keras.KerasTensor:
        """LSTM whose initial (h, c) are learned per age bucket (footnote 5, decision 6).

        No mask: padding is on the right, so it cannot reach a real step, its outputs have no
        weight in the loss, and a mask would cost the fused kernels.
        """
        initial_state = [
            keras.layers.Embedding(
                NUM_AGE_BUCKETS, self.config.lstm_units, name=f"{pathway}_initial_{state}"
            )(inputs["age_bucket"])
            for state in ("h", "c")
        ]
        lstm = StackedLSTM(self.config.lstm_units, name=f"{pathway}_lstm")
        return lstm(features, initial_state=initial_state)
