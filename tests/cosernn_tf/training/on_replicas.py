"""Trains on virtual devices, in a process of its own: they have to be there before all else.

    python -m tests.cosernn_tf.training.on_replicas WORKSPACE OUTPUT

Writes what the runs of `RUNS` came to, `<name>.npz`, and the run directory `mirrored`.
"""

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from cosernn_tf.config import TrainConfig
from cosernn_tf.training.devices import open_devices
from cosernn_tf.training.loop import Trainer
from cosernn_tf.training.run import train_run
from cosernn_tf.training.sharing import Share
from cosernn_tf.workspace import Workspace
from tests.cosernn_tf.training.conftest import CONFIG, new_model, open_feed

REPLICAS = 2
SIZES = dataclasses.replace(CONFIG, batch_size=4, max_epochs=2, clip_norm=0.1)
"""Gradients are longer than the norm."""
CONFIGS = {
    "cosernn": SIZES,
    "rrn": dataclasses.replace(
        SIZES,
        model=dataclasses.replace(CONFIG.model, name="rrn", pathways=()),
        batch_size=1,
    ),
    "mixed": dataclasses.replace(SIZES, max_epochs=1, precision="mixed_float16"),
}
"""Windows are fewer than replicas in batches of one."""
RUNS = {
    "cosernn-1": (1, 1),
    "rrn-1": (1, 1),
    "rrn-2-then-1": (2, 1),
    "mixed-1": (1,),
    "mixed-2": (2,),
}
"""By name, on how many replicas each epoch is trained."""


def train(
    workspace: Workspace, config: TrainConfig, replicas: tuple[int, ...], run: Path
) -> dict[str, np.ndarray]:
    run.mkdir(parents=True)
    epoch = 0
    for count, epochs in itertools.groupby(replicas):
        epoch += len(list(epochs))
        devices = open_devices("none" if count == 1 else "mirrored")
        assert devices.share == Share(0, count, count)
        feed = open_feed(workspace, share=devices.share)
        with devices.strategy.scope():
            model = new_model(feed, config)
        until_now = dataclasses.replace(config, max_epochs=epoch)
        trainer = Trainer(model, feed, until_now, run, devices=devices)
        history = trainer.train()
    found = {f"weight-{row}": values for row, values in enumerate(model.get_weights())}
    found["losses"] = np.array([epoch.train_loss for epoch in history])
    found["attention"] = np.array([epoch.train_attention or 0.0 for epoch in history])
    found["cosines"] = np.array([epoch.validation_cosine for epoch in history])
    found["traces"] = np.array(trainer._step.traces)
    return found


def main() -> None:
    workspace, output = Workspace(Path(sys.argv[1])), Path(sys.argv[2])
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    )
    for name, replicas in RUNS.items():
        config = CONFIGS[name.partition("-")[0]]
        found = train(workspace, config, replicas, output / "runs" / name)
        with (output / f"{name}.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **found)
    train_run(workspace, CONFIGS["cosernn"], run="mirrored", strategy="mirrored")


if __name__ == "__main__":
    main()
