"""`recommend --all_users` against the answers to one user at a time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cosernn_tf.dataset import read_all
from cosernn_tf.errors import UserError
from cosernn_tf.retrieval.index import build_index
from cosernn_tf.runs import INDEX
from cosernn_tf.serving import everyone
from cosernn_tf.serving.context_file import combinations, read_contexts
from cosernn_tf.serving.everyone import SCHEMA, recommend_all
from cosernn_tf.serving.generation import generation_of
from cosernn_tf.serving.listens import Context
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.workspace import Workspace
from tests.cosernn_tf.retrieval.runs import write_run
from tests.entry_points import run_each
from tests.workspaces import write_workspace

MIDDLE = datetime(2019, 5, 10, 8, tzinfo=UTC)
CONTEXTS = [
    Context(MIDDLE + timedelta(days=10), "mobile"),
    Context(MIDDLE, "desktop"),
    Context(MIDDLE, "mobile"),
    Context(MIDDLE - timedelta(days=90), "mobile"),
]
"""Not in the order of time; before the last there is no session."""


@pytest.fixture(scope="module")
def recommender(tmp_path_factory) -> Recommender:
    workspace = write_workspace(tmp_path_factory.mktemp("workspace"))
    run = write_run(workspace, "small")
    build_index(run.embeddings, run.embeddings.vectors[:5], run.path / INDEX)
    return Recommender.open(workspace, "small")


@pytest.fixture(scope="module")
def workspace(recommender) -> Workspace:
    return Workspace(recommender.run.sessions.path.parent)


def test_each_row_is_the_answer_to_one_user(recommender, tmp_path, monkeypatch):
    # In groups of three users.
    monkeypatch.setattr(everyone, "_TRACKS_PER_GROUP", 3 * 7 * len(CONTEXTS))
    users = [user.decode() for user in read_all(recommender.run.sessions).user_id]
    output = tmp_path / "new" / "all.parquet"
    written = recommend_all(recommender, CONTEXTS, output, k=7)
    file = pq.ParquetFile(output)
    assert file.metadata.num_row_groups > 1
    assert file.schema_arrow.equals(SCHEMA)
    assert file.schema_arrow.metadata == {
        b"run": b"small",
        b"generation": generation_of(recommender.run).encode(),
        b"k": b"7",
    }
    rows = file.read().to_pylist()
    assert (written.users, written.rows) == (len(users), len(rows))
    expected = [(user, context) for user in users for context in CONTEXTS]
    for row, (user, context) in zip(rows, expected, strict=True):
        answer = recommender.recommend_from_log(user, context, 7)
        assert (row["user_id"], row["at"], row["device"]) == (user, answer.at, answer.device)
        assert row["stream_source"] is None
        assert row["earlier_sessions"] == answer.earlier_sessions
        assert row["tracks"] == [track.track_id for track in answer.tracks]
        np.testing.assert_allclose(
            row["scores"], [track.score for track in answer.tracks], atol=1e-5
        )
    earlier = np.array([row["earlier_sessions"] for row in rows]).reshape(-1, len(CONTEXTS))
    assert (earlier[:, 0] > earlier[:, 1]).sum() >= 10
    assert not earlier[:, 3].any()
    assert [path.name for path in output.parent.iterdir()] == ["all.parquet"]


def test_a_job_that_fails_leaves_the_older_file(recommender, tmp_path, monkeypatch):
    output = tmp_path / "all.parquet"
    recommend_all(recommender, CONTEXTS[:1], output, k=2)
    before = output.read_bytes()
    # As a killed process leaves it.
    (tmp_path / ".all.parquet.part").write_bytes(b"half")

    def fail(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(recommender.index.__class__, "search", fail)
        with pytest.raises(KeyboardInterrupt):
            recommend_all(recommender, CONTEXTS[:1], output, k=3)
    assert output.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["all.parquet"]
    recommend_all(recommender, CONTEXTS[:1], output, k=3)
    assert len(pq.read_table(output)["tracks"][0]) == 3


@pytest.mark.parametrize(
    ("contexts", "k", "says"),
    [
        ([], 5, "no context"),
        ([*CONTEXTS, Context(MIDDLE, "toaster")], 5, "'toaster' is unknown"),
        (CONTEXTS, 182, "k=182 is more"),
    ],
)
def test_refuses_before_it_writes(recommender, tmp_path, contexts, k, says):
    with pytest.raises(UserError, match=says):
        recommend_all(recommender, contexts, tmp_path / "all.parquet", k=k)
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written(recommender, tmp_path):
    with pytest.raises(UserError, match="is a directory"):
        recommend_all(recommender, CONTEXTS, tmp_path, k=5)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        recommend_all(recommender, CONTEXTS, tmp_path / "file" / "all.parquet", k=5)


# Contexts ----------------------------------------------------------------------------------------


def test_flags_give_every_combination():
    found = combinations(
        at=["2019-05-10T08:00:00Z", "2019-05-11T08:00+02:00"],
        devices=["mobile", "web"],
        stream_source="charts",
    )
    assert [(c.at.day, c.at.utcoffset(), c.device) for c in found] == [
        (10, timedelta(0), "mobile"),
        (10, timedelta(0), "web"),
        (11, timedelta(hours=2), "mobile"),
        (11, timedelta(hours=2), "web"),
    ]
    assert {c.stream_source for c in found} == {"charts"}


def test_rows_of_a_file(tmp_path):
    path = tmp_path / "contexts.csv"
    path.write_text(
        "\ufeffdevice,at,stream_source\nmobile,2019-05-10T08:00:00Z,\n\nweb,2019-05-10T09:00Z,radio\n"
    )
    assert read_contexts(path) == [
        Context(MIDDLE, "mobile"),
        Context(MIDDLE + timedelta(hours=1), "web", "radio"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has the columns : it needs at,device"),
        ("at\n2019-05-10T08:00Z\n", "has the columns at: it needs"),
        ("at,device,hour\n", "has the columns at,device,hour: it needs"),
        ("at,device,at\n", "has the columns at,device,at: it needs"),
        ("at,device\n", "has no contexts"),
        ("at,device\n2019-05-10T08:00Z\n", "context 1: 1 values for 2 columns"),
        ("at,device\n2019-05-10T08:00Z,web\nnoon,web\n", "context 2: --at=noon is no date"),
        ('at,device\n"2019,web\n', "cannot be read as CSV"),
    ],
)
def test_a_file_of_contexts_that_is_none(tmp_path, text, says):
    path = tmp_path / "contexts.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        read_contexts(path)
    with pytest.raises(UserError, match="nowhere does not exist"):
        read_contexts(Path("nowhere"))


# The command -------------------------------------------------------------------------------------


def test_the_command(recommender, workspace, tmp_path):
    output = f"--output={tmp_path}/all.parquet"
    refused = {
        "--output is missing": ["--all_users"],
        "exclude each other": ["--all_users", "--user=ada", output],
        "leave out --device": ["--all_users", "--contexts=x", "--device=web", output],
        "--output is for --all_users only": ["--user=ada", output],
        "--contexts=x does not exist": ["--all_users", "--contexts=x", output],
    }
    at = "2019-05-10T08:00:00Z,2019-05-20T08:00:00+02:00"
    flags = [f"--workspace={workspace.root}", "--run=small", "--all_users", output]
    done, *others = run_each(
        "cosernn_tf.recommend",
        [[*flags, "--device=web,tablet", f"--at={at}", "--k=4"], *refused.values()],
        folder=tmp_path,
        output=tmp_path / "printed",
        preload=["cosernn_tf.serving.everyone"],
    )
    assert done.code == 0, done.stderr
    assert "users/s" in done.stderr
    rows = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert len(rows) == 4 * 12
    answer = recommender.recommend_from_log(rows[0]["user_id"], Context(MIDDLE, "web"), 4)
    assert rows[0]["at"] == answer.at
    assert rows[0]["tracks"] == [track.track_id for track in answer.tracks]
    for result, says in zip(others, refused, strict=True):
        assert result.code == 2
        assert says in result.error
