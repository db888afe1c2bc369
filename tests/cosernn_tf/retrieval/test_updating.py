"""Tracks that come and go: against a sort of the scores of all tracks that are there."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.retrieval import index as index_module
from cosernn_tf.retrieval.changes import ADDED, REMOVED
from cosernn_tf.retrieval.contract import Neighbours
from cosernn_tf.retrieval.description import DESCRIPTION
from cosernn_tf.retrieval.exact import VECTORS
from cosernn_tf.retrieval.index import build_index, open_index
from cosernn_tf.retrieval.new_tracks import NewTracks
from cosernn_tf.retrieval.updating import update_index
from cosernn_tf.runs import MODEL_FILE
from cosernn_tf.tracks import TrackEmbeddings

from .vectors import brute_force, unit_vectors

TRACKS = 2_000
VOCABULARY = pa.chunked_array(
    [[f"t{row}" for row in range(700)], [f"t{row}" for row in range(700, TRACKS)]]
)


@pytest.fixture(scope="module")
def embeddings() -> TrackEmbeddings:
    vectors = unit_vectors(np.random.default_rng(0), TRACKS, clusters=20)
    vectors[::5] = 0
    return TrackEmbeddings(vectors, {"vocabulary_sha256": "v", "embeddings_sha256": "e"})


@pytest.fixture(scope="module")
def queries(embeddings) -> np.ndarray:
    return unit_vectors(np.random.default_rng(1), 60)


@pytest.fixture(scope="module")
def new(queries) -> NewTracks:
    """Near to queries; the first three are in the vocabulary, without an embedding."""
    ids = ["t5", "t0", "t1995", *(f"new{number}" for number in range(37))]
    vectors = queries[:40] + 0.05 * np.random.default_rng(2).normal(size=(40, 40))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return NewTracks(pa.array(ids), vectors.astype(np.float32))


@pytest.fixture(params=["exact", "scann"])
def path(request, embeddings, queries, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(index_module, "_PARTITIONED_FROM", 1_000)
    """ScaNN looks at all there is, so that it is exact."""
    path = tmp_path / "mine" / "index"
    build_index(embeddings, queries, path, kind=request.param, min_recall=0.5, k=20)
    stored = json.loads((path / DESCRIPTION).read_text())
    if stored["settings"]:
        stored["settings"] |= {"leaves_to_search": stored["settings"]["leaves"], "reorder": TRACKS}
    (path / DESCRIPTION).write_text(json.dumps(stored))
    return path


class Catalogue:
    """What there is, by id: the oracle."""

    def __init__(self, embeddings: TrackEmbeddings) -> None:
        self.rows = {f"t{row}": row for row in range(TRACKS)}
        self.vectors = {
            f"t{row}": vector for row, vector in enumerate(embeddings.vectors) if vector.any()
        }

    def add(self, new: NewTracks) -> None:
        for track_id, vector in zip(new.track_ids.to_pylist(), new.vectors, strict=True):
            self.rows.setdefault(track_id, len(self.rows))
            self.vectors[track_id] = vector

    def remove(self, *track_ids: str) -> dict[str, np.ndarray]:
        return {track_id: self.vectors.pop(track_id) for track_id in track_ids}

    def best(self, queries: np.ndarray, k: int) -> list[list[str]]:
        ids = sorted(self.vectors, key=self.rows.__getitem__)
        found = brute_force(np.array([self.vectors[one] for one in ids]), queries, k)
        return [[ids[place] for place in row] for row in found.rows]


@pytest.fixture
def catalogue(embeddings) -> Catalogue:
    return Catalogue(embeddings)


def found_in(path: Path, embeddings: TrackEmbeddings, queries, k, **filters) -> list[list[str]]:
    """Ids, in an index that is opened again."""
    index = open_index(path, embeddings)
    ids = index.track_ids(VOCABULARY).to_pylist()
    assert len(ids) == index.num_rows
    found = index.search(queries, k, **filters)
    assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()
    return [[ids[row] for row in rows if row >= 0] for rows in found.rows]


def update(path, embeddings, queries, **changes):
    return update_index(path, embeddings, VOCABULARY, queries, **changes)


def test_new_tracks_are_found_at_once_and_later_ones_after_them(
    path, embeddings, queries, new, catalogue
):
    early = NewTracks(new.track_ids[:2], new.vectors[:2])
    late = NewTracks(new.track_ids[2:], new.vectors[2:])
    for number, part in ((2, early), (40, late)):
        built = update(path, embeddings, queries, new=part)
        catalogue.add(part)
        assert found_in(path, embeddings, queries, 20) == catalogue.best(queries, 20)
        assert (built.added, built.removed, built.tracks) == (number, 0, 1_600)
        assert built.recall == pytest.approx(1)
        assert open_index(path, embeddings).description == built
    index = open_index(path, embeddings)
    assert (index.size, index.num_rows) == (1_640, TRACKS + 37)
    assert [
        row[0] for row in found_in(path, embeddings, queries[:40], 1)
    ] == new.track_ids.to_pylist()
    everything = found_in(path, embeddings, queries[:2], 5_000)
    assert everything == catalogue.best(queries[:2], 1_640)


def test_removed_tracks_are_found_no_more_until_they_are_restored(
    path, embeddings, queries, new, catalogue
):
    update(path, embeddings, queries, new=new)
    catalogue.add(new)
    before = catalogue.best(queries, 20)
    gone = sorted({row[place] for row in before for place in range(5)})
    assert {"new1", "t5", "t0"} < set(gone)
    kept = catalogue.remove(*gone)
    built = update(path, embeddings, queries, remove=pa.array(gone))
    assert (built.removed, built.recall) == (len(gone), pytest.approx(1))
    assert open_index(path, embeddings).size == 1_640 - len(gone)
    assert found_in(path, embeddings, queries, 20) == catalogue.best(queries, 20)
    assert len(found_in(path, embeddings, queries[:1], 5_000)[0]) == 1_640 - len(gone)
    # Given again, with one more.
    another = catalogue.best(queries[:1], 1)[0][0]
    update(path, embeddings, queries, remove=pa.array([*gone, another]))
    catalogue.remove(another)
    assert found_in(path, embeddings, queries, 20) == catalogue.best(queries, 20)
    assert open_index(path, embeddings).description.removed == len(gone) + 1
    # Half of them come back.
    catalogue.vectors.update({one: kept[one] for one in gone[::2]})
    update(path, embeddings, queries, restore=pa.array(gone[::2]))
    assert found_in(path, embeddings, queries, 20) == catalogue.best(queries, 20)


def test_building_again_takes_over_what_was_added_and_removed(
    path, embeddings, queries, new, catalogue
):
    kind = open_index(path, embeddings).description.kind
    update(path, embeddings, queries, new=new)
    catalogue.add(new)
    gone = ["t1", "new2", "t5"]
    kept = catalogue.remove(*gone)
    update(path, embeddings, queries, remove=pa.array(gone))
    built = build_index(embeddings, queries, path, kind=kind, min_recall=1 - 1e-9, k=20)
    assert (built.tracks, built.added, built.removed) == (1_637, 40, 3)
    index = open_index(path, embeddings)
    assert len(index.side_rows) == 0
    assert found_in(path, embeddings, queries, 20) == catalogue.best(queries, 20)
    # Restored, they are none of the searcher's.
    update(path, embeddings, queries, restore=pa.array(gone))
    catalogue.vectors.update(kept)
    assert len(open_index(path, embeddings).side_rows) == 3
    assert found_in(path, embeddings, queries, 20) == catalogue.best(queries, 20)
    build_index(embeddings, queries, path, kind=kind, min_recall=1 - 1e-9, k=20)
    assert len(open_index(path, embeddings).side_rows) == 0
    assert found_in(path, embeddings, queries, 20) == catalogue.best(queries, 20)


def test_filters_know_added_and_removed_tracks(path, embeddings, queries, new, catalogue):
    update(path, embeddings, queries, new=new, remove=pa.array(["t1", "new3", "t7"]))
    catalogue.add(new)
    catalogue.remove("t1", "new3", "t7")
    rows = catalogue.rows
    heard = [[*best[::2], "t1"] for best in catalogue.best(queries, 30)]
    exclude = [np.array([rows[one] for one in ids]) for ids in heard]
    allowed = np.random.default_rng(3).random(TRACKS + 37) < 0.4
    found = found_in(path, embeddings, queries, 15, exclude=exclude, allowed=allowed)
    expected = [
        [one for one in best if one not in barred and allowed[rows[one]]][:15]
        for best, barred in zip(catalogue.best(queries, 1_637), heard, strict=True)
    ]
    assert found == expected
    only_new = np.arange(TRACKS + 37) >= TRACKS
    (few,) = found_in(path, embeddings, queries[:1], 50, allowed=only_new)
    assert sorted(few) == sorted({f"new{number}" for number in range(37)} - {"new3"})


def test_the_same_tracks_may_be_given_again(path, embeddings, queries, new, catalogue, caplog):
    update(path, embeddings, queries, new=new)
    caplog.set_level("INFO", logger="absl")
    built = update(path, embeddings, queries, new=new)
    assert built.added == 40
    assert "40 of the new tracks were added before" in caplog.text
    catalogue.add(new)
    assert found_in(path, embeddings, queries, 20) == catalogue.best(queries, 20)


def test_what_does_not_fit_is_refused_and_changes_nothing(embeddings, queries, new, tmp_path):
    path = tmp_path / "index"
    build_index(embeddings, queries, path)
    update(path, embeddings, queries, new=new, remove=pa.array(["new4"]))
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    one = queries[50:51]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"new": NewTracks(pa.array(["t3"]), one)}, "1 of the tracks have an embedding in the"),
        ({"new": NewTracks(pa.array(["new1"]), one)}, "added before with another .*new1 is the"),
        ({"new": NewTracks(pa.array(["new4"]), new.vectors[7:8])}, "were removed.*restore_tracks"),
        ({"restore": pa.array(["new4", "new5", "?"])}, "2 of the tracks were not removed, new5 is"),
        ({"remove": pa.array([*VOCABULARY.to_pylist(), *new.track_ids.to_pylist()])}, "no track"),
    ]
    for change, says in refused:
        with pytest.raises(UserError, match=says):
            update(path, embeddings, queries, **change)
        assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    with pytest.raises(UserError, match="no finished index"):
        update(tmp_path / "other", embeddings, queries, new=new)


def test_an_index_of_version_1_becomes_one_of_the_model_it_is_measured_on(
    embeddings, queries, new, catalogue, tmp_path, caplog
):
    path = tmp_path / "run" / "index"
    build_index(embeddings, queries, path)
    fields = json.loads((path / DESCRIPTION).read_text())
    for name in ("model_sha256", "machine", "added", "removed"):
        del fields[name]
    (path / DESCRIPTION).write_text(json.dumps({**fields, "index_version": 1}))
    np.save(path / VECTORS, embeddings.vectors[embeddings.vectors.any(axis=1)])
    (tmp_path / "run" / MODEL_FILE).write_bytes(b"weights")
    built = update(path, embeddings, queries, new=new)
    assert "which model" in caplog.text
    assert built.index_version == 2
    assert built.model_sha256 == hashlib.sha256(b"weights").hexdigest()
    caplog.clear()
    catalogue.add(new)
    assert found_in(path, embeddings, queries, 20) == catalogue.best(queries, 20)
    assert not caplog.records


def test_removing_what_is_not_there_is_told(embeddings, queries, tmp_path, caplog):
    path = tmp_path / "index"
    build_index(embeddings, queries, path)
    assert update(path, embeddings, queries, remove=pa.array(["t1", "x", "y"])).removed == 1
    assert "2 of the tracks to remove are not in the catalogue, x is the first" in caplog.text


def test_changes_of_other_embeddings_are_not_taken_over(embeddings, queries, new, tmp_path, caplog):
    path = tmp_path / "index"
    build_index(embeddings, queries, path)
    update(path, embeddings, queries, new=new, remove=pa.array(["t1"]))
    others = TrackEmbeddings(
        unit_vectors(np.random.default_rng(9), TRACKS),
        {"vocabulary_sha256": "v", "embeddings_sha256": "others"},
    )
    built = build_index(others, queries, path)
    assert (built.tracks, built.added, built.removed) == (TRACKS, 0, 0)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "not taken over" in warning
    assert not (path / ADDED).exists()


@pytest.mark.parametrize("name", [ADDED, REMOVED])
@pytest.mark.parametrize("damage", ["lost", "nonsense"])
def test_damaged_changes_are_refused(embeddings, queries, new, tmp_path, name, damage):
    path = tmp_path / "mine" / "index"
    build_index(embeddings, queries, path)
    update(path, embeddings, queries, new=new, remove=pa.array(["t1"]))
    (path / name).unlink() if damage == "lost" else (path / name).write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"damaged.*build_index --run=mine"):
        open_index(path, embeddings)


def test_recall_is_measured_against_all_that_can_be_found(
    embeddings, queries, new, tmp_path, monkeypatch
):
    """What ScaNN leaves out by its settings shows, and what is beside it is exact."""
    monkeypatch.setattr(index_module, "_PARTITIONED_FROM", 1_000)
    path = tmp_path / "index"
    build_index(embeddings, queries, path, kind="scann", min_recall=0.5, k=20)
    # Those of half of the queries, so that nothing is near but what is new.
    many = NewTracks(
        pa.array([f"near{number}" for number in range(600)]),
        (queries[:30].repeat(20, axis=0) + 1e-3 * unit_vectors(np.random.default_rng(4), 600)),
    )
    built = update(path, embeddings, queries, new=many)
    index = open_index(path, embeddings)
    vectors = np.concatenate([embeddings.vectors, many.vectors])
    vectors[::5][: TRACKS // 5] = 0
    rows = np.flatnonzero(vectors.any(axis=1))
    exact = brute_force(vectors[rows], queries, 20)
    truth = Neighbours(rows[exact.rows], exact.scores)
    found = index.search(queries, 20)
    shares = [
        len(set(a) & set(b)) / 20
        for a, b in zip(found.rows.tolist(), truth.rows.tolist(), strict=True)
    ]
    assert built.recall == pytest.approx(np.mean(shares))
    assert np.mean(shares[:30]) > 0.95
    assert np.mean(shares[30:]) < 0.9
    stored = json.loads((path / DESCRIPTION).read_text())
    assert stored["recall"] == built.recall
