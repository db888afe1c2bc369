"""The track space as TensorBoard's projector reads it, and its clusters."""

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin

from cosernn_tf.features import normalize
from cosernn_tf.summaries.projector import clusters_of, write_track_space
from tests.cosernn_tf.summaries.events import context


def track_table(count: int) -> pa.Table:
    ids = [f"track {row}" for row in range(count)]
    ids[3] = "a\tb\nc"
    return pa.table({"track_id": ids, "train_listens": np.arange(count, 0, -1)})


@pytest.fixture
def embeddings() -> np.ndarray:
    """Two of the first five tracks have none."""
    vectors = normalize(np.random.default_rng(0).normal(size=(40, 6))).astype(np.float32)
    vectors[[0, 2]] = 0.0
    return vectors


def test_the_most_listened_to_tracks_that_have_an_embedding(tmp_path, embeddings):
    write_track_space(tmp_path, embeddings, track_table(40), limit=20)
    config = ProjectorConfig()
    text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), config)
    (space,) = config.embeddings
    assert list(space.tensor_shape) == [20, 6]
    rows = [row for row in range(40) if row not in (0, 2)][:20]
    vectors = np.loadtxt(tmp_path / space.tensor_path, delimiter="\t")
    np.testing.assert_allclose(vectors, embeddings[rows], atol=1e-4)
    header, *lines = (tmp_path / space.metadata_path).read_text().splitlines()
    assert header == "track_id\ttrain_listens\tcluster"
    fields = [line.split("\t") for line in lines]
    assert [field[0] for field in fields] == [
        "a b c" if row == 3 else f"track {row}" for row in rows
    ]
    assert [int(field[1]) for field in fields] == [40 - row for row in rows]
    assert [int(field[2]) for field in fields] == clusters_of(embeddings[rows]).tolist()


def test_tensorboard_finds_the_space(tmp_path, embeddings):
    write_track_space(tmp_path, embeddings, track_table(40))
    plugin = ProjectorPlugin(context(tmp_path))
    plugin._update_configs()
    (config,) = plugin._configs.values()
    assert config.embeddings[0].tensor_name == "tracks (38 of 40)"


def test_clusters_are_found_and_the_largest_is_first():
    rng = np.random.default_rng(1)
    sizes = (30, 80, 50)
    truth = rng.permutation(np.repeat([0, 1, 2], sizes))
    centres = np.eye(3, 8) * 3
    vectors = normalize(centres[truth] + 0.1 * rng.normal(size=(160, 8))).astype(np.float32)
    found = clusters_of(vectors, clusters=3)
    np.testing.assert_array_equal(found, np.array([2, 0, 1])[truth])
    np.testing.assert_array_equal(clusters_of(vectors, clusters=3), found)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_tracks(tmp_path, count):
    vectors = np.eye(3, 6, dtype=np.float32)[:count]
    assert sorted(clusters_of(vectors)) == list(range(count))
    write_track_space(tmp_path, vectors, track_table(40).slice(0, count))
