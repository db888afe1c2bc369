"""Studies on disk: what is kept, refused, forgotten and reported; without any training."""

import csv
import io
import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.errors import UserError
from cosernn_tf.runs import is_finished
from cosernn_tf.training.summaries import TENSORBOARD
from cosernn_tf.workspace import Workspace
from experiments.tuning.advice import Strategy
from experiments.tuning.hparams import write_hparams
from experiments.tuning.plots import write_plots
from experiments.tuning.report import BEST_FLAGS, CSV, MARKDOWN, write_tables
from experiments.tuning.space import parse_space
from experiments.tuning.study import KEPT, Study, StudyPlan, make_trials, open_study
from experiments.tuning.trials import State
from tests.workspaces import write_workspace

from .trials import trial_of

PLAN = StudyPlan(
    name="mine",
    space=parse_space(["learning_rate=0.1,0.05,0.025", "batch_size=2,4"]),
    strategy=Strategy(pruner="median"),
    max_trials=3,
    training_flags=("--max_epochs=2", "--model=rrn"),
)
CONFIG = TrainConfig(model=ModelConfig("rrn"), learning_rate=0.05, batch_size=4, max_epochs=2)
TRIALS = [
    trial_of(0, [0.2, 0.4], flags={"learning_rate": 0.1, "batch_size": 2}),
    trial_of(1, [0.5, 0.3], flags={"learning_rate": 0.05, "batch_size": 4}),
    trial_of(2, [0.1], flags={"learning_rate": 0.025, "batch_size": 2}, state=State.PRUNED),
    trial_of(
        3,
        [],
        flags={"learning_rate": 0.1, "batch_size": 4},
        state=State.FAILED,
        error="the loss, nan",
    ),
]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Workspace:
    return write_workspace(tmp_path_factory.mktemp("original"))


@pytest.fixture
def workspace(original, tmp_path) -> Workspace:
    shutil.copytree(original.root, tmp_path / "workspace")
    return Workspace(tmp_path / "workspace")


def write_run(path: Path, *, embeddings: str = "e") -> None:
    path.mkdir(parents=True)
    identity = {"config": CONFIG.to_dict(), "embeddings_sha256": embeddings}
    (path / "config.json").write_text(json.dumps(identity))
    for name in ("flags.txt", "history.json", "model.keras", "_SUCCESS"):
        (path / name).touch()
    for name in ("index", "export", "checkpoints", "tensorboard"):
        (path / name).mkdir()
        (path / name / "file").touch()


def names_in(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()}


# Runs --------------------------------------------------------------------------------------------


def test_only_the_best_run_is_kept_whole(workspace):
    assert TENSORBOARD in KEPT
    kept = {"config.json", "flags.txt", "history.json", "tensorboard"}
    with open_study(workspace, PLAN, overwrite=False) as study:
        for trial in TRIALS:
            write_run(study.run(trial.number))
            study.add(trial)
        assert study.trials == TRIALS
        assert is_finished(study.run(1))
        assert names_in(study.run(1)) > kept | {"model.keras", "index", "export"}
        for number in (0, 2, 3):
            assert names_in(study.run(number)) == kept
            assert (study.run(number) / "tensorboard" / "file").is_file()


def test_runs_of_a_study_share_what_the_workspace_has(workspace):
    with open_study(workspace, PLAN, overwrite=False) as study:
        inner = Workspace(study.folder)
    assert inner.sessions.resolve() == workspace.sessions.resolve()
    assert inner.tracks.resolve() == workspace.tracks.resolve()
    assert not inner.log.exists()
    workspace.log.mkdir()
    assert inner.log.is_dir()


def test_failed_trials_are_forgotten_and_so_is_what_had_not_ended(workspace):
    with open_study(workspace, PLAN, overwrite=False) as study:
        for trial in TRIALS:
            write_run(study.run(trial.number))
            study.add(trial)
        write_run(study.run(4))
        study.forget_failed()
        assert study.trials == TRIALS[:3]
        assert names_in(study.run(0).parent) == {"trial-000", "trial-001", "trial-002"}


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": Strategy()}, r"differs in pruner \({'pruner': 'median'} there"),
        ({"strategy": Strategy(pruner="median", seed=2)}, "differs in seed"),
        ({"training_flags": ("--max_epochs=3", "--model=rrn")}, "differs in training_flags"),
        ({"space": parse_space(["batch_size=2,4"])}, "differs in search"),
    ],
)
def test_another_study_of_that_name(workspace, change, message):
    other = StudyPlan(**{**vars(PLAN), **change})
    with open_study(workspace, PLAN, overwrite=False) as study:
        study.add(TRIALS[0])
    with pytest.raises(UserError, match=message), open_study(workspace, other, overwrite=False):
        pass
    assert study.trials == TRIALS[:1]
    with open_study(workspace, other, overwrite=True) as study:
        assert study.trials == []


def test_more_trials_are_the_same_study(workspace):
    with open_study(workspace, PLAN, overwrite=False) as study:
        study.add(TRIALS[0])
    more = StudyPlan(**{**vars(PLAN), "max_trials": 6})
    with open_study(workspace, more, overwrite=False) as study:
        assert study.trials == TRIALS[:1]


def test_other_session_sequences(workspace):
    with open_study(workspace, PLAN, overwrite=False):
        pass
    shutil.rmtree(workspace.sessions)
    write_workspace(workspace.root, seed=1)
    with (
        pytest.raises(UserError, match="differs in sessions_sha256"),
        open_study(workspace, PLAN, overwrite=False),
    ):
        pass


def test_other_track_embeddings(workspace):
    with open_study(workspace, PLAN, overwrite=False) as study:
        write_run(study.run(0))
        study.add(TRIALS[0])
        with pytest.raises(UserError, match="trial-000 was trained on other track embeddings"):
            next(make_trials(study))


def test_a_directory_that_is_no_study(workspace):
    folder = workspace.tuning("mine")
    folder.mkdir(parents=True)
    (folder / "thesis.txt").touch()
    for overwrite in (False, True):
        with (
            pytest.raises(UserError, match=r"mine is no study \(it has no study.json\)"),
            open_study(workspace, PLAN, overwrite=overwrite),
        ):
            pass
    assert names_in(folder) == {"thesis.txt"}


def test_two_at_once(workspace):
    with (
        open_study(workspace, PLAN, overwrite=False),
        pytest.raises(UserError, match="another process is at work in"),
        open_study(workspace, PLAN, overwrite=True),
    ):
        pass


# Reports -----------------------------------------------------------------------------------------


@pytest.fixture
def reported(workspace) -> tuple[Study, str]:
    with open_study(workspace, PLAN, overwrite=False) as study:
        write_run(study.run(1))
        return study, write_tables(study, TRIALS)


def test_the_table(reported):
    study, text = reported
    assert (study.folder / MARKDOWN).read_text(encoding="utf-8") == text
    assert "4 trials: 2 finished, 1 pruned, 1 failed. Sampler grid, pruner median, seed 1." in text
    rows = [line.split() for line in text.splitlines() if line.startswith("|")]
    cells = [[cell for cell in row if cell != "|"] for row in rows if "---" not in row[1]]
    assert cells == [
        ["trial", "learning_rate", "batch_size", "score", "best", "epoch", "epochs", "sessions/s",
         "seconds", "state"],
        ["1", "0.05", "4", "0.5000", "1", "2", "100", "4.0", "finished"],
        ["0", "0.1", "2", "0.4000", "2", "2", "100", "4.0", "finished"],
        ["2", "0.025", "2", "0.1000", "1", "1", "100", "2.0", "pruned"],
        ["3", "0.1", "4", "-", "-", "0", "-", "0.0", "failed"],
    ]  # fmt: skip
    assert "- Trial 3 failed: the loss, nan" in text


def test_the_table_as_csv(reported):
    study, _ = reported
    rows = list(csv.DictReader(io.StringIO((study.folder / CSV).read_text(encoding="utf-8"))))
    assert [row["trial"] for row in rows] == ["1", "0", "2", "3"]
    assert rows[0] == {
        "trial": "1",
        "learning_rate": "0.05",
        "batch_size": "4",
        "state": "finished",
        "score": "0.5",
        "best_epoch": "1",
        "epochs": "2",
        "sessions_per_second": "100.0",
        "seconds": "4.0",
        "error": "",
    }
    assert (rows[3]["score"], rows[3]["epochs"], rows[3]["error"]) == ("", "0", "the loss, nan")


def test_the_best_flags_are_those_of_its_run(reported):
    study, _ = reported
    lines = (study.folder / BEST_FLAGS).read_text(encoding="utf-8").splitlines()
    assert "validation score 0.5000 in epoch 1 (trial 1)" in lines[0]
    workspace = study.folder.parents[1]
    assert f"--workspace={workspace} --flagfile={study.folder}/best.flags" in lines[2]
    flags = [line for line in lines if not line.startswith("#")]
    assert flags == ["--run=mine-best", *CONFIG.to_flags().splitlines()]


@pytest.mark.parametrize("searches", [["learning_rate=0.1,0.05,0.025", "batch_size=2,4"],
                                      ["learning_rate=0.01..0.2"]])  # fmt: skip
@pytest.mark.parametrize("trials", [TRIALS, TRIALS[3:], []], ids=len)
def test_plots_are_of_all_trials_with_a_cosine(tmp_path, searches, trials):
    write_plots(tmp_path / "plots", parse_space(searches), trials)
    first = {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    assert set(first) == {"flags.svg", "trials.svg", "epochs.svg"}
    for content in first.values():
        assert ElementTree.fromstring(content).tag.endswith("svg")
    text = first["epochs.svg"].decode()
    labels = [label for label in ("best trial", "pruned", "failed") if f"<!-- {label}" in text]
    assert labels == (["best trial", "pruned"] if trials is TRIALS else [])
    write_plots(tmp_path / "plots", parse_space(searches), trials)
    assert {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()} == first


def test_tensorboard_has_a_row_a_trial(tmp_path):
    write_hparams(tmp_path, PLAN.space, TRIALS[:2])
    write_hparams(tmp_path, PLAN.space, TRIALS)
    events = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    events.Reload()
    found = events.PluginRunToTagToContent(metadata.PLUGIN_NAME)
    assert set(found) == {".", *(trial.name for trial in TRIALS)}
    for trial in TRIALS:
        data = metadata.parse_session_start_info_plugin_data(
            found[trial.name][metadata.SESSION_START_INFO_TAG]
        )
        hparams = data.hparams
        assert hparams["state"].string_value == trial.state
        for flag, value in trial.flags.items():
            assert hparams[flag].number_value == value
    (value,) = events.Tensors("trial-001", "score")
    assert tf.make_ndarray(value.tensor_proto) == 0.5
    config = metadata.parse_experiment_plugin_data(found["."][metadata.EXPERIMENT_TAG])
    assert [info.name for info in config.hparam_infos] == ["learning_rate", "batch_size"]
    assert next(info.name.tag for info in config.metric_infos) == "score"
