"""WORKSPACE.md: its tables are those of the code, it has every file, and its examples run."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.inspection.card import DATA_CARD
from beam_pipelines.inspection.config import DescribeConfig
from beam_pipelines.inspection.plots import PLOTS
from beam_pipelines.inspection.run import STATISTICS, describe
from beam_pipelines.job import sessionize
from beam_pipelines.synthetic import writing
from cosernn_tf import runs, tracks, workspace
from cosernn_tf.analysis import coverage as analysis_coverage
from cosernn_tf.analysis import result as analysis_result
from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.run import analyze
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.clusters import Bootstrap
from cosernn_tf.evaluation.config import METRICS_FILE, SCORES_FILE, EvaluationConfig
from cosernn_tf.evaluation.report import metrics_json
from cosernn_tf.evaluation.run import evaluate_runs
from cosernn_tf.evaluation.summary import summarize
from cosernn_tf.models import base
from cosernn_tf.retrieval import approximate, changes, description, exact, index
from cosernn_tf.training import checkpoints, summaries
from cosernn_tf.workspace import Manifest, Workspace, open_sessions
from cosernn_tf.workspace_page import TABLES, render
from experiments import table_report, table_runs
from experiments.reporting import run as report_run
from experiments.tuning import hparams, plots, study, trials
from experiments.tuning import report as tuning_report
from tests.cosernn_tf.evaluation.test_report import make_scores
from tests.entry_points import run
from tests.workspaces import write_tracks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "WORKSPACE.md").read_text(encoding="utf-8")

LISTENS = """\
user_id,track_id,timestamp,ms_played,device,track_duration_ms,utc_offset_minutes,skipped
"""
BAD_ROWS = """\
,t1,1554100000,5,web,100,0,
u1,,1554100000,5,web,100,0,
u1,t1,,5,web,100,0,
u1,t1,yesterday,5,web,100,0,
u1,t1,1554100000000,5,web,100,0,
u1,t1,1554100000,-5,web,100,0,
u1,t1,1554100000,5,web,-100,0,
u1,t1,1554100000,5,web,100,5000,
u1,t1,1554100000,5,web,100,0,perhaps
u1,t1,1554100000
"""
LONG_ROW = f"{'u' * 2**17},t1,1554100000,5,web,100,0,\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with a workspace, made by the jobs but for the training."""
    root = tmp_path_factory.mktemp("page")
    lines = [LISTENS, BAD_ROWS, LONG_ROW]
    for number in range(400):
        start = 1_554_100_000 + 5_000 * number
        device = ("mobile", "DESKTOP", "fridge")[number % 3]
        lines.append(f"u{number % 2},t{number % 7},{start},40000,{device},200000,60,\n" * 2)
    (root / "listens.csv").write_text("".join(lines))
    (root / "ids.key").write_text("a key of the test, of no other use\n")
    (root / "users.csv").write_text("user_id,age\nu0,30\nu0,31\nu9,20\n,4\nu1,old\nu1\n")
    space = Workspace(root / "workspace")
    sessionize(
        SessionizeConfig(
            listens=(str(root / "listens.csv"),),
            users=str(root / "users.csv"),
            output=space.sessions,
            num_shards=2,
            max_bad_fraction=1,
        )
    )
    write_tracks(space.tracks, open_sessions(space.sessions))
    evaluate_runs(space, [], config=EvaluationConfig(catalogue=True))
    analyze(space, config=AnalysisConfig())
    describe(DescribeConfig(sessions=space.sessions, output=space.description))
    return root


# Tables ------------------------------------------------------------------------------------------


def test_the_page_is_up_to_date():
    assert render(PAGE) == PAGE, "run python -m cosernn_tf.workspace_page"


def test_tables_are_rewritten_and_the_rest_is_left():
    page = "intro\n" + "".join(f"<!-- begin {t} -->\nold\n<!-- end -->\n{t}!\n" for t in TABLES)
    rendered = render(page)
    assert "old" not in rendered
    assert rendered.startswith("intro\n<!-- begin listens -->\n| column | type |")
    assert "| `track_id` | string | no | opaque |\n" in rendered
    assert "| `track` | `(T, 10)` | int64 |" in rendered
    assert "| `last_played` | `(batch, sessions, 40)` | float32 |" in rendered
    assert "| `age_bucket` | `(batch)` | int32 |" in rendered
    assert "| `ap_25` | double | yes |" in rendered
    assert "| late evening | 21, 22, 23, 0 |\n<!-- end -->\nperiods!\n" in rendered
    assert render(rendered) == rendered


@pytest.mark.parametrize(
    "spoil",
    [
        lambda page: page.replace("begin scores", "begin scorings"),
        lambda page: page.replace("<!-- begin scores -->", ""),
        lambda page: page + "<!-- begin scores -->\n<!-- end -->",
        lambda page: "",
    ],
)
def test_a_table_that_is_missing_unknown_or_twice_there(spoil):
    with pytest.raises(UserError, match=r"expected each of listens, devices, .* once"):
        render(spoil(PAGE))


def test_the_command(tmp_path):
    stale = PAGE.replace("| `user_id` | string | no |", "| `user` | string | no |")
    (tmp_path / "WORKSPACE.md").write_text(stale, encoding="utf-8")
    assert run("cosernn_tf.workspace_page", [], folder=tmp_path).code == 0
    assert (tmp_path / "WORKSPACE.md").read_text(encoding="utf-8") == PAGE
    missing = run("cosernn_tf.workspace_page", ["--page=nowhere.md"], folder=tmp_path)
    assert missing.code == 2
    assert "--page=nowhere.md does not exist" in missing.error


# Content -----------------------------------------------------------------------------------------


def section(title: str) -> str:
    """The text below a heading, up to the next one of its level."""
    (found,) = re.findall(rf"^## `{re.escape(title)}`\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return str(found)


@pytest.mark.parametrize(
    ("title", "files"),
    [
        ("log/", [writing.LISTENS, writing.PLAYLISTS, writing.USERS, writing.SUMMARY]),
        ("sessions/", [*workspace.VOCABULARIES, workspace.MANIFEST]),
        ("tracks/", [tracks.EMBEDDINGS, tracks.DESCRIPTION, tracks.KEYED_VECTORS]),
        (
            "runs/<name>/",
            [
                runs.CONFIG,
                runs.FLAGFILE,
                runs.HISTORY,
                runs.EXPORT,
                runs.INDEX,
                base.MODEL_FILE,
                checkpoints.CHECKPOINTS,
                Path(checkpoints.BEST_WEIGHTS).name,
                summaries.TENSORBOARD,
                description.DESCRIPTION,
                index.ROWS,
                changes.ADDED,
                changes.REMOVED,
                exact.VECTORS,
                approximate.ASSETS,
                base.PREDICTION,
                base.ATTENTION,
            ],
        ),
        ("evaluation/", [METRICS_FILE, SCORES_FILE]),
        (
            "analysis/",
            [analysis_result.ANALYSIS_FILE, *map("{}.csv".format, analysis_result.TABLES)],
        ),
        ("description/", [STATISTICS, DATA_CARD, PLOTS]),
        ("report/", [report_run.PAGE, f"{report_run.TABLES}/<name>.csv"]),
    ],
)
def test_every_file_of_a_directory_is_there(title, files):
    for file in [*files, workspace.SUCCESS]:
        assert f"`{file}" in section(title), file


def test_every_field_of_an_index_is_there():
    for form in (description.IndexDescription, approximate.ScannSettings):
        for field in dataclasses.fields(form):
            assert f"`{field.name}`" in section("runs/<name>/"), field.name
    for name in changes.ADDED_SCHEMA.names:
        assert f"`{name}`" in section("runs/<name>/"), name


def test_every_file_and_column_of_a_table_is_there():
    text = section("tables/")
    files = (table_runs.EVALUATION, table_runs.MARKDOWN, table_runs.CSV, table_runs.COMMAND)
    for file in files:
        assert f"`table2/{file}" in text, file
    for column in table_report.COLUMNS:
        assert f"`{column}`" in text, column


def test_every_file_and_column_of_a_study_is_there():
    text = section("tuning/<study>/")
    for file in (
        study.STUDY,
        study.TRIALS,
        tuning_report.MARKDOWN,
        tuning_report.CSV,
        tuning_report.BEST_FLAGS,
        hparams.TENSORBOARD,
        *(f"{plots.PLOTS}/{name}" for name in plots.NAMES),
        *study.KEPT,
        *study.SHARED,
    ):
        assert f"`{file}" in text, file
    fields = [field.name for field in dataclasses.fields(trials.Trial)]
    for name in (*tuning_report.COLUMNS, *fields, *trials.State):
        assert f"`{name}`" in text, name


def test_every_file_that_jobs_write_is_there(root):
    def names(path: Path) -> set[str]:
        files = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
        # Numbers of parts differ.
        return {re.sub(r"-\d{5}-of-\d{5}(\.parquet)?$", "-00000-of-", file) for file in files}

    for title in ("sessions/", "tracks/", "evaluation/", "analysis/", "description/"):
        found = names(root / "workspace" / title)
        assert len(found) > 2
        assert [name for name in found if f"`{name}" not in section(title)] == []


def test_every_field_and_counter_of_the_manifest_is_there(root):
    text = section("sessions/")
    for field in dataclasses.fields(Manifest):
        assert f"`{field.name}`" in text
    counters = open_sessions(root / "workspace/sessions").manifest.counters
    documented = set(re.findall(r"`(\w*(?:[a-z]|<column>))`", text))
    for name in counters:
        columns = re.sub(r"^(rejected_(?:missing|bad|negative|too_long))_.*", r"\1_<column>", name)
        assert name in documented or columns in documented, name
    # The log has one of each kind that the page tells of.
    met = {name for name, number in counters.items() if number}
    rejected = {name for name in documented if name.startswith("rejected_") and "<" not in name}
    assert rejected - met == {"rejected_not_a_track", "rejected_too_late"}
    assert {"rejected_missing_user_id", "rejected_bad_skipped", "rejected_too_long_user_id"} <= met
    assert {"rejected_negative_ms_played", "devices_other", "users_duplicates"} <= met


def test_every_field_of_the_metrics_is_there(root):
    content = json.loads((root / "workspace/evaluation" / METRICS_FILE).read_text())
    # There is no run in the workspace, and so no test.
    summary = summarize(make_scores(), references=["cosernn"], bootstrap=Bootstrap(100))
    tested = metrics_json(summary)
    assert set(tested) | {"provenance", "catalogue"} == set(content)
    retrieved = content["catalogue"]["models"]["popularity"]
    test = tested["tests"]["cosernn"]["jodie"]["cosine"]
    for part in (
        content,
        content["provenance"],
        content["catalogue"],
        retrieved,
        retrieved["recommended"]["10"],
        tested["scored"]["cosine"],
        tested["bootstrap"],
        tested["models"]["jodie"],
        test,
        test["t_test"],
        test["clustered"],
    ):
        for name in part:
            assert f"`{name}`" in section("evaluation/"), name


def test_every_field_and_column_of_an_analysis_is_there(root):
    text = section("analysis/")
    content = json.loads((root / "workspace/analysis" / analysis_result.ANALYSIS_FILE).read_text())
    coverage = [field.name for field in dataclasses.fields(analysis_coverage.Coverage)]
    columns = {name for table in content["tables"].values() for name in table["columns"]}
    ends = {name + end for name in columns for end in ("_low", "_high")}
    for name in [*content, *content["provenance"], *content["tables"], *coverage, *columns - ends]:
        assert f"`{name}`" in text, name


def test_every_statistic_is_there(root):
    content = json.loads((root / "workspace/description" / STATISTICS).read_text())
    for name in content:
        assert f"`{name}`" in section("description/"), name


EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(root, monkeypatch, capsys, number):
    monkeypatch.chdir(root)
    exec(compile(EXAMPLES[number], f"example {number}", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 1
