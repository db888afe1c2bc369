"""`python -m experiments.report`: what is written, what is missing, what is refused."""

import csv
import html.parser
import itertools
import json
import re
import resource
import shlex
import shutil
from urllib.parse import unquote

import markupsafe
import pytest

from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.run import analyze
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.config import METRICS_FILE, SCORES_FILE
from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.evaluation.run import evaluate_runs
from cosernn_tf.whole_files import file_sha256
from cosernn_tf.workspace import Workspace
from experiments.reporting.run import PAGE, TABLES, make_report
from experiments.reporting.words import metric_title
from tests.entry_points import run_each
from tests.experiments.reporting.full_workspace import (
    CONFIG,
    EVIL,
    NOISE,
    write_full_workspace,
    write_predictions,
)
from tests.workspaces import random_table, write_workspace

MODULE = "experiments.report"
VOID = {"meta", "link", "img", "br", "line", "rect", "path", "circle"}


class Page(html.parser.HTMLParser):
    """Elements of a page; fails if they are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def having(self, name: str) -> list[str]:
        return [value for _, a in self.elements if (value := a.get(name)) is not None]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    """With a report."""
    with pytest.MonkeyPatch.context() as patch:
        workspace = write_full_workspace(tmp_path_factory.mktemp("full") / "ws", patch)
    analyze(workspace, config=AnalysisConfig())
    make_report(workspace)
    return workspace


@pytest.fixture(scope="module")
def text(workspace) -> str:
    return (workspace.report / PAGE).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def rows_of(workspace: Workspace, name: str) -> list[dict[str, str]]:
    with (workspace.report / TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_opens_with_the_model_that_is_the_best(text, page):
    plain = " ".join("".join(page.text).split()).replace("\xa0", " ")
    opening = plain[: plain.index("How this was decided")]
    assert "Deploy Encore: no other model is measurably better by any of 9 metrics" in opening
    assert "the best other trained model by these metrics, Encore is better by cosine" in opening
    assert "Encore 3.0 minutes, 6 epochs at 3,500 sessions a second" in opening
    assert "this evaluation has one seed" in opening


def test_numbers_are_those_of_the_evaluation(workspace):
    content = json.loads((workspace.evaluation / METRICS_FILE).read_text(encoding="utf-8"))
    table = {row["model"]: row for row in rows_of(workspace, "table2")}
    for name, entry in content["models"].items():
        if name in NOISE and not name.startswith(("cosernn", "jodie", "table5")):
            assert float(table[name]["cosine"]) == entry["metrics"]["cosine"]
    for metric in ("cosine", "session_rank_50", "ap_25"):
        seeds = [content["models"][f"cosernn-seed{seed}"]["metrics"][metric] for seed in (1, 2)]
        assert float(table["CoSeRNN"][metric]) == pytest.approx(sum(seeds) / 2)
        deviation = abs(seeds[0] - seeds[1]) / 2**0.5
        assert float(table["CoSeRNN"][f"{metric}_deviation"]) == pytest.approx(deviation)
    encore = content["models"]["table5_encore-seed1"]
    assert [float(table["Encore"][f"cosine_{end}"]) for end in ("low", "high")] == pytest.approx(
        encore["intervals"]["cosine"]
    )


def test_tests_are_those_of_the_evaluation_where_no_seeds_are_put_together(workspace, tmp_path):
    files = write_predictions(workspace, tmp_path / "given", ["table5_encore-seed1", EVIL])
    evaluation = tmp_path / "evaluation"
    evaluate_runs(workspace, [], config=CONFIG, predictions=files, output=evaluation)
    made = make_report(workspace, evaluation=evaluation, output=tmp_path / "report")
    assert made.verdict.startswith("Deploy Encore")
    content = json.loads((evaluation / METRICS_FILE).read_text(encoding="utf-8"))
    expected = content["tests"]["table5_encore-seed1"]
    with (tmp_path / "report" / TABLES / "tests.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(expected) * len(METRICS)
    names = {entry["title"]: name for name, entry in content["models"].items()}
    titles = {metric_title(metric): metric.name for metric in METRICS}
    for row in rows:
        test = expected[names[row["model"]]][titles[row["metric"]]]
        interval = test["interval"] or [None, None]
        wanted = {
            "sessions": test["sessions"],
            "difference": test["mean_difference"],
            "difference_low": interval[0],
            "difference_high": interval[1],
            "relative": test["relative_percent"] / 100,
            "cohens_d": test["cohens_d"],
            "t_p": test["t_test"]["p_value"],
            "clustered_p": test["clustered"]["p_value"],
            "design_effect": test["clustered"]["design_effect"],
        }
        for name, value in wanted.items():
            found = float(row[name]) if row[name] else None
            assert found == (value if value is None else pytest.approx(value)), name
        # The other model's correction counts, too, where it is no oracle.
        for kind, name in (("t_test", "t_p_holm"), ("clustered", "clustered_p_holm")):
            assert float(row[name]) >= test[kind]["p_holm"] - 1e-12


def test_groups_and_bins_have_all_sessions_once(workspace):
    content = json.loads((workspace.evaluation / METRICS_FILE).read_text(encoding="utf-8"))
    rows = rows_of(workspace, "groups")
    for dimension in {row["dimension"] for row in rows}:
        for metric in ("cosine", "MRR at K\xa0=\xa050"):
            found = [
                row
                for row in rows
                if (row["dimension"], row["model"], row["metric"]) == (dimension, "Encore", metric)
            ]
            name = "cosine" if metric == "cosine" else "session_rr_50"
            scored = content["scored"][name]["sessions"]
            assert sum(int(row["sessions"]) for row in found) == scored
            total = sum(int(row["sessions"]) * float(row["mean"] or 0) for row in found)
            expected = content["models"]["table5_encore-seed1"]["metrics"][name]
            assert total / scored == pytest.approx(expected)
    bins = rows_of(workspace, "calibration")
    assert {row["model"] for row in bins} == {"CoSeRNN"}
    assert len(bins) == 10
    assert [row["least"] for row in bins] == sorted((row["least"] for row in bins), key=float)


def test_retrieval_is_that_of_the_evaluation(workspace):
    catalogue = json.loads((workspace.evaluation / METRICS_FILE).read_text())["catalogue"]
    rows = {row["model"]: row for row in rows_of(workspace, "catalogue")}
    lists = {row["model"]: row for row in rows_of(workspace, "lists")}
    for title, runs in (
        ("Encore", ["table5_encore-seed1"]),
        ("JODIE", ["jodie-seed1", "jodie-seed2"]),
    ):
        for metric in ("catalogue_ndcg_10", "catalogue_recall_100_new", "catalogue_rr_100"):
            values = [catalogue["models"][run]["metrics"][metric] for run in runs]
            assert float(rows[title][metric]) == pytest.approx(sum(values) / len(values))
        values = [catalogue["models"][run]["recommended"]["10"]["head_share"] for run in runs]
        assert float(lists[title]["head_share_10"]) == pytest.approx(sum(values) / len(values))
    assert float(lists["Tracks listened to"]["novelty_100"]) == catalogue["listened"]["novelty"]


def test_every_table_is_there_as_csv_and_latex_and_named_on_the_page(workspace, page):
    names = {path.stem for path in (workspace.report / TABLES).glob("*.csv")}
    assert names == {path.stem for path in (workspace.report / TABLES).glob("*.tex")}
    assert {"table2", "tests", "scorecard", "means", "learning", "contexts", "runs"} <= names
    links = page.having("href")
    for name in names:
        assert f"tables/{name}.csv" in links
        assert f"tables/{name}.tex" in links
        assert f"#source-{name}" in links
        assert rows_of(workspace, name), name


def test_links_lead_somewhere(workspace, page):
    ids = page.having("id")
    assert len(set(ids)) == len(ids)
    for link in page.having("href"):
        if link.startswith("#"):
            assert link[1:] in ids
        elif not link.startswith(("data:", "https:")):
            assert (workspace.report / unquote(link)).exists(), link
    for name in ("aria-labelledby", "aria-describedby"):
        for value in page.having(name):
            assert set(value.split()) <= set(ids), value


def test_the_page_needs_nothing_else(text, page):
    assert page.having("src") == []
    assert "@import" not in text
    assert not re.search(r"url\((?!data:)", text)
    tags = {tag for tag, _ in page.elements}
    assert tags.isdisjoint({"script", "iframe", "object", "embed", "img", "form"})
    links = [link for link in page.having("href") if "//" in link]
    assert links == ["https://dl.acm.org/doi/10.1145/3383313.3412248"]  # to follow, not to load


def test_the_page_says_what_it_is_about_and_words_lead_to_their_definitions(page):
    plain = " ".join("".join(page.text).split()).replace("\xa0", " ")
    opening = plain[: plain.index("How this was decided")]
    for part in (
        "What is compared: models that predict, as a session begins",
        "The data: a log, from 2019-04-01 to",
        "Track embeddings: 40 numbers a track",
        "Local times: known.",
        "These means are beside the metrics of the rule, and were not tested.",
    ):
        assert part in opening, part
    terms = [a["href"] for tag, a in page.elements if a.get("class") == "term"]
    wanted = ("paper", "encore", "cosine", "sessions", "tracks", "heuristics", "holm", "retrieval")
    for name in wanted:
        assert f"#term-{name}" in terms


def test_what_a_log_or_a_user_calls_things_is_text(text, page):
    assert "<script" not in text
    assert "onerror" in text
    assert not any("onerror" in name for _, attributes in page.elements for name in attributes)
    assert any(EVIL in part for part in page.text)


def test_every_figure_says_where_it_comes_from(workspace, text):
    """By file, checksum and command."""
    for path in (
        workspace.evaluation / SCORES_FILE,
        workspace.table(2) / "table.csv",
        workspace.root / "analysis" / "analysis.json",
        workspace.run("cosernn-seed1") / "history.json",
    ):
        assert file_sha256(path) in text, path
    for part in ("0123456789ab with changes", "--model=mine", "A chip &lt;b&gt;", "keras 3.15.1"):
        assert part in text


def test_commands_have_the_options_of_what_they_made(workspace, text):
    """Given again they make the same, in any workspace, however it is called."""
    at = f"--workspace={workspace.root}"
    files = {run: workspace.root / "given" / f"{place}.parquet" for place, run in enumerate(NOISE)}
    given = ",".join(f"{run}={file}" for run, file in files.items())
    for command in (
        ["evaluate", at, "--runs=", f"--predictions={given}", "--catalogue",
         "--bootstrap_resamples=2999", "--bootstrap_seed=3"],
        ["analyze", at],
        ["train", at, f"--flagfile={workspace.run('jodie-seed1')}/flags.txt", "--run=jodie-seed1"],
    ):  # fmt: skip
        module, *arguments = command
        shown = shlex.join(["python", "-m", f"cosernn_tf.{module}", *arguments])
        assert str(markupsafe.escape(shown)) in text, shown
    assert "<code>python -m experiments.table --table=2 --seeds=1,2</code>" in text


def test_what_is_of_other_sessions_is_not_mixed_in(workspace, tmp_path):
    """An analysis: see `test_log_facts`."""
    other = Workspace(tmp_path / "my log")
    other.root.mkdir()
    write_workspace(other.root, table=random_table(7))
    shutil.copytree(workspace.table(2), other.table(2))
    made = make_report(other)
    text = made.page.read_text(encoding="utf-8")
    assert "Table 2 (models, heuristics and oracles), Table 3" in text
    assert "have not been made of these sessions." in text
    assert f"--workspace={tmp_path}/my log&#39; --table=2" in text
    with pytest.raises(UserError, match="evaluates other sessions than those in "):
        make_report(other, evaluation=workspace.evaluation)
    shutil.copytree(workspace.table(2) / "evaluation", other.evaluation)
    with pytest.raises(UserError, match=r"scores.parquet cannot be read .*: run the job"):
        make_report(other)


def test_the_epoch_that_is_kept_for_its_ranking_is_said_to_be(page):
    plain = " ".join("".join(page.text).split())
    assert "Of Encore that is the epoch which ranked best on the validation split" in plain


def test_headings_are_in_order(page):
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_a_report_replaces_an_older_one_and_nothing_else(workspace, tmp_path):
    other = tmp_path / "mine"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not an older output"):
        make_report(workspace, output=other)
    assert (other / "notes.txt").read_text() == "mine"
    made = make_report(workspace, output=tmp_path / "there", title="A <title>")
    assert "<title>A &lt;title&gt;</title>" in made.page.read_text(encoding="utf-8")
    leftover = made.page.parent / "leftover"
    leftover.touch()
    make_report(workspace, output=tmp_path / "there")
    assert sorted(path.name for path in made.page.parent.iterdir()) == [
        "_SUCCESS", PAGE, TABLES
    ]  # fmt: skip


def test_a_full_disk_is_not_said_to_be_a_damaged_evaluation(workspace, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UserError, match="there could not be written: a file is larger than"):
            make_report(workspace, output=tmp_path / "there")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Calls of the entry point, and what they were about."""
    root = tmp_path_factory.mktemp("calls")
    bare = write_workspace(root / "bare")
    for name, text in (("older", '{"format": 1}'), ("damaged", "{")):
        damaged = Workspace(root / name)
        damaged.root.mkdir()
        damaged.sessions.symlink_to(bare.sessions)
        damaged.evaluation.mkdir()
        (damaged.evaluation / METRICS_FILE).write_text(text)
    arguments = {
        "bare": ["--workspace=bare"],
        "no sessions": ["--workspace=none"],
        "no evaluation": ["--workspace=bare", "--evaluation=none"],
        "older": ["--workspace=older"],
        "damaged": ["--workspace=damaged"],
    }
    results = run_each(
        MODULE,
        list(arguments.values()),
        folder=root,
        output=root / "output",
        preload=["experiments.reporting.run"],
    )
    return bare, dict(zip(arguments, results, strict=True))


def test_what_is_missing_is_said_with_its_command(calls):
    workspace, results = calls
    assert results["bare"].code == 0, results["bare"].stderr
    assert "Nothing has been evaluated yet" in results["bare"].stdout
    text = (workspace.report / PAGE).read_text(encoding="utf-8")
    for command in ("cosernn_tf.evaluate", "cosernn_tf.analyze", "experiments.table"):
        assert f"python -m {command} --workspace=bare" in text
    Page(text)
    evaluate_runs(workspace, [], config=CONFIG)
    assert "No trained model has been evaluated" in make_report(workspace).verdict


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no sessions", "run beam_pipelines.sessionize first"),
        ("no evaluation", "give a directory of cosernn_tf.evaluate"),
        ("older", "has format 1, this program reads 2: run cosernn_tf.evaluate again"),
        ("damaged", "cannot be read"),
    ],
)
def test_mistakes_are_told_in_a_line(calls, name, message):
    result = calls[1][name]
    assert result.code == 2
    assert message in result.error
