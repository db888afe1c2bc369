"""On a GPU: which kernels run, and that they compute what those of the CPU do."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.config import PRECISIONS
from cosernn_tf.models.recurrence import has_gpu, portable
from cosernn_tf.training.devices import open_devices
from cosernn_tf.training.precision import make_optimizer
from cosernn_tf.training.run import export
from cosernn_tf.training.step import TrainStep
from tests.cosernn_tf.training.conftest import CONFIG, new_model, open_feed

on_a_gpu = pytest.mark.skipif(
    not has_gpu(), reason="TensorFlow sees no GPU: cuDNN's kernels run on one only"
)

CUDNN = {"CudnnRNNV3", "CudnnRNNV3Backprop", "CudnnRNNBackpropV3"}
LOOPS = {"While", "StatelessWhile"}


def count_operations(function: tf.types.experimental.ConcreteFunction) -> dict[str, int]:
    """By type, those of the functions that it calls included."""
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    types, counts = np.unique([node.op for node in nodes], return_counts=True)
    return dict(zip(types.tolist(), counts.tolist(), strict=True))


def count_cudnn(counts: dict[str, int]) -> int:
    return sum(counts.get(kind, 0) for kind in CUDNN)


def step_of(feed, name="cosernn", precision="float32", *, optimizer=None):
    model = dataclasses.replace(CONFIG.model, name=name, pathways=())
    config = dataclasses.replace(CONFIG, model=model, precision=precision)
    built = new_model(feed, config)
    return built, TrainStep(built, optimizer or make_optimizer(config), clip_norm=0.0)


def first_batch(feed):
    return next(feed.training_batches(epoch=1, batch_size=8, max_sessions=20, seed=1))


@on_a_gpu
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["cosernn", "rrn", "latent_cross"])
def test_training_runs_the_kernels_of_cudnn(feed, name, precision):
    """Its operations have no other kernel: a step that ends has run them."""
    _, step = step_of(feed, name, precision)
    counts = count_operations(step._accumulate.get_concrete_function())
    pathways = 2 if name == "cosernn" else 3
    # Of each pathway one forward and one backward, and no loop over sessions.
    assert count_cudnn(counts) == 2 * pathways
    assert not LOOPS & counts.keys()
    losses = [step(first_batch(feed)).loss for _ in range(20)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@on_a_gpu
@pytest.mark.parametrize("name", ["cosernn", "latent_cross"])
def test_its_gradients_are_those_of_the_loops_over_rows(feed, name):
    changes = []
    for without in (False, True):
        model, step = step_of(feed, name, optimizer=keras.optimizers.SGD(1.0))
        before = model.get_weights()
        if without:
            with portable(model):
                step(first_batch(feed))
        else:
            step(first_batch(feed))
        changes.append([a - b for a, b in zip(model.get_weights(), before, strict=True)])
    # Matrix products on a GPU have the ten bits of TensorFloat-32.
    for ours, theirs in zip(*changes, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
        assert np.abs(theirs).max() > 1e-4


@on_a_gpu
def test_all_gpus_take_the_step_of_one(feed, workspace):
    changes = []
    for strategy in ("none", "mirrored"):
        devices = open_devices(strategy)
        shared = open_feed(workspace, share=devices.share)
        with devices.strategy.scope():
            model = new_model(feed)
            optimizer = keras.optimizers.SGD(1.0)
        before = model.get_weights()
        TrainStep(model, optimizer, clip_norm=0.0, devices=devices)(first_batch(shared))
        changes.append([a - b for a, b in zip(model.get_weights(), before, strict=True)])
    for ours, theirs in zip(*changes, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_what_is_served_needs_no_gpu(feed, tmp_path):
    """With a GPU, a graph that is traced as it is trained would."""
    model = new_model(feed)
    export(model, tmp_path)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    counts = count_operations(served)
    assert count_cudnn(counts) == 0
    assert LOOPS & counts.keys()
    assert [layer.use_cudnn for layer in model.layers if hasattr(layer, "use_cudnn")] == [
        "auto"
    ] * 2
