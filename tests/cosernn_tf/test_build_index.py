"""The command that indexes a run again."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosernn_tf.dataset import read_shards
from cosernn_tf.retrieval.index import build_index, open_index
from cosernn_tf.trained_run import TrainedRun
from tests import entry_points
from tests.cosernn_tf.retrieval.runs import write_run
from tests.entry_points import run_each
from tests.workspaces import write_workspace


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TrainedRun:
    return write_run(write_workspace(tmp_path_factory.mktemp("workspace")), "small")


def command(run: TrainedRun, *flags: str) -> subprocess.CompletedProcess[str]:
    workspace = run.sessions.path.parent
    return subprocess.run(
        [sys.executable, "-m", "cosernn_tf.build_index", f"--workspace={workspace}", *flags],
        capture_output=True,
        text=True,
        check=False,
    )


def test_measures_scann_on_predictions_for_the_validation_split(run):
    done = command(run, "--run=small", "--index=scann", "--min_recall=0.9", "--k=20")
    assert done.returncode == 0, done.stderr
    index = open_index(run.path / "index", run.embeddings)
    split = run.sessions.manifest.split
    starts = [
        start
        for shard in read_shards(run.sessions)
        for start in shard.session_start.tolist()
        if split.validation_start <= start < split.test_start
    ]
    description = index.description
    assert (description.kind, description.k, description.min_recall) == ("scann", 20, 0.9)
    assert description.recall >= 0.9
    assert description.queries == len(starts) > 20
    assert f"recall@20 {description.recall:.4f}" in done.stderr


def test_scann_that_is_missing_is_refused_before_the_predictions(run):
    """Without TensorFlow, which these need."""
    flags = [f"--workspace={run.sessions.path.parent}", "--run=small", "--index=scann"]
    code = (
        "import runpy, sys; sys.modules.update(scann=None, tensorflow=None, keras=None); "
        f"sys.argv[1:] = {flags!r}; "
        "runpy.run_module('cosernn_tf.build_index', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ScaNN cannot be imported (")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--run=big"], "run 'big' does not exist"),
        (["--run=small", "--index=faiss"], "--index=faiss"),
        (["--run=small", "--min_recall=1.5"], "--min_recall=1.5"),
        (["--run=small", "--k=0"], "--k=0"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(run, flags, says):
    done = command(run, *flags)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert says in line


def test_new_tracks_are_recommended_by_their_ids_and_removed_ones_are_not(tmp_path):
    """All but one are removed, so that it does not matter what is predicted."""
    run = write_run(write_workspace(tmp_path / "workspace"), "small")
    build_index(run.embeddings, run.embeddings.vectors[:5], run.path / "index")
    ids = run.sessions.tracks["track_id"].to_pylist()
    kept = run.embeddings.vectors[17]
    new = {"track_id": ["opposite", "same"], "embedding": [-kept, 3 * kept]}
    pq.write_table(pa.table(new), tmp_path / "new.parquet")
    (tmp_path / "gone.txt").write_text("\n".join(ids[:17] + ids[18:]))
    workspace = f"--workspace={tmp_path / 'workspace'}"
    changes = ["--run=small", "--new_tracks=new.parquet", "--remove_tracks=gone.txt"]
    changed, refused = run_each(
        "cosernn_tf.build_index",
        [[workspace, *changes], [workspace, "--k=5", *changes]],
        folder=tmp_path,
        output=tmp_path / "output",
        preload=["tensorflow"],
    )
    assert changed.code == 0, changed.stderr
    assert "3 tracks (2 added since the embeddings were made, 199 removed)" in changed.stderr
    assert refused.code == 2
    assert refused.error.startswith("--k has no use where an index is changed")
    done = entry_points.run(
        "cosernn_tf.recommend",
        [workspace, "--run=small", "--user=user-1", "--k=3", "--format=json"],
        folder=tmp_path,
    )
    scores = {track["track_id"]: track["score"] for track in json.loads(done.stdout)["tracks"]}
    assert set(scores) == {ids[17], "same", "opposite"}
    assert scores["same"] == pytest.approx(scores[ids[17]], abs=1e-6)
    assert scores["opposite"] == pytest.approx(-scores["same"], abs=1e-6)
