"""Sums by user against plain loops, whatever the blocks and the order of users."""

import numpy as np
import pyarrow as pa
import pytest

from cosernn_tf.evaluation.user_sums import UserSums, UserSumsBuilder

MODELS = ("m", "n", "o")
METRICS = ("first", "second")
USERS = ("ü", "b", "a", "10", "9")
"""In UTF-8: 10, 9, a, b, ü."""
COUNTS = (3, 1, 4, 2, 70)


def scores_of(user: str) -> np.ndarray:
    """(models, metrics, sessions); the second metric does not score all, and "b" not at all."""
    count = COUNTS[USERS.index(user)]
    scores = np.random.default_rng(count).random((3, 2, count))
    scores[:, 1, np.arange(count) % 3 == 0] = np.nan
    return scores


def gathered(*blocks: tuple[str, ...]) -> dict[str, UserSums]:
    builder = UserSumsBuilder(MODELS, METRICS)
    for users in blocks:
        whole = np.concatenate([scores_of(user) for user in users], axis=2)
        rows = np.repeat(np.arange(len(users)), [scores_of(user).shape[2] for user in users])
        scores = {
            model: {metric: whole[i, j] for j, metric in enumerate(METRICS)}
            for i, model in enumerate(MODELS)
        }
        builder.add(pa.array(users, pa.string()), rows, scores)
    return builder.build()


def test_sums_by_loops():
    found = gathered(USERS)
    assert list(found) == list(METRICS)
    for metric, sums in enumerate(found.values()):
        assert sums.counts.tolist() == [
            int((~np.isnan(scores_of(user)[0, metric])).sum()) for user in sorted(USERS)
        ]
        for model in range(3):
            expected = [sum(v for v in scores_of(user)[model, metric] if v == v) for user in USERS]
            expected = [expected[USERS.index(user)] for user in sorted(USERS)]
            np.testing.assert_allclose(sums.sums[model], expected, rtol=1e-12)
    assert found["second"].counts[sorted(USERS).index("b")] == 0


@pytest.mark.parametrize(
    "blocks", [[(user,) for user in USERS], [USERS[::-1]], [USERS[3:], USERS[1:3], USERS[:1]]]
)
def test_blocks_and_order_change_no_bit(blocks):
    for one, other in zip(gathered(USERS).values(), gathered(*blocks).values(), strict=True):
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_array_equal(one.sums, other.sums)


def test_no_users():
    for sums in gathered().values():
        assert sums.counts.shape == (0,)
        assert sums.sums.shape == (3, 0)


def test_a_user_of_two_blocks():
    with pytest.raises(ValueError, match="more than one block"):
        gathered(USERS[:2], USERS[1:])
