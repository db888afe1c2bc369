"""Strategies: several devices take the steps of one, in whole trainings."""

import json
import logging
import socket
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.config import check_strategy
from cosernn_tf.errors import UserError
from cosernn_tf.models.base import PREDICTION, load_model
from cosernn_tf.prediction import Predictor, input_signature
from cosernn_tf.training.cluster import Cluster, read_cluster
from cosernn_tf.training.devices import one_device, open_devices
from cosernn_tf.windows import make_batch
from tests.cosernn_tf.training import on_replicas
from tests.cosernn_tf.training.conftest import table_by_hour
from tests.starter import Started
from tests.workspaces import write_workspace

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def replicated(tmp_path_factory, starter):
    """A workspace and a folder, in which a process with two devices has trained."""
    folder = tmp_path_factory.mktemp("replicated")
    workspace = write_workspace(folder / "workspace", table=table_by_hour())
    result = starter.start(
        [str(workspace.root), str(folder)],
        before=f"sys.path.insert(0, {str(REPOSITORY)!r})",
        module=on_replicas.__name__,
    ).wait()
    assert result.code == 0, result.stderr
    return workspace, folder


def results(replicated, name):
    return dict(np.load(replicated[1] / f"{name}.npz"))


def assert_equal_training(workspace, run, expected):
    """Losses, cosines and the best weights of a run directory are those of one device."""
    history = json.loads((workspace.run(run) / "history.json").read_text())
    for what, name in (("losses", "train_loss"), ("cosines", "validation_cosine")):
        found = [epoch[name] for epoch in history]
        np.testing.assert_allclose(found, expected[what], atol=1e-5)
    for row, values in enumerate(load_model(workspace.run(run)).get_weights()):
        np.testing.assert_allclose(values, expected[f"weight-{row}"], atol=1e-4)


def test_two_devices_train_like_one(replicated):
    expected = results(replicated, "cosernn-1")
    assert expected["losses"][0] - expected["losses"][1] > 0.02
    assert_equal_training(replicated[0], "mirrored", expected)


def test_a_training_goes_on_with_fewer_replicas(replicated):
    """And each batch has fewer windows than replicas."""
    one, two = results(replicated, "rrn-1"), results(replicated, "rrn-2-then-1")
    assert one.keys() == two.keys()
    assert len(one["losses"]) == 2
    for what in ("losses", "cosines"):
        np.testing.assert_allclose(two[what], one[what], atol=1e-5)
    for key in one:
        np.testing.assert_allclose(two[key], one[key], atol=1e-4, err_msg=key)


def test_two_devices_scale_one_loss(replicated):
    """Sums of float16 depend on how they are split."""
    one, two = results(replicated, "mixed-1"), results(replicated, "mixed-2")
    np.testing.assert_allclose(two["losses"], one["losses"], atol=1e-3)
    np.testing.assert_allclose(two["cosines"], one["cosines"], atol=1e-2)


def test_what_two_devices_trained_is_one_model(replicated, feed):
    """Its run directory is like any other."""
    run = replicated[0].run("mirrored")
    model = load_model(run)
    (block,) = feed.blocks()
    windows = feed.validation_windows(block, max_sessions=20)
    embeddings = Predictor(model)(block.data, windows).embeddings
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)
    batch = make_batch(block.data, windows)
    inputs = {name: tf.constant(batch.inputs[name]) for name in input_signature(model)}
    served = tf.saved_model.load(str(run / "export")).signatures["serving_default"](**inputs)
    np.testing.assert_allclose(served[PREDICTION], model(inputs)[PREDICTION], atol=1e-6)
    assert (run / "index" / "_SUCCESS").is_file()


def test_two_processes_train_like_one(replicated, starter):
    """`--strategy=multi_worker`, with two processes on this machine."""
    workspace, _ = replicated
    config = on_replicas.CONFIGS["cosernn"]
    (path := workspace.root / "flags.txt").write_text(config.to_flags())
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    command = [f"--workspace={workspace.root}", f"--flagfile={path}",
               "--strategy=multi_worker", "--run=workers"]  # fmt: skip

    def start(worker: int) -> Started:
        environment = config_of("worker", worker, worker=addresses)
        return starter.start(command, before=f"os.environ |= {environment}")

    def train() -> list[str]:
        results = [process.wait() for process in [start(worker) for worker in range(2)]]
        assert [result.code for result in results] == [0, 0], results
        return [result.stderr for result in results]

    outputs = train()
    assert "Worker 1 of 2, 1 CPU each" in outputs[1]
    assert_equal_training(workspace, "workers", results(replicated, "cosernn-1"))
    # Once more there is nothing to train, and nobody waits.
    chief, other = train()
    assert "is finished and has the same flags and data: left as it is" in chief
    assert "The chief does not train: its messages say why" in other


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def test_a_strategy_of_one_device_works_and_says_so(caplog):
    # Of absl, which has a level of its own that other tests may have changed.
    caplog.set_level(logging.INFO, logger="absl")
    devices = open_devices("mirrored")
    assert (devices.share, devices.is_chief) == (one_device().share, True)
    assert "Training on 1 " in caplog.text
    np.testing.assert_array_equal(devices.sum_of_workers([1.5, 2.0]), [1.5, 2.0])
    assert devices.as_chief("text") == "text"


def test_an_unknown_strategy_is_refused():
    with pytest.raises(UserError, match="--strategy=tpu is unknown: choose from none, mirrored, m"):
        check_strategy("tpu")


def config_of(kind: str, index: int, **cluster: list[str]) -> dict[str, str]:
    task = {"type": kind, "index": index}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


AB = ["a:1", "b:1"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "needs the environment variable TF_CONFIG"),
        ({"TF_CONFIG": ""}, "needs the environment variable TF_CONFIG"),
        ({"TF_CONFIG": "{"}, "cannot be read: give one like"),
        ({"TF_CONFIG": "[]"}, "cannot be read"),
        ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "cannot be read"),
        (config_of("ps", 0, worker=AB), "cannot be read"),
        (config_of("worker", 2, worker=AB), "but this task is worker 2"),
        (config_of("chief", 0, worker=AB), "but this task is chief 0"),
        (config_of("worker", 0, worker=["a:1", "a:1"]), "every process has an address"),
        (config_of("worker", 0, worker=["a:1"], ps=["b:1"]), "has ps: --strategy=multi_worker kno"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(environment, message):
    with pytest.raises(UserError, match=message):
        read_cluster(environment)


def test_the_chief_is_the_first_process():
    assert read_cluster(config_of("worker", 0, worker=AB)) == Cluster(2, 0)
    assert read_cluster(config_of("worker", 1, worker=AB)) == Cluster(2, 1)
    assert read_cluster(config_of("chief", 0, chief=["c:1"], worker=AB)) == Cluster(3, 0)
    assert read_cluster(config_of("worker", 1, chief=["c:1"], worker=AB)) == Cluster(3, 2)
