"""Scores of a sample against those of an evaluation, and which sessions are sampled."""

import numpy as np
import pyarrow.compute as pc
import pytest

from cosernn_tf.evaluation import metrics
from cosernn_tf.evaluation.candidates import Relevance
from cosernn_tf.evaluation.ranking_sample import RankingSample, SampleScores
from cosernn_tf.evaluation.scores import score_sessions

from .tables import DIM, Data, random_data
from .test_candidates import contained, recent_tracks
from .test_metrics import ranking_oracle


@pytest.fixture(scope="module")
def data() -> Data:
    return random_data(lengths=(1, 150, 0, 2, 170, 7, 140))


@pytest.fixture(scope="module")
def predictions(data) -> np.ndarray:
    """Of any length."""
    return np.random.default_rng(4).normal(size=(data.table.num_sessions, DIM)).astype(np.float32)


def in_split(data: Data) -> np.ndarray:
    return data.table.position % 3 != 1


def blocks(data: Data) -> list[tuple[np.ndarray, np.ndarray]]:
    """Users and rows of three blocks."""
    users = [np.arange(2), np.arange(2, 5), np.arange(5, 7)]
    return [(some, np.flatnonzero(np.isin(data.table.user_of_session, some))) for some in users]


def run_pass(sample: RankingSample, data: Data, predictions: np.ndarray) -> SampleScores:
    played, mask = data.embeddings.played, in_split(data)
    for users, rows in blocks(data):
        of_split = np.flatnonzero(mask[rows])
        sample.add(
            data.table.select_users(users),
            played[rows],
            sessions=of_split,
            predictions=predictions[rows][of_split],
        )
    return sample.finish()


def sampled_rows(sample: RankingSample, data: Data) -> np.ndarray:
    parts = zip(sample._parts, blocks(data), strict=False)
    return np.concatenate([rows[part.targets] for part, (_, rows) in parts])


@pytest.mark.parametrize("limit", [60, 10_000])
def test_scores_are_those_of_an_evaluation(data, predictions, limit):
    sample = RankingSample(data.track_embeddings, limit=limit)
    found = run_pass(sample, data, predictions)
    rows = sampled_rows(sample, data)
    targets = np.flatnonzero(in_split(data) & data.embeddings.has_played)
    assert set(rows) <= set(targets)
    assert len(set(rows)) == len(rows) == min(limit, len(targets))
    chosen = np.zeros(data.table.num_sessions, bool)
    chosen[rows] = True
    expected = score_sessions(
        data.table,
        data.embeddings,
        data.track_embeddings,
        sessions_mask=chosen,
        predictions={"model": predictions},
        training_end=0,
    )
    assert found.means == pytest.approx(
        {
            name: pc.mean(expected[name]).as_py()
            for name in ("session_rr_20", "session_rr_50", "ap_25", "ap_100")
        },
        abs=1e-12,
    )


def test_the_confusion_of_track_ranking_is_that_of_a_loop(data, predictions):
    sample = RankingSample(data.track_embeddings, limit=50)
    found = run_pass(sample, data, predictions)
    for k in metrics.TRACK_SIZES:
        expected = np.zeros((4, k + 1), np.int64)
        sessions = 0
        for row in sampled_rows(sample, data):
            tracks = recent_tracks(data, row, k)
            relevant = np.isin(tracks, list(contained(data, row, Relevance.ANY)))
            if len(tracks) < k or not relevant.any():
                continue
            sessions += 1
            products = data.track_embeddings[tracks].astype(np.float64) * predictions[row]
            ranked = ranking_oracle(products.sum(axis=1), relevant)
            for place in range(k + 1):
                taken = ranked[: k - place]
                left = ranked[k - place :]
                expected[:, place] += (
                    sum(taken),
                    len(taken) - sum(taken),
                    len(left) - sum(left),
                    sum(left),
                )
        assert sessions > 10
        np.testing.assert_array_equal(found.confusion[k], expected)


def test_every_pass_has_the_same_sessions(data, predictions):
    sample = RankingSample(data.track_embeddings, limit=60)
    first = run_pass(sample, data, predictions)
    other = run_pass(sample, data, -predictions)
    again = run_pass(sample, data, predictions)
    assert again.means == first.means != other.means
    for k, confusion in first.confusion.items():
        np.testing.assert_array_equal(again.confusion[k], confusion)
    # A process that goes on with the run has them, too; another seed has others.
    resumed = run_pass(RankingSample(data.track_embeddings, limit=60), data, predictions)
    assert resumed.means == first.means
    reseeded = run_pass(RankingSample(data.track_embeddings, limit=60, seed=2), data, predictions)
    assert reseeded.means != first.means


def test_the_candidates_of_fewer_sessions_than_wanted_are_built_once(data, predictions):
    sample = RankingSample(data.track_embeddings, limit=10_000)
    run_pass(sample, data, predictions)
    parts = [id(part) for part in sample._parts]
    run_pass(sample, data, predictions)
    assert [id(part) for part in sample._parts] == parts != []


def test_later_blocks_give_what_the_first_lack(data, predictions):
    played, mask = data.embeddings.played, in_split(data)
    of_first = len(np.flatnonzero(mask[:151] & played[:151].any(axis=1)))
    sample = RankingSample(data.track_embeddings, limit=of_first + 20)
    run_pass(sample, data, predictions)
    assert [len(part.targets) for part in sample._parts] == [of_first, 20]


def test_what_no_session_scores_is_left_out(data, predictions):
    sample = RankingSample(data.track_embeddings)
    few = data.table.select_users(np.array([0, 3]))
    rows = np.flatnonzero(np.isin(data.table.user_of_session, [0, 3]))
    sample.add(
        few, data.embeddings.played[rows], sessions=np.arange(3), predictions=predictions[rows]
    )
    assert sample.finish().means == {}
