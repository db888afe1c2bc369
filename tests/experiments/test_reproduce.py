"""`python -m experiments.reproduce`: what is kept in the repository is made anew, and compared."""

import csv
import json
import shutil

import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.workspace import Workspace
from experiments.results_check import check
from experiments.tables import FOLDER
from tests.entry_points import run, run_each

MODULE = "experiments.reproduce"
RESULTS = FOLDER / "results"
SMALL = f"--flagfile={RESULTS / 'small.flags'}"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("reproduce") / "workspace")


@pytest.fixture(scope="module")
def checked(workspace):
    return run(MODULE, [f"--workspace={workspace.root}", SMALL, "--check"], folder=FOLDER)


def test_the_small_results_come_out_again(checked):
    assert checked.code == 0, checked.stderr
    assert "All figures of table2 are within 5% of " in checked.stdout


def test_they_can_be_kept(checked, workspace, tmp_path):
    arguments = [f"--workspace={workspace.root}", SMALL, f"--output={tmp_path}"]
    kept = run(MODULE, arguments, folder=tmp_path)
    assert kept.code == 0, kept.stderr
    table = workspace.table(2)
    for suffix in ("md", "csv"):
        written = (tmp_path / "small" / f"table2.{suffix}").read_bytes()
        assert written == (table / f"table.{suffix}").read_bytes()
        assert str(workspace.root).encode() not in written
    text = (tmp_path / "small" / "provenance.json").read_text()
    assert str(workspace.root) not in text
    found, stored = json.loads(text), json.loads((RESULTS / "small/provenance.json").read_text())
    assert found.keys() == stored.keys()
    assert found["plan"] == stored["plan"]
    # The log is the same to the last byte; embeddings are on a machine that rounds like that one.
    assert found["sessions"] == stored["sessions"]
    (name,) = found["runs"]
    assert name == "cosernn-seed1"
    assert (found["runs"][name]["epochs"], found["runs"][name]["config"]["seed"]) == (2, 1)


def test_what_is_refused(checked, workspace, tmp_path):
    """Above all what would compare, or keep, figures of nothing or of another log."""
    at = [f"--workspace={tmp_path}", "--log=a", "--check"]
    made = f"--workspace={workspace.root}"
    refused = {
        "--log is missing": at[:1],
        "--tables has '7', which is none of 2, 3, 4, 5": [*at, "--tables=7"],
        "--tables is empty": [*at, "--tables="],
        "--rows has 'cosern', which is none of last_any": [*at, "--tables=2", "--rows=cosern"],
        "--rows has '', which is none of": [*at, "--rows=,"],
        "--rows=rrn has none of Table 3: leave it out": [*at, "--tables=2,3", "--rows=rrn"],
        "--rows= has none of Table 2": [*at, "--rows="],
        f"{workspace.sessions} was made from {workspace.log}/listens, and not from a.csv": [
            made, "--log=a", "--listens=a.csv"
        ],
        "beam_pipelines.synthesize ended with": [made, "--log=a", "--synthesize=seed=9"],
    }  # fmt: skip
    results = run_each(
        MODULE,
        list(refused.values()),
        folder=tmp_path,
        output=tmp_path / "results",
        preload=["experiments.reproduction"],
    )
    for (message, _), result in zip(refused.items(), results, strict=True):
        assert result.code == 2, message
        assert f"error: {message}" in result.stderr, result.stderr


def test_flagfiles_resolve(tmp_path):
    """They are read before the name is looked at."""
    flagfiles = sorted(RESULTS.glob("*.flags"))
    assert len(flagfiles) > 3
    results = run_each(
        MODULE,
        [[f"--flagfile={path}", "--log=."] for path in flagfiles],
        folder=FOLDER.parent,
        output=tmp_path / "results",
        preload=["experiments.reproduction"],
    )
    for result in results:
        assert result.error.startswith("--log=. must be a name")


def changed(path, tmp_path, row, metric, factor):
    """A copy of a table with another mean; the number itself."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    (cell,) = (one for one in rows if (one["row"], one["metric"]) == (row, metric))
    cell["mean"] = "" if factor is None else str(float(cell["mean"]) * factor)
    copy = tmp_path / "changed.csv"
    with copy.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return copy


@pytest.mark.parametrize("factor", [1.06, 0.94, None])
def test_a_figure_that_differs_is_told(tmp_path, factor):
    copy = changed(RESULTS / "small" / "table2.csv", tmp_path, "popularity", "ap_100", factor)
    message = r"^1 figures differ from .*small by more than 5%: table2, popularity, ap_100: 0\.\d+ "
    message += "there, nothing now$" if factor is None else r"there, 0\.\d+ now$"
    with pytest.raises(UserError, match=message):
        check({"table2": copy}, RESULTS / "small", tolerance=0.05)
    if factor:
        check({"table2": copy}, RESULTS / "small", tolerance=0.07)


def test_a_row_that_is_gone_is_told(tmp_path):
    lines = (RESULTS / "small" / "table2.csv").read_text().splitlines()
    less = tmp_path / "less.csv"
    less.write_text("\n".join(line for line in lines if ",popularity,cosine," not in line))
    with pytest.raises(UserError, match=r"popularity, cosine: 0\.\d+ there, nothing now"):
        check({"table2": less}, RESULTS / "small", tolerance=0.05)
    shutil.copy(less, tmp_path / "table2.csv")
    whole = {"table2": RESULTS / "small" / "table2.csv"}
    with pytest.raises(UserError, match=r"popularity, cosine: nothing there, 0\.\d+ now"):
        check(whole, tmp_path, tolerance=0.05)
    with pytest.raises(UserError, match=r"table3\.csv does not exist: make it, without --check"):
        check({"table3": less}, tmp_path, tolerance=0.05)
