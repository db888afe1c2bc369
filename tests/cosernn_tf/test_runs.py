"""Run directories: what is re-entered, refused, replaced and put back."""

import dataclasses
import json

import pytest

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.errors import UserError
from cosernn_tf.runs import (
    DIVERGED,
    RunIdentity,
    check_run_data,
    is_finished,
    open_run,
    training_run,
)
from cosernn_tf.tracks import load_track_embeddings
from cosernn_tf.workspace import SUCCESS, open_sessions
from tests.workspaces import random_table, write_sessions, write_tracks, write_workspace

CONFIG = TrainConfig(model=ModelConfig(lstm_units=6, dense_units=5))
IDENTITY = RunIdentity(CONFIG, sessions_sha256="aa", embeddings_sha256="bb")
OTHER = dataclasses.replace(IDENTITY, config=dataclasses.replace(CONFIG, seed=2))


class StopError(Exception):
    pass


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "mine"


def train(run, identity, *, overwrite=False, content="weights"):
    """Whether there was something to train."""
    with training_run(run, identity, overwrite=overwrite) as folder:
        if folder is not None:
            (folder / "model").write_text(content)
    return folder is not None


def attempt(run, identity, *, overwrite=False, error=StopError):
    """Trains until half of the model is written."""

    def train_half():
        with training_run(run, identity, overwrite=overwrite) as folder:
            assert folder is not None
            (folder / "model").write_text("half")
            raise error

    with pytest.raises(error):
        train_half()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_run_is_opened_and_left_as_it_is(run):
    assert train(run, IDENTITY)
    assert is_finished(run)
    assert open_run(run) == CONFIG
    assert not train(run, IDENTITY, content="others")
    assert (run / "model").read_text() == "weights"


def test_a_run_of_before_a_flag_existed_has_its_default(run):
    """As runs of before features and pathways could be chosen."""
    assert train(run, IDENTITY)
    path = run / "config.json"
    stored = json.loads(path.read_text())
    for name in ("features", "pathways"):
        del stored["config"]["model"][name]
    path.write_text(json.dumps(stored))
    assert open_run(run) == CONFIG
    assert not train(run, IDENTITY)
    model = dataclasses.replace(CONFIG.model, pathways=("played",))
    other = dataclasses.replace(IDENTITY, config=dataclasses.replace(CONFIG, model=model))
    with pytest.raises(UserError, match=r"differs in pathways \(\['played', 'skipped'\] there"):
        train(run, other)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"config": {"model": {"mood": 1}}}'])
def test_a_configuration_that_cannot_be_read_is_named(run, content):
    assert train(run, IDENTITY)
    (run / "config.json").write_text(content)
    with pytest.raises(
        UserError, match=r"config\.json is damaged or of another version .* --run=m"
    ):
        open_run(run)


def test_an_interrupted_run_is_entered_again(run):
    attempt(run, IDENTITY)
    assert not is_finished(run)
    (run / ".config.json.1f2e").touch()  # as of a process that was killed
    with training_run(run, IDENTITY, overwrite=False) as folder:
        assert folder == run
        assert (run / "model").read_text() == "half"
        assert names(run) == [".lock", "config.json", "model"]
    assert names(run) == ["_SUCCESS", "config.json", "model"]


def test_two_processes_do_not_train_in_one_directory(run):
    for overwrite in (False, True):
        with training_run(run, IDENTITY, overwrite=overwrite) as folder:
            assert folder is not None
            (folder / "model").write_text("half")
            with (
                pytest.raises(UserError, match=r"another process trains in .*mine: wait"),
                training_run(run, IDENTITY, overwrite=overwrite),
            ):
                pytest.fail("entered")
            assert (folder / "model").read_text() == "half"
    assert open_run(run) == CONFIG


def test_a_run_that_has_diverged_is_not_tried_again(run):
    attempt(run, IDENTITY)
    (run / DIVERGED).write_text("the loss is nan in epoch 3\n")
    with pytest.raises(
        UserError, match=r"the same again \(remove .*diverged\.txt .*: the loss is n"
    ):
        train(run, IDENTITY)
    with pytest.raises(UserError, match=r"differs in seed"):
        train(run, OTHER)
    assert train(run, OTHER, overwrite=True)
    attempt(run, IDENTITY, overwrite=True)
    (run.parent / ".attempts" / "mine" / DIVERGED).write_text("the loss is nan in epoch 3\n")
    with pytest.raises(UserError, match=r"the same again"):
        train(run, IDENTITY, overwrite=True)
    (run.parent / ".attempts" / "mine" / DIVERGED).unlink()
    assert train(run, IDENTITY, overwrite=True)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("identity", "difference"),
    [
        (OTHER, r"seed \(1 there, 2 asked for\)"),
        (dataclasses.replace(IDENTITY, sessions_sha256="cc"), r"sessions_sha256 \(aa there"),
        (dataclasses.replace(IDENTITY, embeddings_sha256="cc"), r"embeddings_sha256 \(bb there"),
    ],
)
def test_a_run_that_differs_is_refused(run, finished, identity, difference):
    if finished:
        train(run, IDENTITY)
    else:
        attempt(run, IDENTITY)
    before = {path: path.read_bytes() for path in run.iterdir()}
    with (
        pytest.raises(UserError, match=rf"differs in {difference}.*--overwrite"),
        training_run(run, identity, overwrite=False),
    ):
        pytest.fail("entered")
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_what_is_no_run_is_refused(run):
    run.mkdir(parents=True)
    (run / "thesis.tex").touch()
    for overwrite in (False, True):
        with (
            pytest.raises(UserError, match="is no run"),
            training_run(run, IDENTITY, overwrite=overwrite),
        ):
            pytest.fail("entered")
    assert names(run) == ["thesis.tex"]


@pytest.mark.parametrize("identity", [IDENTITY, OTHER])
def test_overwriting_replaces_the_run(run, identity):
    train(run, IDENTITY)
    (run / "more").touch()
    assert train(run, identity, overwrite=True, content="new")
    assert open_run(run) == identity.config
    assert names(run) == ["_SUCCESS", "config.json", "model"]
    assert names(run.parent) == ["mine"]
    assert (run / "model").read_text() == "new"


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_overwriting_that_stops_leaves_the_run_and_goes_on(run, error):
    train(run, IDENTITY)
    attempt(run, OTHER, overwrite=True, error=error)
    assert open_run(run) == CONFIG
    assert (run / "model").read_text() == "weights"
    with training_run(run, OTHER, overwrite=True) as folder:
        assert folder is not None
        assert (folder / "model").read_text() == "half"
        assert folder.name == "mine"
    assert open_run(run) == OTHER.config
    assert (run / "model").read_text() == "half"
    assert names(run.parent) == ["mine"]


def test_an_attempt_with_other_flags_begins_anew(run):
    train(run, IDENTITY)
    attempt(run, OTHER, overwrite=True)
    with training_run(run, IDENTITY, overwrite=True) as folder:
        assert folder is not None
        assert names(folder) == [".lock", "config.json"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_process_that_is_killed_between_two_names(run, overwrite):
    """The older run has lost its own, and the finished attempt has not got it."""
    train(run, IDENTITY)
    attempt(run, OTHER, overwrite=True)
    (run.parent / ".attempts" / "mine" / SUCCESS).touch()
    (run.parent / ".replaced").mkdir()
    run.rename(run.parent / ".replaced" / "mine")
    assert not train(run, OTHER, overwrite=overwrite)
    assert open_run(run) == OTHER.config
    assert (run / "model").read_text() == "half"
    assert names(run.parent) == ["mine"]


def test_a_configuration_that_is_damaged(run):
    train(run, IDENTITY)
    (run / "config.json").write_text('{"config": ')
    for enter in (lambda: train(run, IDENTITY), lambda: open_run(run)):
        with pytest.raises(UserError, match=r"config\.json is damaged .*--overwrite"):
            enter()
    assert train(run, IDENTITY, overwrite=True)
    assert open_run(run) == CONFIG


def test_runs_that_cannot_be_opened(run):
    with pytest.raises(UserError, match=r"run 'mine' does not exist in .* \(there is none\)"):
        open_run(run)
    train(run.parent / "a", IDENTITY)
    (run.parent / ".attempts").mkdir()
    with pytest.raises(UserError, match=r"run 'mine' does not exist in .* \(there are a\)"):
        open_run(run)
    attempt(run, IDENTITY)
    with pytest.raises(UserError, match=r"is not a finished run: run .* --run=mine again"):
        open_run(run)


def test_a_run_on_other_data_is_refused(tmp_path):
    workspace = write_workspace(tmp_path)
    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    run = workspace.run("mine")
    train(run, RunIdentity.of(CONFIG, sessions, tracks))
    check_run_data(run, sessions, tracks)
    moved = write_sessions(tmp_path / "again", random_table(0))
    check_run_data(run, moved, tracks)

    other_tracks = write_tracks(tmp_path / "tracks-2", sessions, seed=1)
    with pytest.raises(UserError, match="was trained on other track embeddings"):
        check_run_data(run, sessions, other_tracks)
    other_sessions = write_sessions(tmp_path / "sessions-2", random_table(1))
    with pytest.raises(UserError, match="was trained on other session sequences"):
        check_run_data(run, other_sessions, tracks)
