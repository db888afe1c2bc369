"""What is drawn looks uniform, and follows from the seed, the user and the place alone."""

import numpy as np
import pytest
from scipy import stats

from cosernn_tf.analysis.sampling import rates, uniforms, user_keys

USERS = [f"usér {row}".encode() for row in range(500)]


def numbers(seed: int = 1, stream: str = "sessions", users: list[bytes] = USERS) -> np.ndarray:
    """(users, 40)"""
    keys = user_keys(users, seed=seed, stream=stream)
    return uniforms(keys[:, None], np.arange(40))


def test_numbers_are_those_of_splitmix64_from_a_hash_of_the_user():
    # SplitMix64 in plain integers.
    def number(state: int) -> float:
        mask = 2**64 - 1
        bits = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        return ((bits ^ (bits >> 31)) >> 11) / 2**53

    keys = user_keys(USERS[:3], seed=7, stream="listens")
    found = uniforms(keys[:, None], np.arange(4))
    for row, key in enumerate(keys.tolist()):
        for place in range(4):
            state = (key + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
            assert found[row, place] == number(state)


def test_the_same_for_a_user_whoever_else_is_there():
    np.testing.assert_array_equal(numbers()[100:120], numbers(users=USERS[100:120]))


@pytest.mark.parametrize("other", [{"seed": 2}, {"stream": "listens"}, {"users": USERS[1:]}])
def test_other_numbers_for_other_seeds_streams_and_users(other):
    shared = np.intersect1d(numbers()[: len(USERS) - 1], numbers(**other))
    assert len(shared) == (0 if "users" not in other else 40 * (len(USERS) - 1) - 40)


def test_they_look_uniform_and_independent_along_users_and_places():
    drawn = numbers()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 0.01
    limit = 4 / np.sqrt(drawn.size)
    assert abs(np.corrcoef(drawn[:, 1:].ravel(), drawn[:, :-1].ravel())[0, 1]) < limit
    assert abs(np.corrcoef(drawn[1:].ravel(), drawn[:-1].ravel())[0, 1]) < limit
    assert abs(np.corrcoef(drawn.ravel(), numbers(stream="listens").ravel())[0, 1]) < limit


def test_rates_draw_all_of_what_is_rare():
    assert rates(np.array([0, 5, 10, 40]), 10).tolist() == [1.0, 1.0, 1.0, 0.25]
    assert (numbers() < rates(np.array([40]), 10)).mean() == pytest.approx(0.25, abs=0.02)
