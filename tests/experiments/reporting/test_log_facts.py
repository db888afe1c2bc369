"""What a log is, and what it does not tell, from the real jobs."""

import json
from pathlib import Path

import pytest

from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.result import ANALYSIS_FILE
from cosernn_tf.analysis.run import analyze
from cosernn_tf.workspace import Workspace
from experiments.reporting.document import Source
from experiments.reporting.inputs import Evaluation, Inputs, _read_embeddings, read_inputs
from experiments.reporting.log_facts import LogFacts, log_facts, log_sentences, not_told
from experiments.reporting.sections.skips import curve_figure
from tests.workspaces import write_workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    workspace = write_workspace(tmp_path_factory.mktemp("facts") / "ws")
    analyze(workspace, config=AnalysisConfig())
    return workspace


def test_facts_are_those_of_manifest_and_analysis(workspace):
    inputs = read_inputs(workspace)
    assert inputs.analysis is not None
    facts = log_facts(inputs)
    coverage = inputs.analysis.content["coverage"]
    assert facts.skipped is not None
    assert facts.skipped == coverage["listens_skipped"] / coverage["listens"]
    assert facts.are_skips_told
    assert facts.has_local_time
    assert facts.devices
    assert sum(share for _, share in facts.devices) == pytest.approx(1.0)
    shares = [share for _, share in facts.devices]
    assert shares == sorted(shares, reverse=True)
    assert not_told(facts) == []
    text = " ".join(log_sentences(inputs, facts)).replace("\xa0", " ")
    assert f"{100 * facts.skipped:.1f} % of the listens" in text
    assert "Local times: known." in text
    assert "synthetic" not in text
    assert "Track embeddings: 40 numbers a track" in text


def test_a_synthetic_log_is_called_one_first(workspace, monkeypatch):
    monkeypatch.setattr(Inputs, "is_synthetic", True)
    inputs = read_inputs(workspace)
    _, text, _ = log_sentences(inputs, log_facts(inputs))
    assert text.startswith("The data: a synthetic log, written by a generator and not by people")


def test_embeddings_that_are_not_those_of_the_evaluation_are_not_described(workspace):
    own = read_inputs(workspace).embeddings
    assert own is not None
    source = Source(Path("metrics.json"), "evaluate", "ab")
    for checksum, expected in ((own["embeddings_sha256"], own), ("other", None)):
        content = {"provenance": {"embeddings_sha256": checksum}}
        evaluation = Evaluation(Path("evaluation"), content, metrics=source, scores=source)
        assert _read_embeddings(workspace, evaluation) == expected


def test_without_skips_no_curve_of_them_is_drawn():
    row = {
        "min_skips": 0, "cosine_from": 0.1, "cosine_to": 0.2, "sessions": 90, "users": 9,
        "skip_rate": 0.0, "skip_rate_low": 0.0, "skip_rate_high": 0.0,
    }  # fmt: skip
    source = Source(Path("analysis.json"), "analyze", "ab")
    assert curve_figure([row], source) is None
    assert curve_figure([row, {**row, "cosine_from": 0.2, "skip_rate": 0.1}], source) is not None


def test_an_analysis_of_other_sessions_says_nothing(workspace, tmp_path):
    other = Workspace(tmp_path)
    for folder in ("sessions", "tracks"):
        (tmp_path / folder).symlink_to(workspace.root / folder)
    other.analysis.mkdir()
    content = json.loads((workspace.analysis / ANALYSIS_FILE).read_text())
    (other.analysis / ANALYSIS_FILE).write_text(json.dumps(content))
    assert read_inputs(other).analysis is not None
    content["provenance"]["sessions_sha256"] = "other"
    (other.analysis / ANALYSIS_FILE).write_text(json.dumps(content))
    inputs = read_inputs(other)
    assert inputs.analysis is None
    assert log_facts(inputs) == LogFacts(
        None, are_skips_told=True, devices=None, has_local_time=None
    )


def test_what_the_log_lacks_is_said():
    facts = LogFacts(0.0, are_skips_told=False, devices=[], has_local_time=False)
    assert not_told(facts) == [
        "The log does not tell what was skipped, devices or local times, which models are meant to "
        "use."
    ]
    unknown = LogFacts(None, are_skips_told=True, devices=None, has_local_time=None)
    assert not_told(unknown) == []
