"""A whole run: what it writes, what it reads again, and where embeddings come from."""

import dataclasses
import datetime
import gzip
import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.config import TrainConfig
from cosernn_tf.errors import UserError
from cosernn_tf.models.base import ATTENTION, MODEL_FILE, PREDICTION, load_model
from cosernn_tf.retrieval.index import open_index
from cosernn_tf.schema import EMBEDDING_DIM, MODEL_INPUTS, Per
from cosernn_tf.tracks import load_track_embeddings
from cosernn_tf.training.run import ensure_track_embeddings, train_run
from cosernn_tf.windows import make_batch
from cosernn_tf.workspace import Workspace, open_sessions
from tests.cosernn_tf.training.conftest import CONFIG, open_feed
from tests.workspaces import random_table, write_sessions

ONE_EPOCH = dataclasses.replace(CONFIG, max_epochs=1)


@pytest.fixture(scope="module")
def run(workspace):
    return train_run(workspace, ONE_EPOCH, run="mine")


@pytest.fixture(scope="module")
def inputs(workspace):
    feed = open_feed(workspace)
    (block,) = feed.blocks()
    windows = feed.validation_windows(block, max_sessions=20)
    return make_batch(block.data.only(ONE_EPOCH.model.inputs), windows).inputs


def test_what_a_run_holds(run):
    assert sorted(path.name for path in run.iterdir()) == [
        "_SUCCESS",
        "checkpoints",
        "config.json",
        "export",
        "flags.txt",
        "history.json",
        "index",
        "model.keras",
        "provenance.json",
        "tensorboard",
    ]
    assert (run / "flags.txt").read_text() == ONE_EPOCH.to_flags()
    stored = json.loads((run / "config.json").read_text())["config"]
    assert TrainConfig.from_dict(stored) == ONE_EPOCH
    found = json.loads((run / "provenance.json").read_text())
    assert found["packages"]["tensorflow"] == tf.__version__
    trained_at = datetime.datetime.fromisoformat(found["time"]).timestamp()
    assert abs(trained_at - (run / "provenance.json").stat().st_mtime) < 10


def test_the_index_is_of_the_embedded_tracks(run, workspace):
    tracks = load_track_embeddings(workspace.tracks, open_sessions(workspace.sessions))
    index = open_index(run / "index", tracks)
    np.testing.assert_array_equal(index.rows, np.flatnonzero(tracks.vectors.any(axis=1)))
    assert index.description.queries > 20


def test_models_are_equal_in_a_fresh_process(run, inputs, tmp_path):
    """The SavedModel without any of our code."""
    expected = load_model(run)(inputs)
    np.savez(tmp_path / "inputs.npz", **inputs)
    script = textwrap.dedent(
        """
        import sys
        import numpy as np
        import tensorflow as tf

        run, folder = sys.argv[1:]
        inputs = dict(np.load(f"{folder}/inputs.npz"))
        serve = tf.saved_model.load(f"{run}/export").signatures["serving_default"]
        served = serve(**{name: tf.constant(values) for name, values in inputs.items()})
        assert not any(name.startswith("cosernn_tf") for name in sys.modules)
        np.savez(f"{folder}/served.npz", **served)

        from pathlib import Path
        from cosernn_tf.models.base import load_model
        np.savez(f"{folder}/loaded.npz", **load_model(Path(run))(inputs))
        """
    )
    subprocess.run([sys.executable, "-c", script, run, tmp_path], check=True, timeout=300)
    for name in ("served", "loaded"):
        outputs = np.load(tmp_path / f"{name}.npz")
        assert set(outputs) == {PREDICTION, ATTENTION}
        for output in outputs:
            np.testing.assert_allclose(outputs[output], expected[output], atol=1e-6)


def test_the_serving_signature_is_the_schema_of_its_inputs(run):
    import tensorflow as tf

    serve = tf.saved_model.load(str(run / "export")).signatures["serving_default"]
    _, keywords = serve.structured_input_signature
    assert {name: (spec.shape.as_list(), spec.dtype.name) for name, spec in keywords.items()} == {
        model_input.name: (
            [None] * (1 if model_input.per is Per.USER else 2) + list(model_input.shape),
            model_input.dtype,
        )
        for model_input in MODEL_INPUTS
        if model_input.name in ONE_EPOCH.model.inputs
    }
    assert serve.structured_outputs[PREDICTION].shape.as_list() == [None, None, EMBEDDING_DIM]
    assert serve.structured_outputs[ATTENTION].shape.as_list() == [None, None, 2]


def test_a_finished_run_is_left_as_it_is(run, workspace):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert train_run(workspace, ONE_EPOCH, run="mine") == run
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert after == before


def test_a_run_killed_after_training_only_writes_what_is_missing(run, workspace, tmp_path):
    copy = Workspace(tmp_path / "workspace")
    shutil.copytree(workspace.root, copy.root)
    (copy.run("mine") / "_SUCCESS").unlink()
    weights = (run / MODEL_FILE).read_bytes()
    shutil.rmtree(copy.run("mine") / "index")
    train_run(copy, ONE_EPOCH, run="mine")
    assert (copy.run("mine") / "index" / "_SUCCESS").is_file()
    assert (copy.run("mine") / "history.json").read_text() == (run / "history.json").read_text()
    assert len((copy.run("mine") / MODEL_FILE).read_bytes()) == len(weights)


# Where track embeddings come from -----------------------------------------------------------------


@pytest.fixture
def bare(tmp_path) -> Workspace:
    """Session sequences without track embeddings."""
    workspace = Workspace(tmp_path / "workspace")
    write_sessions(workspace.sessions, random_table(0))
    return workspace


def write_playlists(path, tracks=("track-1", "track-2")):
    path.parent.mkdir(parents=True, exist_ok=True)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt") as file:
        file.write(3 * (json.dumps({"playlist_id": "p", "track_ids": tracks}) + "\n"))
    return path


def set_listens(workspace: Workspace, listens) -> None:
    """What sessionize records of where the log was."""
    path = workspace.sessions / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["options"]["listens"] = listens
    path.write_text(json.dumps(manifest))


def embedded(workspace: Workspace, playlists: Path | None = None, **options) -> tuple[str, int]:
    """Sentences that the embeddings were made from, and tracks that have one."""
    sessions = open_sessions(workspace.sessions)
    found = ensure_track_embeddings(workspace, sessions, playlists, **options)
    assert found.description == load_track_embeddings(workspace.tracks, sessions).description
    return found.description["sentences"], found.description["tracks_embedded"]


def test_embeddings_come_from_the_training_split_by_default(bare):
    write_playlists(bare.log / "playlists.jsonl.gz")
    sentences, tracks = embedded(bare)
    assert sentences == "training-split sessions"
    assert tracks > 100


@pytest.mark.parametrize("listens", ["listens", ["listens/0.parquet", "listens/1.parquet"]])
def test_embeddings_come_from_the_default_logs_playlists_if_sessions_do(bare, listens):
    write_playlists(bare.log / "playlists.jsonl.gz")
    whole = isinstance(listens, str)
    set_listens(
        bare, str(bare.log / listens) if whole else [str(bare.log / name) for name in listens]
    )
    assert embedded(bare) == ("playlists", 2)


def test_another_log_has_no_use_for_those_playlists(bare, tmp_path):
    write_playlists(bare.log / "playlists.jsonl.gz")
    set_listens(bare, [str(bare.log / "listens"), str(tmp_path / "mine.parquet")])
    assert embedded(bare)[0] == "training-split sessions"


def test_playlists_of_a_flag(bare, tmp_path):
    mine = write_playlists(tmp_path / "mine.jsonl", tracks=("track-1", "track-2", "track-3"))
    assert embedded(bare, mine) == ("playlists", 3)
    # The same again is no contradiction; others are.
    assert embedded(bare, mine) == ("playlists", 3)
    other = write_playlists(tmp_path / "other.jsonl")
    with pytest.raises(UserError, match=r"were not made from --playlists=.*other\.jsonl: run"):
        embedded(bare, other)
    with pytest.raises(UserError, match=r"--playlists=.*missing does not exist"):
        embedded(bare, tmp_path / "missing")
    assert embedded(bare) == ("playlists", 3)


def test_playlists_of_a_flag_in_another_format(bare, tmp_path):
    track_ids = ["track-1", "track-2", "track-3"]
    tracks = [{"pos": pos, "track_uri": track_id} for pos, track_id in enumerate(track_ids)]
    folders = tmp_path / "mine", tmp_path / "other"
    for folder, number in zip(folders, (3, 4), strict=True):
        folder.mkdir()
        text = json.dumps({"playlists": number * [{"tracks": tracks}]})
        (folder / "mpd.slice.0-999.json").write_text(text)
    for _ in range(2):
        assert embedded(bare, folders[0], playlists_format="mpd") == ("playlists", 3)
    with pytest.raises(UserError, match=r"/other --playlists_format=mpd: run cosernn_tf\.embed"):
        embedded(bare, folders[1], playlists_format="mpd")


def test_the_format_is_not_that_of_the_default_logs_playlists(bare):
    write_playlists(bare.log / "playlists.jsonl.gz")
    set_listens(bare, str(bare.log / "listens"))
    assert embedded(bare, playlists_format="mpd") == ("playlists", 2)
