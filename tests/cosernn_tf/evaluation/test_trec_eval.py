"""Every ranking metric against trec_eval, the reference implementation of information retrieval.

It knows no expectation over ties: what ties is given to it in every order, and the mean taken.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import pytrec_eval

from cosernn_tf.evaluation import metrics
from cosernn_tf.evaluation.candidates import Relevance
from cosernn_tf.evaluation.catalogue import Catalogue
from cosernn_tf.evaluation.catalogue_metrics import Part, catalogue_scores, hit, ndcg, recall, rr
from cosernn_tf.evaluation.scores import score_sessions
from cosernn_tf.features import normalize

from .tables import DIM, Data, random_data
from .test_candidates import contained, recent_tracks
from .test_catalogue import heard_before
from .test_catalogue_metrics import places_of
from .test_heuristics import earlier_sessions

MEASURES = {"map", "recip_rank", "recall.10,100", "ndcg_cut.10,100", "success.10,100"}
MAX_ORDERS = 800


def trec_eval(rankings: Sequence[Sequence[int]], relevant: Sequence[int]) -> dict[str, np.ndarray]:
    """Of each ranking, best first, by measure."""
    qrels = {str(q): {str(item): 1 for item in relevant} for q in range(len(rankings))}
    runs = {
        str(q): {str(item): float(-place) for place, item in enumerate(ranking)}
        for q, ranking in enumerate(rankings)
    }
    found = pytrec_eval.RelevanceEvaluator(qrels, MEASURES).evaluate(runs)
    return {
        name: np.array([found[str(q)][name] for q in range(len(rankings))]) for name in found["0"]
    }


def orders(scores: np.ndarray, relevant: Sequence[int]) -> Iterator[list[int]]:
    """All rankings in which the relevant of those that tie stand elsewhere."""
    groups = [np.flatnonzero(scores == score).tolist() for score in np.unique(scores)[::-1]]
    options = []
    for group in groups:
        own = [item for item in group if item in relevant]
        others = [item for item in group if item not in relevant]
        ways = []
        for places in itertools.combinations(range(len(group)), len(own)):
            ranking = list(others)
            for place, item in zip(places, own, strict=True):
                ranking.insert(place, item)
            ways.append(ranking)
        options.append(ways)
    for way in itertools.product(*options):
        yield list(itertools.chain(*way))


@pytest.fixture(scope="module")
def data() -> Data:
    return random_data(5, lengths=(1, 70, 0, 2, 55, 130))


@pytest.fixture(scope="module")
def predictions(data) -> np.ndarray:
    vectors = np.random.default_rng(2).normal(size=(data.table.num_sessions, DIM))
    return normalize(vectors.astype(np.float32))


def test_the_data_have_every_case(data):
    """Users with one session, sessions with one listen, histories shorter than K, and ties."""
    table = data.table
    assert {1, 2} <= set(np.diff(table.row_splits).tolist())
    assert (table.num_tracks == 1).sum() > 5
    counts = [len(recent_tracks(data, session, 100)) for session in range(table.num_sessions)]
    assert sum(count < 25 for count in counts) > 10
    assert sum(25 <= count < 100 for count in counts) > 10
    assert sum(count == 100 for count in counts) > 10


# The paper's -------------------------------------------------------------------------------------


def test_session_and_track_ranking(data, predictions):
    scores = score_sessions(
        data.table,
        data.embeddings,
        data.track_embeddings,
        sessions_mask=np.ones(data.table.num_sessions, bool),
        predictions={"model": predictions},
        training_end=0,
    ).to_pylist()
    targets = np.flatnonzero(data.embeddings.has_played).tolist()
    assert len(scores) == len(targets)
    compared = dict.fromkeys([metric.name for metric in metrics.METRICS], 0)
    for session, row in zip(targets, scores, strict=True):
        played = data.embeddings.played
        earlier = [s for s in earlier_sessions(data.table, session) if played[s].any()]
        for k in metrics.SESSION_SIZES:
            candidates = [session, *earlier[::-1]][:k]
            if len(candidates) < k:
                assert row[f"session_rr_{k}"] is None
                continue
            cosines = np.array([np.vecdot(played[s], predictions[session]) for s in candidates])
            # What is equal on paper is equal here.
            cosines[np.abs(cosines - cosines[0]) <= metrics.EQUAL_COSINES] = cosines[0]
            tied = np.flatnonzero(cosines == cosines[0]).tolist()
            rest = [i for i in np.argsort(-cosines, kind="stable").tolist() if i not in tied]
            above = [i for i in rest if cosines[i] > cosines[0]]
            below = [i for i in rest if cosines[i] < cosines[0]]
            others = [i for i in tied if i != 0]
            rankings = [
                [*above, *others[:place], 0, *others[place:], *below] for place in range(len(tied))
            ]
            ranks = 1 / trec_eval(rankings, [0])["recip_rank"]
            assert row[f"session_rank_{k}"] == pytest.approx(ranks.mean())
            assert row[f"session_rr_{k}"] == pytest.approx(1 / ranks.mean())
            compared[f"session_rr_{k}"] += 1
        current = contained(data, session, Relevance.ANY)
        for k in metrics.TRACK_SIZES:
            tracks = recent_tracks(data, session, k)
            relevant = [place for place, track in enumerate(tracks) if track in current]
            if len(tracks) < k or not relevant:
                assert row[f"ap_{k}"] is None
                continue
            vectors = data.track_embeddings[tracks]
            cosines = np.array([np.vecdot(v, predictions[session]) for v in vectors])
            # The more recent of equal ones comes first.
            found = trec_eval([np.argsort(-cosines, kind="stable").tolist()], relevant)
            assert row[f"ap_{k}"] == pytest.approx(found["map"][0])
            assert row[f"recall10_{k}"] == pytest.approx(found["recall_10"][0])
            compared[f"ap_{k}"] += 1
    assert all(compared[name] > 10 for name in compared if name.startswith(("session_rr", "ap")))


def test_average_precision_of_any_ranking():
    rng = np.random.default_rng(0)
    for size in (1, 2, 10, 11, 100):
        ranked = rng.random((40, size)) < rng.random((40, 1))
        ranked[np.arange(40), rng.integers(0, size, 40)] = True
        precision, found = metrics.average_precision(ranked), metrics.recall_at(ranked, 10)
        for row in range(40):
            expected = trec_eval([range(size)], np.flatnonzero(ranked[row]).tolist())
            assert precision[row] == pytest.approx(expected["map"][0])
            assert found[row] == pytest.approx(expected["recall_10"][0])


# The catalogue -----------------------------------------------------------------------------------


def trec_names(part: Part = Part.ALL) -> dict[str, str]:
    return {
        **{recall(k, part): f"recall_{k}" for k in (10, 100)},
        **{ndcg(k, part): f"ndcg_cut_{k}" for k in (10, 100)},
        **{hit(k, part): f"success_{k}" for k in (10, 100)},
        rr(part): "recip_rank",
    }


def test_retrieval(data, predictions):
    """Without ties; its reciprocal rank is cut, so it is shown the first 100 only."""
    vectors = data.track_embeddings.copy()
    vectors[40:60] = normalize(np.random.default_rng(9).normal(size=(20, DIM)))
    distinct = Data(data.table, vectors, data.train_listens)
    targets = np.flatnonzero(distinct.embeddings.has_played)[::3]
    catalogue = Catalogue(vectors, data.train_listens, models=["model"])
    scores = catalogue.score(data.table, targets, {"model": predictions[targets]})["model"]
    embedded = np.flatnonzero(vectors.any(axis=1))
    compared = dict.fromkeys(Part, 0)
    for number, session in enumerate(targets.tolist()):
        cosines = [np.vecdot(vector, predictions[session]) for vector in vectors[embedded]]
        ranking = np.argsort(-np.array(cosines), kind="stable")[:100].tolist()
        current = contained(data, session, Relevance.ANY) & set(embedded.tolist())
        before = heard_before(data, session)
        for part, tracks in (
            (Part.ALL, current),
            (Part.REPEATED, current & before),
            (Part.NEW, current - before),
        ):
            if not tracks:
                continue
            relevant = np.searchsorted(embedded, sorted(tracks)).tolist()
            found = trec_eval([ranking], relevant)
            for ours, theirs in trec_names(part).items():
                assert scores[ours][number] == pytest.approx(found[theirs][0]), (session, ours)
            compared[part] += 1
    assert min(compared.values()) > 15


@pytest.mark.parametrize("size", [4, 13, 115])
def test_retrieval_with_ties_at_every_place(size):
    rng = np.random.default_rng(size)
    tied = 0
    for _ in range(25):
        scores = np.sort(rng.random(size))[::-1]
        # A group of equal ones that begins anywhere, or shortly before a cutoff.
        start = int(rng.choice([rng.integers(0, size), 7, 97])) % size
        length = int(rng.integers(1, 7))
        scores[start : start + length] = scores[start]
        relevant = sorted(
            {int(item) for item in (rng.integers(0, size), start, start + length // 2)}
            & set(range(size))
        )
        rankings = [ranking[:100] for ranking in itertools.islice(orders(scores, relevant), 801)]
        assert len(rankings) <= MAX_ORDERS
        first, ties, mask = places_of(scores, relevant)
        found = catalogue_scores(first, ties, dict.fromkeys(Part, mask))
        expected = trec_eval(rankings, relevant)
        for ours, theirs in trec_names().items():
            assert found[ours][0] == pytest.approx(expected[theirs].mean(), abs=1e-6), ours
        tied += len(rankings) > 1
    assert tied > 4
