"""Each summary as the plugin of TensorBoard that shows it reads it."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.context import RequestContext
from tensorboard.plugins.graph.graphs_plugin import GraphsPlugin
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.get_experiment import Handler as GetExperiment
from tensorboard.plugins.hparams.list_session_groups import Handler as ListSessionGroups
from tensorboard.plugins.pr_curve.pr_curves_plugin import PrCurvesPlugin

from cosernn_tf.config import MODEL_NAMES, ModelConfig, TrainConfig
from cosernn_tf.summaries import formats
from tests.cosernn_tf.models.conftest import build, small
from tests.cosernn_tf.summaries.events import context, read, records


@pytest.fixture
def writer(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path / "run"))
    with writer.as_default():
        yield writer


def test_a_histogram_counts_every_value_once(writer, tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    formats.write_histogram("weights", values, step=3, description="of a test")
    writer.close()
    ((step, value),) = records(tmp_path / "run")
    assert step == 3
    assert value.metadata.plugin_data.plugin_name == "histograms"
    assert value.metadata.summary_description == "of a test"
    bins = tf.make_ndarray(value.tensor)
    assert bins[0, 0] == values.min()
    assert bins[-1, 1] == values.max()
    np.testing.assert_array_equal(bins[1:, 0], bins[:-1, 1])
    for place, (left, right, count) in enumerate(bins):
        last = place == len(bins) - 1
        inside = (values >= left) & ((values <= right) if last else (values < right))
        assert count == inside.sum()
    assert bins[:, 2].sum() == values.size


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(4, np.float32),
        np.zeros(0, np.float32),
        # As weights that began at 1 are after a first step: next to each other in float32.
        np.nextafter(np.float32(1), np.array([0, 1, 2, 2], np.float32)),
        np.full(3, 1e30, np.float32),
    ],
)
def test_a_histogram_of_values_that_are_nearly_one_or_none(writer, tmp_path, values):
    formats.write_histogram("weights", values, step=1)
    writer.close()
    assert read(tmp_path / "run")["weights"][1][:, 2].sum() == values.size


def test_a_precision_recall_curve(writer, tmp_path):
    # Four candidates, of which one is relevant and comes second.
    confusion = np.array([[1, 1, 1, 0, 0], [3, 2, 1, 1, 0], [0, 1, 2, 2, 3], [0, 0, 0, 1, 1]])
    formats.write_pr_curve("tracks", confusion, step=2, description="of a test")
    writer.close()
    plugin = PrCurvesPlugin(context(tmp_path))
    assert plugin.tags_impl(RequestContext(), "") == {
        "run": {"tracks": {"displayName": "", "description": "<p>of a test</p>"}}
    }
    ((curve,),) = plugin.pr_curves_impl(RequestContext(), "", ["run"], "tracks").values()
    del curve["wall_time"]
    assert curve == {
        "step": 2,
        # The last threshold takes nothing, and has no precision.
        "thresholds": [0.0, 0.25, 0.5, 0.75],
        "precision": pytest.approx([1 / 4, 1 / 3, 1 / 2, 0.0]),
        "recall": [1.0, 1.0, 1.0, 0.0],
        "true_positives": [1, 1, 1, 0],
        "false_positives": [3, 2, 1, 1],
        "true_negatives": [0, 1, 2, 2],
        "false_negatives": [0, 0, 0, 1],
    }


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_graph_of_layers(writer, tmp_path, name):
    model = build(small(name))
    formats.write_layer_graph("layers", model, step=0)
    writer.close()
    plugin = GraphsPlugin(context(tmp_path))
    text, _ = plugin.graph_impl(
        RequestContext(), "run", "layers", is_conceptual=True, experiment=""
    )
    found = tf.compat.v1.GraphDef()
    text_format.Parse(text, found)
    edges = {(taken, node.name) for node in found.node for taken in node.input}
    expected = {
        (parent.operation.name, layer.name)
        for layer in model.layers
        for node in layer._inbound_nodes
        for parent in node.parent_nodes
    }
    assert {node.name for node in found.node} == {layer.name for layer in model.layers}
    assert edges == expected
    assert len(edges) > 25


def test_runs_are_compared_by_flags_and_results(tmp_path):
    configs = {
        "a": TrainConfig(),
        "b": TrainConfig(model=ModelConfig(features=("gap", "context")), learning_rate=0.01),
    }
    for row, (name, config) in enumerate(configs.items()):
        formats.write_hparams(
            tmp_path / name, config.flag_values(), {"cosine": 0.5 + row, "epochs": 3}, name=name
        )
    backend, request = Context(context(tmp_path)), RequestContext()
    experiment = GetExperiment(request, backend, "", api_pb2.GetExperimentRequest()).run()
    differing = {info.name for info in experiment.hparam_infos if info.differs}
    assert differing == {"features", "learning_rate"}
    assert {info.name for info in experiment.hparam_infos} == set(TrainConfig().flag_values())
    assert {info.name.tag for info in experiment.metric_infos} == {"cosine", "epochs"}
    asked = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        allowed_statuses=[api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING, api_pb2.STATUS_SUCCESS],
        col_params=[
            api_pb2.ColParams(metric=info.name, include_in_result=True)
            for info in experiment.metric_infos
        ]
        + [
            api_pb2.ColParams(hparam=info.name, include_in_result=True)
            for info in experiment.hparam_infos
        ],
    )
    groups = ListSessionGroups(request, backend, "", asked).run().session_groups
    rows = {
        group.name: (
            group.hparams["learning_rate"].number_value,
            group.hparams["features"].string_value,
            {metric.name.tag: metric.value for metric in group.metric_values},
        )
        for group in groups
    }
    assert rows == {
        "a": (0.0005, ",".join(TrainConfig().model.features), {"cosine": 0.5, "epochs": 3}),
        "b": (0.01, "context,gap", {"cosine": 1.5, "epochs": 3}),
    }
