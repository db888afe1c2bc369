"""Retrieval from the catalogue against a loop over sessions and tracks."""

import json
import math
from statistics import fmean

import numpy as np
import pytest

from cosernn_tf.evaluation import catalogue as catalogue_module
from cosernn_tf.evaluation.candidates import Relevance
from cosernn_tf.evaluation.catalogue import NO_TRACK, Catalogue, relevant_tracks
from cosernn_tf.evaluation.catalogue_metrics import CATALOGUE_METRICS, CUTOFFS
from cosernn_tf.evaluation.catalogue_report import format_catalogue
from cosernn_tf.evaluation.recommended import Popularity, Recommended, gini
from cosernn_tf.features import normalize

from .tables import DIM, NUM_TRACKS, Data, change_future, only_user, random_data
from .test_candidates import contained
from .test_catalogue_metrics import expected_metrics
from .test_heuristics import earlier_sessions

NAMES = [metric.name for metric in CATALOGUE_METRICS]


@pytest.fixture(scope="module")
def data() -> Data:
    return random_data(3, lengths=(1, 40, 0, 2, 60, 5))


def targets_of(data: Data) -> np.ndarray:
    (targets,) = np.nonzero(data.embeddings.has_played & (data.table.position % 2 == 0))
    return targets


def predictions_of(data: Data) -> dict[str, np.ndarray]:
    """Of the targets: of any direction, nothing at all for some, and those of a session."""
    table, targets = data.table, targets_of(data)
    angles = [np.sin(start * np.arange(1.0, DIM + 1)) for start in table.session_start[targets]]
    random = normalize(np.array(angles).reshape(-1, DIM).astype(np.float32))
    random[table.position[targets] == 0] = 0.0
    full = data.embeddings.played[targets]
    return {"random": random, "full": full, "full again": full.copy()}


def catalogue_of(data: Data, **options) -> Catalogue:
    return Catalogue(
        data.track_embeddings, data.train_listens, models=list(predictions_of(data)), **options
    )


def score(data: Data, **options) -> dict[str, dict[str, np.ndarray]]:
    return catalogue_of(data, **options).score(data.table, targets_of(data), predictions_of(data))


def heard_before(data: Data, session: int) -> set[int]:
    earlier = earlier_sessions(data.table, session)
    return {track for row in earlier for track in data.table.track[row].tolist()}


@pytest.mark.parametrize("relevance", list(Relevance))
def test_relevant_tracks_equal_the_loop(data, relevance):
    embedded = np.flatnonzero(data.track_embeddings.any(axis=1)).tolist()
    row_of_track = np.full(NUM_TRACKS, NO_TRACK)
    row_of_track[embedded] = np.arange(len(embedded))
    targets = np.arange(data.table.num_sessions)
    found = relevant_tracks(data.table, targets, row_of_track, relevance=relevance)
    outside = repeated = 0
    for session in targets.tolist():
        current = {track for track in contained(data, session, relevance) if track >= 0}
        rows = found.rows[session]
        is_track = rows != NO_TRACK
        tracks = [embedded[row] for row in rows[is_track]]
        assert len(tracks) == len(set(tracks))
        assert set(tracks) == current & set(embedded)
        outside += len(current - set(embedded))
        before = heard_before(data, session)
        of_tracks = found.is_repeated[session][is_track].tolist()
        assert of_tracks == [track in before for track in tracks]
        assert not found.is_repeated[session][~is_track].any()
        repeated += sum(of_tracks)
    assert found.outside == outside > 0
    assert 0 < repeated < np.count_nonzero(found.rows != NO_TRACK)


@pytest.mark.parametrize("relevance", list(Relevance))
def test_scores_equal_the_loop(data, relevance):
    actual = score(data, relevance=relevance)
    embedded = np.flatnonzero(data.track_embeddings.any(axis=1))
    vectors = data.track_embeddings[embedded]
    tied = 0
    for model, predictions in predictions_of(data).items():
        for number, session in enumerate(targets_of(data).tolist()):
            scores = np.array([np.vecdot(vector, predictions[number]) for vector in vectors])
            before = heard_before(data, session)
            current = {t for t in contained(data, session, relevance) if t in embedded}
            for suffix, relevant in (
                ("", current),
                ("_repeated", current & before),
                ("_new", current - before),
            ):
                rows = np.searchsorted(embedded, sorted(relevant)).tolist()
                found = {name: actual[model][f"catalogue_{name}{suffix}"][number] for name in BASES}
                if not rows:
                    assert all(map(math.isnan, found.values()))
                elif predictions[number].any():
                    expected = expected_metrics(scores, rows)
                    assert found == pytest.approx(expected, abs=1e-9), (model, session, suffix)
                    tied += len(set(scores[rows])) < len(rows) or any(
                        (scores == scores[row]).sum() > 1 for row in rows
                    )
                else:
                    # 100 of all tracks, whichever they are.
                    share = 100 / len(embedded)
                    assert found["recall_100"] == pytest.approx(share, abs=1e-12)
    assert tied > 20


BASES = [name.removeprefix("catalogue_") for name in NAMES[:7]]


def test_equal_predictions_get_equal_scores(data):
    scores = score(data)
    for name in NAMES:
        np.testing.assert_array_equal(scores["full"][name], scores["full again"][name])
    assert np.nanmean(scores["full"]["catalogue_recall_10"]) > 2 * np.nanmean(
        scores["random"]["catalogue_recall_10"]
    )


@pytest.mark.parametrize("queries", [1, 7])
def test_how_many_are_searched_at_once_does_not_matter(data, monkeypatch, queries):
    expected = score(data)
    monkeypatch.setattr(catalogue_module, "QUERIES", queries)
    for model, of_model in score(data).items():
        for name, values in of_model.items():
            np.testing.assert_array_equal(values, expected[model][name])


def test_blocks_add_up(data):
    whole, parts = catalogue_of(data), catalogue_of(data)
    together = whole.score(data.table, targets_of(data), predictions_of(data))
    found: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    for user in range(data.table.num_users):
        alone = only_user(data, user)
        of_user = parts.score(alone.table, targets_of(alone), predictions_of(alone))
        for name in NAMES:
            found[name].append(of_user["random"][name])
    for name in NAMES:
        np.testing.assert_array_equal(np.concatenate(found[name]), together["random"][name])
    assert json.dumps(parts.summary()) == json.dumps(parts.summary())
    first, second = whole.summary(), parts.summary()
    for model in first["models"]:
        for summary in (first, second):
            summary["models"][model]["metrics"] = {
                name: pytest.approx(value, abs=1e-12)
                for name, value in summary["models"][model]["metrics"].items()
            }
    assert first == second


@pytest.mark.parametrize("last_kept", [10, 33])
def test_the_future_does_not_matter(data, last_kept):
    def until(of: Data) -> tuple[dict[str, np.ndarray], int]:
        (targets,) = np.nonzero(of.embeddings.has_played & (of.table.position < last_kept))
        vectors = normalize(
            np.random.default_rng(1).normal(size=(len(targets), DIM)).astype(np.float32)
        )
        catalogue = Catalogue(of.track_embeddings, of.train_listens, models=["model"])
        return catalogue.score(of.table, targets, {"model": vectors})["model"], len(targets)

    (before, count), (after, same) = until(data), until(change_future(data, last_kept))
    assert count == same > 15
    for name in NAMES:
        np.testing.assert_array_equal(before[name], after[name])


# What is recommended -----------------------------------------------------------------------------


def test_the_summary_equals_the_loop(data):
    catalogue = catalogue_of(data)
    scores = catalogue.score(data.table, targets_of(data), predictions_of(data))
    summary = catalogue.summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    embedded = np.flatnonzero(data.track_embeddings.any(axis=1))
    listens = data.train_listens[embedded]
    assert summary["tracks"] == len(embedded)
    assert summary["tracks_without_embedding"] == NUM_TRACKS - len(embedded) > 0
    for model, predictions in predictions_of(data).items():
        for name, mean in summary["models"][model]["metrics"].items():
            assert mean == pytest.approx(np.nanmean(scores[model][name]))
            defined = np.count_nonzero(~np.isnan(scores[model][name]))
            assert summary["scored"][name] == defined
        for k in CUTOFFS:
            lists = []
            for prediction in predictions[predictions.any(axis=1)]:
                cosines = [np.vecdot(v, prediction) for v in data.track_embeddings[embedded]]
                order = sorted(range(len(embedded)), key=lambda row: (-cosines[row], row))
                lists.append(order[:k])
            expected = recommended_oracle(lists, listens)
            assert summary["models"][model]["recommended"][str(k)] == pytest.approx(expected)
    assert summary["models"]["random"]["recommended"]["10"]["lists"] < len(targets_of(data))
    rows = {track: row for row, track in enumerate(embedded.tolist())}
    listened = [
        [rows[track] for track in contained(data, session, Relevance.ANY) if track in rows]
        for session in targets_of(data).tolist()
    ]
    assert summary["listened"] == pytest.approx(recommended_oracle(listened, listens))
    assert summary["sessions"] == len(targets_of(data))
    assert summary["relevant_tracks"] == sum(map(len, listened))
    assert 0 < summary["repeated_share"] < 1
    assert 0 < summary["outside_share"] < 1


def recommended_oracle(lists: list[list[int]], listens: np.ndarray) -> dict[str, float]:
    listed = [track for tracks in lists for track in tracks]
    counts = [listed.count(track) for track in range(len(listens))]
    differences = sum(abs(a - b) for a in counts for b in counts)
    total, running, head = int(listens.sum()), 0, set()
    for track in sorted(range(len(listens)), key=lambda row: (-listens[row], row)):
        if running < total / 2:
            head.add(track)
        running += int(listens[track])
    smoothed = [(count + 1) / (total + len(listens)) for count in listens.tolist()]
    return {
        "lists": len(lists),
        "distinct_tracks": len(set(listed)),
        "coverage": len(set(listed)) / len(listens),
        "gini": differences / (2 * len(listens) * sum(counts)),
        "mean_log_popularity": fmean([math.log(1 + listens[track]) for track in listed]),
        "head_share": fmean([track in head for track in listed]),
        "novelty": fmean([-math.log2(smoothed[track]) for track in listed]),
    }


def test_gini_by_hand():
    assert gini(np.array([3, 3, 3, 3])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 9])) == pytest.approx(3 / 4)
    assert gini(np.array([1, 3])) == pytest.approx(1 / 4)
    assert math.isnan(gini(np.zeros(3, np.int32)))


def test_nothing_is_listed_by_whoever_knows_nothing(data):
    catalogue = Catalogue(data.track_embeddings, data.train_listens, models=["zero"])
    assert catalogue.summary()["models"]["zero"]["metrics"]["catalogue_rr_100"] is None
    targets = targets_of(data)
    zero = {"zero": np.zeros((len(targets), DIM), np.float32)}
    catalogue.score(data.table, targets, zero)
    summary = catalogue.summary()
    nothing = summary["models"]["zero"]["recommended"]["10"]
    assert nothing["lists"] == nothing["distinct_tracks"] == nothing["coverage"] == 0
    assert nothing["gini"] is nothing["novelty"] is None
    assert json.dumps(summary, allow_nan=False)


def test_a_catalogue_of_a_few_tracks(data):
    """All of them are found, in whichever order."""
    vectors = np.zeros_like(data.track_embeddings)
    few_tracks = np.flatnonzero(data.track_embeddings.any(axis=1))[[3, 70, 140]]
    vectors[few_tracks] = data.track_embeddings[few_tracks]
    few = Data(data.table, vectors, data.train_listens)
    catalogue = Catalogue(vectors, data.train_listens, models=["full"])
    targets = np.flatnonzero(few.embeddings.has_played)
    scores = catalogue.score(few.table, targets, {"full": few.embeddings.played[targets]})
    assert catalogue.size == 3
    assert (scores["full"]["catalogue_recall_10"] == 1).all()
    assert scores["full"]["catalogue_rr_100"].min() >= 1 / 3
    assert catalogue.summary()["models"]["full"]["recommended"]["100"]["coverage"] == 1
    with pytest.raises(ValueError, match="no track has an embedding"):
        Catalogue(np.zeros_like(vectors), data.train_listens, models=["full"])


def test_popularity_of_tracks_that_nobody_listened_to():
    popularity = Popularity(np.zeros(4, np.int64))
    assert not popularity.is_head.any()
    found = Recommended.of(np.array([1, 0, 0, 1]), 2, popularity)
    assert found.novelty == pytest.approx(2.0)
    assert found.mean_log_popularity == 0.0


def test_the_printed_table(data):
    names = {"random": "popularity", "full": "mine", "full again": "oracle_full"}
    predictions = {names[model]: vectors for model, vectors in predictions_of(data).items()}
    predictions["zero"] = np.zeros_like(predictions["mine"])
    catalogue = Catalogue(data.track_embeddings, data.train_listens, models=list(predictions))
    catalogue.score(data.table, targets_of(data), predictions)
    summary = catalogue.summary()
    lines = format_catalogue(summary).splitlines()
    assert max(map(len, lines)) <= 132
    assert lines[0].split() == ["Repeated", "New", "Lists", "of", "10"]
    rows = {line[:18].strip(): line[18:].split() for line in lines[3:7]}
    assert list(rows) == ["Popularity", "mine", "Oracle full", "zero"]
    columns = [
        *("recall_10", "ndcg_10", "hit_10", "rr_100"),
        *("recall_10_repeated", "recall_100_repeated", "recall_10_new", "recall_100_new"),
    ]
    of_mine = summary["models"]["mine"]
    expected = [of_mine["metrics"][f"catalogue_{column}"] for column in columns]
    fields = ("coverage", "head_share", "novelty")
    expected += [of_mine["recommended"]["10"][field] for field in fields]
    assert rows["mine"] == [f"{value:.4f}" for value in expected]
    assert rows["zero"][-2:] == ["-", "-"]
    listened = [f"{summary['listened'][field]:.4f}" for field in fields]
    assert lines[8].split() == ["Tracks", "listened", "to", *8 * ["-"], *listened]
    assert lines[9].startswith(f"All {summary['tracks']} tracks")
