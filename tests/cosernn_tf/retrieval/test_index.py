"""Building and opening indexes: what is indexed, what is measured, what is refused."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.features import normalize
from cosernn_tf.retrieval import index as index_module
from cosernn_tf.retrieval.approximate import ASSETS, ScannMissingError
from cosernn_tf.retrieval.contract import Neighbours
from cosernn_tf.retrieval.description import DESCRIPTION
from cosernn_tf.retrieval.exact import VECTORS
from cosernn_tf.retrieval.index import ROWS, build_index, open_index
from cosernn_tf.retrieval.track_index import TrackIndex
from cosernn_tf.runs import MODEL_FILE
from cosernn_tf.tracks import TrackEmbeddings
from cosernn_tf.workspace import SUCCESS

from .vectors import brute_force, unit_vectors

TRACKS = 3_000


def track_embeddings(vectors: np.ndarray, name: str = "these") -> TrackEmbeddings:
    """Every seventh track has no embedding."""
    vectors = vectors.copy()
    vectors[::7] = 0.0
    description = {"vocabulary_sha256": f"vocabulary of {name}", "embeddings_sha256": f"of {name}"}
    return TrackEmbeddings(vectors, description)


@pytest.fixture(scope="module")
def embeddings() -> TrackEmbeddings:
    return track_embeddings(unit_vectors(np.random.default_rng(0), TRACKS, clusters=30))


@pytest.fixture(scope="module")
def queries(embeddings) -> np.ndarray:
    rng = np.random.default_rng(1)
    near = embeddings.vectors[rng.integers(0, TRACKS, 150)]
    noise = rng.normal(size=near.shape).astype(np.float32)
    return normalize(near + 0.05 * noise)


@pytest.fixture(scope="module")
def hopeless() -> TrackEmbeddings:
    """Vectors so alike that no hash code tells them apart."""
    rng = np.random.default_rng(2)
    alike = np.ones((6_000, 40)) + 0.006 * rng.normal(size=(6_000, 40))
    return track_embeddings(normalize(alike.astype(np.float32)))


def expected(embeddings: TrackEmbeddings, queries: np.ndarray, k: int) -> Neighbours:
    """In rows of the vocabulary; those without an embedding score below every other."""
    scores = queries.astype(np.float64) @ embeddings.vectors.astype(np.float64).T
    scores[:, ~embeddings.vectors.any(axis=1)] = -9.0
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Neighbours(rows, np.take_along_axis(scores, rows, axis=1))


def share_found(index: TrackIndex, embeddings: TrackEmbeddings, queries, k) -> float:
    truth = expected(embeddings, queries, k).rows
    found = index.search(queries, k).rows
    pairs = zip(found.tolist(), truth.tolist(), strict=True)
    return sum(len(set(a) & set(b)) for a, b in pairs) / truth.size


# Building ----------------------------------------------------------------------------------------


def test_an_index_of_few_tracks_is_exact_and_answers_in_rows_of_the_vocabulary(
    embeddings, queries, tmp_path
):
    built = build_index(embeddings, queries, tmp_path / "index", k=50)
    index = open_index(tmp_path / "index", embeddings)
    assert index.description == built
    assert (built.kind, built.settings, built.recall) == ("exact", None, 1.0)
    assert built.tracks == TRACKS - len(range(0, TRACKS, 7))
    assert (built.k, built.queries) == (50, 150)
    assert built.latency_median_ms is not None
    assert built.latency_p99_ms is not None
    assert 0 < built.latency_median_ms <= built.latency_p99_ms
    found, truth = index.search(queries, 20), expected(embeddings, queries, 20)
    np.testing.assert_array_equal(found.rows, truth.rows)
    np.testing.assert_allclose(found.scores, truth.scores, atol=1e-6)
    assert (found.rows % 7 != 0).all()


@pytest.mark.parametrize(
    ("name", "partitioned", "low", "high"),
    [("embeddings", True, 0.3, 0.95), ("hopeless", False, 0.02, 0.15)],
)
def test_scann_takes_the_first_settings_that_reach_the_recall(
    name, partitioned, low, high, tmp_path, monkeypatch, request
):
    monkeypatch.setattr(index_module, "_PARTITIONED_FROM", 1_000 if partitioned else 100_000)
    embeddings = request.getfixturevalue(name)
    queries = embeddings.vectors[embeddings.vectors.any(axis=1)][:80]
    cheap = build_index(embeddings, queries, tmp_path / "low", kind="scann", min_recall=low, k=50)
    good = build_index(embeddings, queries, tmp_path / "high", kind="scann", min_recall=high, k=50)
    assert cheap.kind == good.kind == "scann"
    assert cheap.settings is not None
    assert good.settings is not None
    assert (good.settings.leaves > 0) == partitioned
    assert low <= cheap.recall < high <= good.recall
    efforts = [
        max(one.leaves_to_search, 1) * one.reorder for one in (cheap.settings, good.settings)
    ]
    assert efforts[0] < efforts[1]
    for built, directory in ((cheap, "low"), (good, "high")):
        index = open_index(tmp_path / directory, embeddings)
        assert index.description == built
        assert built.recall == pytest.approx(share_found(index, embeddings, queries, 50), abs=0.01)
        assert (index.search(queries, 50).rows % 7 != 0).all()


@pytest.mark.parametrize("kind", ["auto", "scann"])
def test_scann_that_never_reaches_the_recall_gives_way_to_exact_search(
    hopeless, kind, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(index_module, "_SCANN_FROM", 5_000)
    queries = hopeless.vectors[1:6]
    built = build_index(hopeless, queries, tmp_path / "index", kind=kind)
    assert (built.kind, built.settings, built.recall) == ("exact", None, 1.0)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert re.search(r"recall@100 0\.[0-8]", warning)
    assert "below --min_recall=0.98" in warning
    assert "exact search" in warning
    index = open_index(tmp_path / "index", hopeless)
    np.testing.assert_allclose(
        index.search(queries, 9).scores, expected(hopeless, queries, 9).scores, atol=1e-6
    )
    assert not (tmp_path / "index" / ASSETS).exists()


def test_auto_approximates_where_the_catalogue_is_large(embeddings, queries, tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "_SCANN_FROM", 2_000)
    assert build_index(embeddings, queries, tmp_path / "index").kind == "scann"
    assert build_index(embeddings, queries, tmp_path / "index", kind="exact").kind == "exact"
    assert not (tmp_path / "index" / ASSETS).exists()


def test_more_neighbours_than_tracks_measure_all_tracks(tmp_path):
    embeddings = track_embeddings(unit_vectors(np.random.default_rng(0), 50))
    queries = embeddings.vectors[1:5]
    built = build_index(embeddings, queries, tmp_path / "index", kind="scann", k=100)
    assert (built.kind, built.k, built.recall) == ("scann", 42, 1.0)


@pytest.mark.parametrize("without", ["scann", "queries"])
def test_without_scann_or_queries_auto_warns_and_is_exact_and_scann_is_an_error(
    embeddings, queries, without, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(index_module, "_SCANN_FROM", 2_000)
    build_index(embeddings, queries, tmp_path / "index", kind="scann")
    before = (tmp_path / "index" / DESCRIPTION).read_bytes()
    if without == "scann":
        monkeypatch.setitem(sys.modules, "scann", None)
        says = "ScaNN cannot be imported"
    else:
        queries = queries[:0]
        says = "no held-out prediction"
    with pytest.raises(UserError, match=says):
        build_index(embeddings, queries, tmp_path / "index", kind="scann")
    assert (tmp_path / "index" / DESCRIPTION).read_bytes() == before

    caplog.clear()
    built = build_index(embeddings, queries, tmp_path / "index", kind="auto")
    assert built.kind == "exact"
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert says in warning
    assert (built.latency_median_ms is None) == (without == "queries")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "faiss"}, "--index=faiss is unknown: choose from auto, exact, scann"),
        ({"min_recall": 1.1}, "--min_recall=1.1"),
        ({"min_recall": -0.1}, "--min_recall=-0.1"),
        ({"k": 0}, "--k=0 must be at least 1"),
    ],
)
def test_refuses_options_out_of_range(embeddings, queries, options, says, tmp_path):
    with pytest.raises(UserError, match=says):
        build_index(embeddings, queries, tmp_path / "index", **options)
    assert not (tmp_path / "index").exists()


def test_refuses_a_catalogue_without_embeddings(queries, tmp_path):
    embeddings = track_embeddings(np.zeros((9, 40), np.float32))
    with pytest.raises(UserError, match="no track has an embedding"):
        build_index(embeddings, queries, tmp_path / "index")


# Opening -----------------------------------------------------------------------------------------

_SEARCH_IN_ANOTHER_PROCESS = """
import sys
import numpy as np
from cosernn_tf.retrieval.index import open_index
from cosernn_tf.tracks import TrackEmbeddings

embeddings = TrackEmbeddings(
    np.zeros((0, 40)), {"vocabulary_sha256": "vocabulary of these", "embeddings_sha256": "of these"}
)
for path in sys.argv[1:]:
    found = open_index(__import__("pathlib").Path(path) / "index", embeddings).search(
        np.load(path + "/queries.npy"), 50
    )
    np.savez(path + "/found.npz", rows=found.rows, scores=found.scores)
"""


def test_a_fresh_process_answers_the_same(embeddings, queries, tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "_PARTITIONED_FROM", 1_000)
    for kind in ("exact", "scann"):
        build_index(embeddings, queries, tmp_path / "elsewhere" / kind / "index", kind=kind)
        np.save(tmp_path / "elsewhere" / kind / "queries.npy", queries)
    # A workspace that is moved as a whole stays usable.
    (tmp_path / "elsewhere").rename(tmp_path / "here")
    paths = [str(tmp_path / "here" / kind) for kind in ("exact", "scann")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _SEARCH_IN_ANOTHER_PROCESS, *paths]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    for path in paths:
        here = open_index(Path(path) / "index", embeddings).search(queries, 50)
        found = np.load(f"{path}/found.npz")
        np.testing.assert_array_equal(found["rows"], here.rows)
        np.testing.assert_array_equal(found["scores"], here.scores)


@pytest.fixture
def index_of_run(embeddings, queries, tmp_path) -> Path:
    path = tmp_path / "runs" / "mine" / "index"
    build_index(embeddings, queries, path)
    return path


def test_an_index_of_other_embeddings_or_of_another_vocabulary_is_refused(index_of_run, embeddings):
    for name in ("vocabulary_sha256", "embeddings_sha256"):
        other = TrackEmbeddings(embeddings.vectors, {**embeddings.description, name: "other"})
        what = "track vocabulary" if name.startswith("v") else "track embeddings"
        with pytest.raises(UserError, match=f"{what}.*build_index --run=mine"):
            open_index(index_of_run, other)


def test_an_index_measured_on_another_model_is_refused(embeddings, queries, tmp_path):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / MODEL_FILE).write_bytes(b"weights")
    built = build_index(embeddings, queries, run / "index")
    assert built.model_sha256 == hashlib.sha256(b"weights").hexdigest()
    assert built.machine is not None
    assert {"cpu", "cores", "packages", "time"} <= set(built.machine)
    assert open_index(run / "index", embeddings).description == built
    (run / MODEL_FILE).write_bytes(b"other weights")
    with pytest.raises(UserError, match=r"of another model than .*build_index --run=mine"):
        open_index(run / "index", embeddings)


def test_an_index_of_version_1_is_read_and_says_what_it_lacks(
    index_of_run, embeddings, queries, caplog
):
    path = index_of_run / DESCRIPTION
    fields = json.loads(path.read_text())
    del fields["model_sha256"], fields["machine"]
    path.write_text(json.dumps({**fields, "index_version": 1}))
    np.save(index_of_run / VECTORS, embeddings.vectors[embeddings.vectors.any(axis=1)])
    (index_of_run.parent / MODEL_FILE).write_bytes(b"weights")
    index = open_index(index_of_run, embeddings)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "which model" in warning
    assert "run cosernn_tf.build_index --run=mine" in warning
    found, truth = index.search(queries, 20), expected(embeddings, queries, 20)
    np.testing.assert_array_equal(found.rows, truth.rows)


@pytest.mark.parametrize("missing", [SUCCESS, DESCRIPTION])
def test_an_index_that_is_not_finished_is_refused(index_of_run, embeddings, missing):
    (index_of_run / missing).unlink()
    with pytest.raises(UserError, match=r"no finished index.*build_index --run=mine"):
        open_index(index_of_run, embeddings)


def test_no_index_at_all_is_refused(embeddings, tmp_path):
    with pytest.raises(UserError, match=r"no finished index.*build_index --run=mine"):
        open_index(tmp_path / "mine" / "index", embeddings)


@pytest.mark.parametrize("name", [ROWS, VECTORS])
def test_a_damaged_index_is_refused(index_of_run, embeddings, name):
    (index_of_run / name).write_bytes(b"not an array")
    with pytest.raises(UserError, match=r"damaged.*build_index --run=mine"):
        open_index(index_of_run, embeddings)


def test_an_index_with_rows_lost_is_refused(index_of_run, embeddings):
    np.save(index_of_run / ROWS, np.load(index_of_run / ROWS)[:-1])
    with pytest.raises(UserError, match=r"damaged.*build_index --run=mine"):
        open_index(index_of_run, embeddings)


@pytest.mark.parametrize(
    "change", [{"index_version": 3}, {"recal": 1.0}, {"settings": {"leaves": 3}}, None]
)
def test_a_description_of_another_program_is_refused(index_of_run, embeddings, change):
    path = index_of_run / DESCRIPTION
    fields = json.loads(path.read_text())
    path.write_text("[]" if change is None else json.dumps({**fields, **change}))
    with pytest.raises(UserError, match=r"index\.json.*build_index"):
        open_index(index_of_run, embeddings)


def test_a_damaged_scann_index_is_refused(embeddings, queries, tmp_path):
    build_index(embeddings, queries, tmp_path / "index", kind="scann")
    (tmp_path / "index" / ASSETS / "scann_config.pb").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="damaged"):
        open_index(tmp_path / "index", embeddings)


def test_a_scann_index_without_scann_says_so(embeddings, queries, tmp_path, monkeypatch):
    build_index(embeddings, queries, tmp_path / "index", kind="scann")
    monkeypatch.setitem(sys.modules, "scann", None)
    with pytest.raises(ScannMissingError, match="--index=exact"):
        open_index(tmp_path / "index", embeddings)


def test_the_oracle_skips_what_has_no_embedding(embeddings, queries):
    embedded = np.flatnonzero(embeddings.vectors.any(axis=1))
    plain = brute_force(embeddings.vectors[embedded], queries, 20)
    np.testing.assert_array_equal(expected(embeddings, queries, 20).rows, embedded[plain.rows])
