"""The benchmark of retrieval on small catalogues."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import retrieval_runner
from benchmarks.retrieval_contenders import CONTENDERS, Hnswlib, NumPy, Task
from benchmarks.retrieval_filters import FILTERS
from benchmarks.retrieval_runner import NAMES, RetrievalBenchmarkConfig, benchmark
from benchmarks.retrieval_vectors import Vectors, make
from cosernn_tf.errors import UserError
from cosernn_tf.retrieval.contract import Neighbours, recall
from cosernn_tf.retrieval.exact import ExactSearcher
from tests.entry_points import run

ROOT = Path(__file__).parents[2]
OURS = tuple(name for name in NAMES if not name.startswith(("faiss", "hnswlib")))


def test_all_of_ours_are_asked_and_kept(tmp_path, monkeypatch):
    # Eight processes would take longer than all else.
    monkeypatch.setattr(retrieval_runner, "_alone", lambda function, *given: function(*given))
    config = RetrievalBenchmarkConfig(
        tmp_path, num_tracks=3_000, vectors=(Vectors.CLUSTERED,), contenders=OURS, k=20,
        num_queries=80, slow_queries=30, repeats=2,
    )  # fmt: skip
    text = benchmark(config)
    kept = json.loads((tmp_path / "retrieval.json").read_text())
    names = [*OURS, *(f"ours, ScaNN, {name}" for name in FILTERS)]
    assert [row["search"] for row in kept["rows"]] == names
    for row in kept["rows"]:
        is_exact = "ScaNN" not in row["search"]
        assert row["recall"] == pytest.approx(1, abs=1e-3 if is_exact else 0.04)
        for name in ("queries_per_second", "ratio", "batch_seconds", "p50_seconds", "p99_seconds"):
            assert len(row[name]) == 2
            assert min(row[name]) > 0
        assert all(
            low <= high for low, high in zip(row["p50_seconds"], row["p99_seconds"], strict=True)
        )
    assert kept["rows"][0]["ratio"] == [1, 1]
    scann = kept["rows"][3]
    assert scann["parameters"]["settings"]["leaves"] == 0
    assert scann["disk_bytes"] > 3_000 * 40 * 4
    assert scann["build_peak_bytes"] > 0
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(names)
    assert "recall@20" in lines[0]
    assert not list(tmp_path.glob("retrieval-*"))


def test_what_is_built_and_opened_has_a_process_of_its_own():
    assert retrieval_runner._alone(os.getpid) not in (
        os.getpid(),
        retrieval_runner._alone(os.getpid),
    )


LIBRARIES = [contender for contender in CONTENDERS if contender.name not in OURS]


@pytest.mark.parametrize("contender", LIBRARIES, ids=[contender.name for contender in LIBRARIES])
def test_libraries_reach_the_recall_that_they_are_tuned_to(contender, tmp_path):
    pytest.importorskip("hnswlib" if isinstance(contender, Hnswlib) else "faiss")
    catalogue = make(Vectors.ISOTROPIC, 2_000, num_queries=50, seed=3)
    exact = ExactSearcher.build(catalogue.tracks).search(catalogue.held_out, 10)
    contender.build(Task(catalogue.tracks, catalogue.held_out, exact, 0.9), tmp_path)
    rows = contender.open(tmp_path)(catalogue.held_out, 10)
    assert recall(Neighbours(rows, exact.scores), exact) >= 0.88
    assert contender.parameters_of(tmp_path)


@pytest.mark.parametrize("kind", list(Vectors))
def test_catalogues_are_of_unit_vectors_and_equal_for_equal_arguments(kind):
    one, other = (make(kind, 2_000, num_queries=30, seed=4) for _ in "ab")
    for name, rows in (("tracks", 2_000), ("held_out", 30), ("queries", 30)):
        vectors = getattr(one, name)
        assert vectors.shape == (rows, 40)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(vectors, getattr(other, name))
    assert not (one.held_out[:, None] == one.queries[None]).all(axis=2).any()
    # Neighbours are near where there are clusters.
    best = np.sort(one.queries @ one.tracks.T, axis=1)[:, -10]
    assert (best.mean() > 0.7) == (kind is Vectors.CLUSTERED)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_tracks": 999}, "--num_tracks=999 must be at least 1000"),
        ({"repeats": 0}, "--repeats=0"),
        ({"min_recall": 0.0}, "--min_recall=0.0"),
        ({"vectors": ()}, "--vectors is empty"),
        ({"contenders": ("annoy",)}, "'annoy' is none of"),
        ({"contenders": ("ours, exact",)}, f"lacks '{NumPy.name}'"),
    ],
)
def test_options_out_of_range(tmp_path, options, says):
    with pytest.raises(UserError, match=says):
        RetrievalBenchmarkConfig(tmp_path, **options)


@pytest.mark.parametrize(
    ("flag", "says"), [("--vectors=round", "--vectors=round is"), ("--without=x", "--without=x is")]
)
def test_bad_flags_of_the_command(tmp_path, flag, says):
    done = run("benchmarks.retrieval", [f"--workspace={tmp_path}", flag], folder=ROOT)
    assert done.code == 2
    assert done.error.startswith(says)
