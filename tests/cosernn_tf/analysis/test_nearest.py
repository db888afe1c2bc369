"""Fig. 3 against searching the nearest session one by one."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats

from cosernn_tf.analysis import nearest
from cosernn_tf.analysis.block import Block
from cosernn_tf.analysis.contexts import Dimension
from cosernn_tf.analysis.nearest import NearestContext, NearestSessions
from cosernn_tf.features import normalize

from .blocks import DEVICE, PERIOD, all_of, interval, parts, planted_block, random_block

LENGTHS = (1, 64, 0, 2, 130, 7, 65, 3, 2, 33)
"""Of users who are searched together and alone."""

DIMENSIONS = (PERIOD, DEVICE)


def rows_of(*blocks: Block, rates: list[np.ndarray] | None = None) -> tuple[NearestContext, ...]:
    gathered = NearestSessions(DIMENSIONS, rates=rates or [all_of(d) for d in DIMENSIONS])
    for block in blocks:
        gathered.add(block)
    return gathered.rows()


class ByHand:
    """Each source's distribution of targets, and that by chance, one by one."""

    def __init__(self, block: Block, dimension: Dimension, rate: float = 1.0) -> None:
        self.user: list[int] = []
        self.source: list[int] = []
        self.observed: list[np.ndarray] = []
        self.by_chance: list[np.ndarray] = []
        self.sessions = np.zeros(len(dimension), int)
        code = dimension.of(block.table)
        for user, (first, last) in enumerate(itertools.pairwise(block.table.row_splits)):
            own = [s for s in range(first, last) if block.vectors[s].any()]
            for source in own if len(own) > 1 else ():
                self.sessions[code[source]] += 1
                if block.session_numbers[source] >= rate:
                    continue
                others = [session for session in own if session != source]
                cosines = {s: float(block.vectors[s] @ block.vectors[source]) for s in others}
                highest = max(cosines.values())
                near = [s for s in others if cosines[s] >= highest - 1e-6]
                self.user.append(user)
                self.source.append(int(code[source]))
                self.observed.append(self._shares(code[near], len(dimension)))
                self.by_chance.append(self._shares(code[others], len(dimension)))

    @staticmethod
    def _shares(codes: np.ndarray, size: int) -> np.ndarray:
        return np.bincount(codes, minlength=size) / len(codes)


@pytest.mark.parametrize("rate", [1.0, 0.4])
@pytest.mark.parametrize("seed", range(2))
def test_as_searched_one_by_one(seed, rate):
    block = random_block(seed, LENGTHS)
    rates = [np.full(len(dimension), rate) for dimension in DIMENSIONS]
    found = {(r.dimension, r.source, r.target): r for r in rows_of(block, rates=rates)}
    shared = 0
    for dimension in DIMENSIONS:
        expected = ByHand(block, dimension, rate)
        observed, chance = np.array(expected.observed), np.array(expected.by_chance)
        shared += int(np.count_nonzero(observed.max(axis=1) < 1))
        some = np.flatnonzero(expected.sessions)
        for source, target in itertools.product(some.tolist(), some.tolist()):
            names = (dimension.contexts[source], dimension.contexts[target])
            row = found.pop((dimension.name, *names))
            own = np.array(expected.source) == source
            assert row.sources == own.sum()
            assert row.exact == (rate == 1.0)
            assert row.observed == pytest.approx(observed[own, target].mean(), abs=1e-9)
            assert row.by_chance == pytest.approx(chance[own, target].mean(), abs=1e-9)

            difference = observed[own, target] - chance[own, target]
            assert row.excess == pytest.approx(difference.mean(), abs=1e-9)
            by_user: dict[int, float] = defaultdict(float)
            for of, value in zip(np.array(expected.user)[own], difference, strict=True):
                by_user[of] += (value - difference.mean()) / own.sum()
            users = len(by_user)
            assert row.users == users
            error = np.sqrt(users / (users - 1) * sum(d**2 for d in by_user.values()))
            margin = stats.t.ppf(0.975, users - 1) * error
            excess, low, high = interval(row, "excess")
            assert (high - excess, excess - low) == pytest.approx((margin, margin), abs=1e-9)
    assert found == {}
    assert shared > 0, "nothing ties in this test"


def test_a_source_has_a_target():
    for row in (rows := rows_of(random_block(2, LENGTHS))):
        same = [r for r in rows if (r.dimension, r.source) == (row.dimension, row.source)]
        assert sum(r.observed or 0 for r in same) == pytest.approx(1)
        assert sum(r.by_chance or 0 for r in same) == pytest.approx(1)
        assert sum(r.excess or 0 for r in same) == pytest.approx(0)


def almost(found: tuple[NearestContext, ...], expected: tuple[NearestContext, ...]) -> bool:
    return len(found) == len(expected) and all(
        other.to_json()[name]
        == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value)
        for row, other in zip(expected, found, strict=True)
        for name, value in row.to_json().items()
    )


@pytest.mark.parametrize("rate", [1.0, 0.4])
def test_parts_in_any_order_are_the_whole(rate):
    block = random_block(3, LENGTHS)
    rates = [np.full(len(dimension), rate) for dimension in DIMENSIONS]
    assert almost(rows_of(*parts(block), rates=rates), rows_of(block, rates=rates))


@pytest.mark.parametrize(("elements", "small"), [(1, 64), (300, 64), (2**20, 1), (300, 512)])
def test_how_much_is_searched_at_once_changes_nothing(monkeypatch, elements, small):
    block = random_block(4, LENGTHS)
    expected = rows_of(block)
    monkeypatch.setattr(nearest, "_ELEMENTS", elements)
    monkeypatch.setattr(nearest, "_SMALL", small)
    assert almost(rows_of(block), expected)


def test_dimensions_are_sampled_each_by_its_own_rates():
    block = random_block(5, LENGTHS)
    rates = [np.full(len(PERIOD), 0.1), all_of(DEVICE)]
    rows = rows_of(block, rates=rates)
    whole = rows_of(block)
    assert [r for r in rows if r.dimension == "device"] == [
        r for r in whole if r.dimension == "device"
    ]
    assert not any(row.exact for row in rows if row.dimension == "period")


def test_a_sample_is_near_the_whole_within_its_interval():
    whole = rows_of(random_block(6, lengths=(60,) * 40))
    inside = []
    for seed in range(10):
        block = random_block(6, lengths=(60,) * 40)
        block = Block(block.table, block.track_embeddings, seed)
        rates = [np.full(len(dimension), 0.2) for dimension in DIMENSIONS]
        for row, exact in zip(rows_of(block, rates=rates), whole, strict=True):
            _, low, high = interval(row, "excess")
            inside.append(low <= exact.excess <= high)
    assert np.mean(inside) > 0.93


def test_what_is_planted_is_found():
    # Mornings are of one kind of music and evenings of another, on devices by turns. 3 mornings
    # and 5 evenings: by chance a morning's other session is a morning 2 times of 7.
    vectors = np.eye(8) + 0.0
    vectors[:3, 7] = 2.0
    vectors[3:, 6] = 2.0
    track = np.tile(np.arange(8)[:, None], (30, 1))
    hour = np.tile([9, 10, 11, 17, 18, 19, 20, 17], 30)
    block = planted_block([8] * 30, track=track, vectors=normalize(vectors), hour=hour)
    found = {(row.source, row.target): row for row in rows_of(block) if row.dimension == "period"}
    assert set(found) == set(itertools.product(("morning", "evening"), repeat=2))
    same = found["morning", "morning"]
    assert same.observed == 1.0
    # All users are alike, so that there is no doubt.
    assert interval(same, "excess") == pytest.approx((5 / 7, 5 / 7, 5 / 7))
    assert found["evening", "morning"].excess == pytest.approx(-3 / 7)


def test_a_null_is_within_its_interval():
    # Contexts that are drawn by lot have nothing to do with the music.
    block = random_block(7, lengths=(80,) * 40)
    rng = np.random.default_rng(8)
    block.table.hour[:] = rng.choice([3, 8, 10, 14, 18, 22], len(block.table.hour))
    rows = [row for row in rows_of(block) if row.dimension == "period"]
    assert len(rows) == 36
    found = [interval(row, "excess") for row in rows]
    assert sum(not low <= 0 <= high for _, low, high in found) <= 6
    assert max(abs(excess) for excess, _, _ in found) < 0.07


def test_ties_are_shared_and_not_given_to_the_first():
    # All sessions are the same: the nearest is any other one, as by chance.
    track = np.zeros((90, 1), np.int64)
    hour = np.tile([3, 13, 13], 30)
    for lengths in ([3] * 30, [90]):
        for row in rows_of(planted_block(lengths, track=track, vectors=np.eye(2), hour=hour)):
            assert row.excess == pytest.approx(0.0, abs=1e-9)
            assert row.observed == pytest.approx(row.by_chance)


def test_users_with_one_session_and_sessions_without_an_embedding_have_no_part():
    vectors = np.eye(3)
    vectors[2] = 0.0
    track = np.array([[0], [0], [2], [0], [1], [2]])
    hours = np.array([3, 9, 13, 18, 18, 22])
    rows = rows_of(planted_block([1, 2, 3], track=track, vectors=vectors, hour=hours))
    assert [(row.source, row.target) for row in rows if row.dimension == "period"] == [
        ("evening", "evening")
    ]
    assert {row.sources for row in rows} == {2}
    # One user does not say how users differ.
    assert {row.excess_low for row in rows} == {None}
    assert rows_of(planted_block([1], track=track[:1], vectors=vectors)) == ()
