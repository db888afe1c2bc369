"""Calls exported models session by session, with TensorFlow only: run by test_export.py.

The arguments are an `.npz` of the inputs of users' sequences, `(users, sessions, ...)`, and
SavedModels; beside each is written an `.npz` of its predictions.
"""

import sys
from typing import Any

import numpy as np
import tensorflow as tf

given, *exports = sys.argv[1:]
inputs = dict(np.load(given))
users, sessions = inputs["long_term"].shape[:2]
for export in exports:
    step = tf.saved_model.load(export).signatures["step"]
    _, takes = step.structured_input_signature
    # A user without sessions has a state of zeros; what the step gives ends in _after.
    state: dict[str, Any] = {
        name.removesuffix("_after"): None
        for name in step.structured_outputs
        if name.endswith("_after")
    }
    for name in state:
        state[name] = tf.zeros([users, *takes[name].shape[1:]], takes[name].dtype)
    found = []
    for session in range(sessions):
        now = {
            name: tf.constant(inputs[name] if inputs[name].ndim == 1 else inputs[name][:, session])
            for name in takes
            if name not in state
        }
        outputs = step(**now, **state)
        state = {name: outputs[f"{name}_after"] for name in state}
        found.append(outputs["prediction"].numpy())
    np.savez(
        f"{export}.npz", prediction=np.stack(found, axis=1), sessions=state["sessions"].numpy()
    )
assert "cosernn_tf" not in sys.modules
