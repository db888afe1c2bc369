"""Search among some of the tracks, against a sort of the scores of these."""

import itertools

import numpy as np
import pytest

from cosernn_tf.retrieval import track_index as track_index_module
from cosernn_tf.retrieval.approximate import ScannSearcher, ScannSettings
from cosernn_tf.retrieval.contract import NO_ROW, Neighbours, Searcher
from cosernn_tf.retrieval.description import IndexDescription
from cosernn_tf.retrieval.exact import ExactSearcher
from cosernn_tf.retrieval.filters import filtered_search
from cosernn_tf.retrieval.track_index import TrackIndex

from .vectors import assert_same, eighths, unit_vectors

TRACKS = 1_500
DESCRIPTION = IndexDescription(
    kind="exact", tracks=1, k=1, min_recall=1, recall=1, queries=0, settings=None,
    latency_median_ms=None, latency_p99_ms=None, vocabulary_sha256="", embeddings_sha256="",
)  # fmt: skip


def everything(vectors: np.ndarray) -> Searcher:
    """ScaNN that looks at all there is."""
    return ScannSearcher.build(vectors, ScannSettings(5, 9, 9, reorder=len(vectors)))


def open_index(vectors: np.ndarray, build) -> TrackIndex:
    """Of the tracks that are not zero."""
    (rows,) = np.nonzero(vectors.any(axis=1))
    return TrackIndex(DESCRIPTION, rows, build(vectors[rows]), vectors)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    vectors = eighths(np.random.default_rng(0), TRACKS)
    # Many that are equal, so that filters cut through ties.
    vectors[500:560] = vectors[502]
    vectors[::7] = 0
    return vectors


@pytest.fixture(scope="module", params=[ExactSearcher.build, everything], ids=["exact", "scann"])
def index(request, vectors) -> TrackIndex:
    return open_index(vectors, request.param)


@pytest.fixture(scope="module")
def queries(vectors) -> np.ndarray:
    others = eighths(np.random.default_rng(1), 11)
    return np.concatenate([others, vectors[[502]]])


def expected(vectors, queries, k, *, exclude=None, allowed=None) -> Neighbours:
    """One query and one row at a time."""
    embedded = vectors.any(axis=1)
    k = min(k, int(embedded.sum()))
    rows = np.full((len(queries), k), NO_ROW)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for number, query in enumerate(queries):
        barred = set() if exclude is None else set(exclude[number].tolist())
        passing = [
            row
            for row in range(len(vectors))
            if embedded[row] and row not in barred and (allowed is None or allowed[row])
        ]
        of = {row: float(query.astype(float) @ vectors[row].astype(float)) for row in passing}
        for place, row in enumerate(sorted(passing, key=lambda row: (-of[row], row))[:k]):
            rows[number, place], scores[number, place] = row, of[row]
    return Neighbours(rows, scores)


def heard(index: TrackIndex, queries: np.ndarray, number: int) -> list[np.ndarray]:
    """Of each query the best tracks, which matter most, and some others."""
    rng = np.random.default_rng(2)
    best = index.search(queries, max(number, 1)).rows[:, :number]
    return [
        rng.permutation(np.concatenate([row, rng.integers(0, TRACKS, 20), [-1, -2, -1]]))
        for row in best
    ]


@pytest.mark.parametrize("k", [1, 10, 100, TRACKS])
@pytest.mark.parametrize("number", [0, 5, 400])
def test_excluded_tracks_are_not_found_and_the_others_are(index, vectors, queries, k, number):
    exclude = heard(index, queries, number)
    found = index.search(queries, k, exclude=exclude)
    exclude = [one[one >= 0] for one in exclude]
    assert_same(found, expected(vectors, queries, k, exclude=exclude))


@pytest.mark.parametrize("exact_up_to", [0, 10_000])
@pytest.mark.parametrize("share", [0.002, 0.3, 0.97])
@pytest.mark.parametrize("k", [1, 40, 1_000])
def test_only_allowed_tracks_are_found(index, vectors, queries, k, share, exact_up_to, monkeypatch):
    monkeypatch.setattr(track_index_module, "_EXACT_UP_TO", exact_up_to)
    allowed = np.random.default_rng(3).random(TRACKS) < share
    truth = expected(vectors, queries, k, allowed=allowed)
    assert_same(index.search(queries, k, allowed=allowed), truth)
    assert_same(index.search(queries, k, allowed=index.allow(allowed)), truth)


@pytest.mark.parametrize("exact_up_to", [0, 10_000])
def test_a_market_far_from_what_is_asked_for(index, vectors, queries, exact_up_to, monkeypatch):
    """The two filters bar all of the best, so that what is asked for has to grow."""
    monkeypatch.setattr(track_index_module, "_EXACT_UP_TO", exact_up_to)
    allowed = np.ones(TRACKS, bool)
    allowed[index.search(queries, 200).rows] = False
    exclude = heard(index, queries, 300)
    found = index.search(queries, 30, exclude=exclude, allowed=allowed)
    exclude = [one[one >= 0] for one in exclude]
    assert_same(found, expected(vectors, queries, 30, exclude=exclude, allowed=allowed))


def test_where_filters_leave_fewer_the_end_is_empty(index, vectors, queries):
    allowed = np.zeros(TRACKS, bool)
    allowed[[1, 2, 7, 14, 600]] = True  # 7 and 14 have no embedding
    exclude = [np.array([2]), np.array([1, 2, 600]), *[np.zeros(0, int)] * (len(queries) - 2)]
    found = index.search(queries, 4, exclude=exclude, allowed=allowed)
    assert_same(found, expected(vectors, queries, 4, exclude=exclude, allowed=allowed))
    assert (found.rows == NO_ROW).sum(axis=1).tolist() == [2, 4, *[1] * (len(queries) - 2)]
    assert np.isneginf(found.scores[found.rows == NO_ROW]).all()


def test_everything_excluded_or_nothing_allowed(index, queries):
    for filters in (
        {"exclude": [np.arange(TRACKS)] * len(queries)},
        {"allowed": np.zeros(TRACKS, bool)},
        {"allowed": np.arange(TRACKS) % 7 == 0},
    ):
        found = index.search(queries, 3, **filters)
        assert found.rows.tolist() == [[NO_ROW] * 3] * len(queries)
        assert np.isneginf(found.scores).all()
        assert (found.rows.dtype, found.scores.dtype) == (np.int64, np.float32)


def test_filters_that_bar_nothing_change_nothing(index, queries):
    plain = index.search(queries, 50)
    none = [np.zeros(0, np.int64)] * len(queries)
    assert_same(index.search(queries, 50, exclude=none), plain)
    assert_same(index.search(queries, 50, allowed=np.ones(TRACKS, bool)), plain)


def test_no_query(index):
    none = np.zeros((0, 40), np.float32)
    assert index.search(none, 3, exclude=[]).rows.shape == (0, 3)
    assert index.search(none, 3, allowed=np.ones(TRACKS, bool)).rows.shape == (0, 3)


def test_filters_that_do_not_fit_are_refused(index, queries):
    with pytest.raises(ValueError, match="2 exclusions for 12 queries"):
        index.search(queries, 3, exclude=[np.array([1])] * 2)
    for allowed in (np.ones(TRACKS - 1, bool), np.ones(TRACKS, np.int64)):
        with pytest.raises(ValueError, match="allowed has shape"):
            index.search(queries, 3, allowed=allowed)
        with pytest.raises(ValueError, match="allowed has shape"):
            index.allow(allowed)
    other = TrackIndex(DESCRIPTION, index.rows, index._searcher, index._vectors)
    with pytest.raises(ValueError, match="prepared by another index"):
        index.search(queries, 3, allowed=other.allow(np.ones(TRACKS, bool)))


def test_little_is_asked_for_where_filters_bar_little():
    """Heard tracks are many, and few of them near: the answer is not paid for by their number."""
    rng = np.random.default_rng(4)
    vectors = unit_vectors(rng, 20_000)
    searcher = ExactSearcher.build(vectors)
    asked = []

    def search(queries: np.ndarray, k: int) -> Neighbours:
        asked.append((len(queries), k))
        return searcher.search(queries, k)

    queries = unit_vectors(rng, 8)
    best = searcher.search(queries, 500).rows
    exclude = [rng.choice(20_000, 3_000, replace=False) for _ in queries]
    exclude[5] = best[5]
    found = filtered_search(
        search, queries, 20, size=20_000, rows=20_000, exclude=exclude, allowed=None
    )
    assert (found.rows != NO_ROW).all()
    assert asked[0] == (8, 40)
    # One has heard all that is near, and is asked for again alone.
    assert {count for count, _ in asked[1:]} == {1}
    for (_, lower), (_, higher) in itertools.pairwise(asked):
        assert lower < higher <= 3_020
