"""The heuristics and oracles against loops over sessions, written from §6.1 and Eq. 1."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from cosernn_tf.evaluation import heuristics
from cosernn_tf.table import SessionTable

from .tables import DIM, Data, change_future, only_user, random_data, sessions_of

PERIOD_STARTS = (
    (1, "night"),
    (6, "early"),
    (9, "morning"),
    (12, "noon"),
    (17, "eve"),
    (21, "late"),
)


def context(table: SessionTable, session: int) -> tuple[str, int]:
    hour = table.hour[session]
    names = [name for start, name in PERIOD_STARTS if hour >= start]
    return (names[-1] if names else "late", int(table.device[session]))


def earlier_sessions(table: SessionTable, session: int) -> list[int]:
    first = max(split for split in table.row_splits.tolist() if split <= session)
    # Users without sessions share their split with the next user, which changes nothing.
    return list(range(first, session))


def weighted_mean(vectors: list[np.ndarray]) -> np.ndarray:
    total = np.zeros(DIM)
    for weight, vector in enumerate(vectors, 1):
        total += weight * vector.astype(np.float64) / len(vectors)
    norm = np.sqrt((total**2).sum())
    return total / norm if norm else total


def last_oracle(data: Data, session: int, *, same: bool) -> np.ndarray:
    played = data.embeddings.played
    earlier = [row for row in earlier_sessions(data.table, session) if played[row].any()]
    if same:
        now = context(data.table, session)
        earlier = [row for row in earlier if context(data.table, row) == now] or earlier
    return played[earlier[-1]] if earlier else np.zeros(DIM)


def avg_oracle(data: Data, session: int, *, same: bool) -> np.ndarray:
    vectors = data.embeddings.all
    earlier = earlier_sessions(data.table, session)
    if same:
        now = context(data.table, session)
        of_context = [row for row in earlier if context(data.table, row) == now]
        if any(vectors[row].any() for row in of_context):
            earlier = of_context
    return weighted_mean([vectors[row] for row in earlier])


def popularity_oracle(data: Data, session: int) -> np.ndarray:
    played = data.embeddings.played
    best, answer = Fraction(-1), np.zeros(DIM)
    for row in earlier_sessions(data.table, session):
        if played[row].any():
            listens = [int(data.train_listens[t]) for t in data.table.track[row] if t >= 0]
            mean = Fraction(sum(listens), len(listens))
            if mean >= best:
                best, answer = mean, played[row]
    return answer


ORACLES = {
    "last_any": lambda data, session: last_oracle(data, session, same=False),
    "last_same": lambda data, session: last_oracle(data, session, same=True),
    "avg_any": lambda data, session: avg_oracle(data, session, same=False),
    "avg_same": lambda data, session: avg_oracle(data, session, same=True),
    "popularity": popularity_oracle,
}


def predict(data: Data) -> dict[str, np.ndarray]:
    return {
        **heuristics.predict_heuristics(data.table, data.embeddings, data.train_listens),
        **heuristics.predict_oracles(data.table, data.embeddings, data.track_embeddings, seed=3),
    }


@pytest.fixture(scope="module")
def data() -> Data:
    return random_data()


def test_the_data_has_what_it_should(data):
    played, skipped = data.embeddings.has_played, data.embeddings.skipped.any(axis=1)
    assert (~played & skipped).any()
    assert (~played & ~skipped).any()
    assert (data.track_embeddings == 0).all(axis=1).any()
    assert set(np.unique(data.table.track[data.table.track < 0])) == {-1, -2}


def test_names_and_titles_are_those_of_table_2(data):
    assert list(predict(data)) == [*heuristics.HEURISTICS, *heuristics.ORACLES]
    titles = [*heuristics.HEURISTICS.values(), *heuristics.ORACLES.values()]
    assert titles == [
        "Last, any cxt",
        "Last, same cxt",
        "Avg, any cxt",
        "Avg, same cxt",
        "Popularity",
        "Oracle half",
        "Oracle full",
    ]


@pytest.mark.parametrize("name", list(ORACLES))
def test_equals_the_loop(data, name):
    actual = predict(data)[name]
    expected = [ORACLES[name](data, session) for session in range(data.table.num_sessions)]
    np.testing.assert_allclose(actual, np.array(expected), atol=2e-7)
    assert actual.dtype == np.float32


def test_the_five_heuristics_differ(data):
    predictions = list(predict(data).values())
    for index, prediction in enumerate(predictions):
        for other in predictions[:index]:
            assert np.abs(prediction - other).max(axis=1).mean() > 0.1


@pytest.mark.parametrize("last_kept", [0, 1, 5, 40])
def test_heuristics_do_not_see_the_session_or_the_future(data, last_kept):
    before, after = predict(data), predict(change_future(data, last_kept))
    rows = data.table.position <= last_kept
    for name in heuristics.HEURISTICS:
        np.testing.assert_array_equal(before[name][rows], after[name][rows])


def test_other_users_do_not_matter(data):
    together = predict(data)
    for user in range(data.table.num_users):
        for name, alone in predict(only_user(data, user)).items():
            np.testing.assert_array_equal(alone, together[name][sessions_of(data, user)])


def test_no_history_is_zero_and_no_sessions_are_none(data):
    for name, prediction in predict(data).items():
        if name in heuristics.HEURISTICS:
            assert not prediction[data.table.position == 0].any()
    empty = data.with_table(data.table.select_users(np.zeros(0, np.int64)))
    for prediction in predict(empty).values():
        assert prediction.shape == (0, DIM)


# Oracles -----------------------------------------------------------------------------------------


def test_oracle_full_is_the_session(data):
    np.testing.assert_array_equal(predict(data)["oracle_full"], data.embeddings.played)


def distinct_vectors(data: Data) -> Data:
    """One-hot rows, so that a mean tells which tracks it is of; track 0 has no embedding."""
    vectors = np.eye(len(data.track_embeddings), dtype=np.float32)
    vectors[0] = 0
    return dataclasses.replace(data, track_embeddings=vectors)


def test_oracle_half_is_a_mean_of_half_of_the_listens(data):
    data = distinct_vectors(data)
    half = heuristics.oracle_half(data.table, data.track_embeddings, seed=1)
    for session, prediction in enumerate(half):
        listens = [track for track in data.table.track[session] if track > 0]
        wanted = -(-len(listens) // 2)
        if not wanted:
            assert not prediction.any()
            continue
        assert np.linalg.norm(prediction) == pytest.approx(1, abs=1e-6)
        chosen = np.flatnonzero(prediction)
        # Repeats are listens of their own: counts are whole multiples of one unit.
        counts = prediction[chosen] ** 2
        units = prediction[chosen] / prediction[chosen].min()
        possible = [
            scale
            for scale in range(1, 11)
            if np.allclose(units * scale, np.round(units * scale), atol=1e-4)
            and round(float((units * scale).sum())) == wanted
            and all(
                round(float(unit * scale)) <= listens.count(track)
                for unit, track in zip(units, chosen, strict=True)
            )
        ]
        assert possible, (listens, chosen, counts)


def test_oracle_half_chooses_uniformly_and_by_seed():
    # 10 distinct tracks: 5 chosen, each with probability 1/2, each pair with 2/9.
    data = distinct_vectors(random_data(2, lengths=(400, 400)))
    track = np.tile(np.arange(1, 11), (800, 1))
    table = dataclasses.replace(data.table, track=track, skipped=track % 2)
    chosen = np.concatenate(
        [
            heuristics.oracle_half(table, data.track_embeddings, seed=seed)[:, 1:11] > 0
            for seed in range(10)
        ]
    )
    assert (chosen.sum(axis=1) == 5).all()
    pairs = chosen.T.astype(float) @ chosen / len(chosen)
    np.testing.assert_allclose(np.diag(pairs), 0.5, atol=0.025)
    np.testing.assert_allclose(pairs[~np.eye(10, dtype=bool)], 2 / 9, atol=0.025)
    # Seeds are independent: two of them choose the same five in one session of 252.
    assert (chosen[:800] == chosen[800:1600]).all(axis=1).mean() < 0.03


def test_oracle_half_is_the_same_for_the_same_user_and_start_only(data):
    same = dataclasses.replace(data.table, hour=data.table.hour * 0, device=data.table.device * 0)
    other = dataclasses.replace(data.table, session_start=data.table.session_start + 1)
    renamed = np.array([user + b"'" for user in data.table.user_id], object)
    strangers = dataclasses.replace(data.table, user_id=renamed)
    half = heuristics.oracle_half(data.table, data.track_embeddings, seed=1)
    again = heuristics.oracle_half(same, data.track_embeddings, seed=1)
    np.testing.assert_array_equal(half, again)
    for table, seed in ((other, 1), (strangers, 1), (data.table, 2)):
        assert (heuristics.oracle_half(table, data.track_embeddings, seed=seed) != half).any()


def test_oracle_half_of_some_sessions(data, monkeypatch):
    everyones = heuristics.oracle_half(data.table, data.track_embeddings, seed=3)
    some = np.arange(0, data.table.num_sessions, 3)
    monkeypatch.setattr(heuristics, "_GATHER_ROWS", 7)
    half = heuristics.oracle_half(data.table, data.track_embeddings, seed=3, sessions=some)
    np.testing.assert_array_equal(half[some], everyones[some])
    assert not np.delete(half, some, axis=0).any()
