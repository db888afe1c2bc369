"""What a log is, and what it does not tell, from the real jobs."""

import pytest

from cosernn_tf.analysis.config import AnalysisConfig
from cosernn_tf.analysis.run import analyze
from experiments.reporting.inputs import read_inputs
from experiments.reporting.log_facts import LogFacts, log_facts, log_sentences, not_told
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


def test_an_analysis_of_other_sessions_says_nothing(workspace, monkeypatch):
    inputs = read_inputs(workspace)
    assert inputs.analysis is not None
    monkeypatch.setitem(inputs.analysis.content["provenance"], "sessions_sha256", "other")
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
