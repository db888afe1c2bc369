"""How a batch is shared out among replicas."""

import numpy as np
import pytest

from cosernn_tf.training.sharing import ALL, Share, deal
from cosernn_tf.windows import Windows, make_batch


def windows_of(lengths) -> Windows:
    """Each of another user, ten rows apart."""
    lengths = np.array(lengths, np.int64)
    start = 1000 * np.arange(len(lengths))
    return Windows(np.arange(len(lengths)), start, start + lengths // 2, start + lengths)


def by_one(windows: Windows) -> list[Windows]:
    return [windows.take(np.array([row])) for row in range(len(windows))]


@pytest.mark.parametrize("replicas", [1, 2, 3, 8])
@pytest.mark.parametrize("seed", range(3))
def test_every_window_goes_to_one_replica_and_sessions_are_balanced(replicas, seed):
    lengths = np.random.default_rng(seed).zipf(1.5, 64).clip(2, 400)
    parts = deal(windows_of(lengths), replicas)
    assert len(parts) == replicas
    users = np.concatenate([part.user for part in parts])
    assert sorted(users) == list(range(64))
    for part in parts:
        np.testing.assert_array_equal(part.lengths, lengths[part.user])
        np.testing.assert_array_equal(part.first_target, part.start + part.lengths // 2)
    loads = [part.lengths.sum() for part in parts]
    assert max(loads) - min(loads) <= lengths.max()
    # A share by position would not be.
    assert max(loads) <= max(lengths.max(), 1.1 * lengths.sum() / replicas)


def test_one_replica_takes_the_parts_as_they_are():
    windows = windows_of([3, 9, 4])
    parts = ALL.parts(windows, by_one)
    assert [part.user.tolist() for part in parts] == [[0], [1], [2]]


def test_processes_take_all_of_a_batch_between_them():
    windows = windows_of([5, 2, 9, 7, 3, 4, 8])
    taken: list[int] = []
    for first in (0, 2):
        share = Share(first, 2, 4)
        parts = share.parts(windows, by_one)
        assert len(parts) % 2 == 0
        taken += [part.user[0] for part in parts if part.first_target[0] < part.end[0]]
        # In turn: what is at even places is the first replica's.
        own = deal(windows, 4)[first]
        even = [part.user[0] for part in parts[::2] if part.first_target[0] < part.end[0]]
        assert even == own.user.tolist()
    assert sorted(taken) == list(range(7))


def test_who_has_no_window_has_a_session_without_weight(feed):
    (block,) = feed.blocks()
    whole = feed.validation_windows(block, max_sessions=20).take(np.array([3]))
    assert block.data.is_target[whole.start[0]]
    parts = Share(0, 3, 3).parts(whole, by_one)
    batches = [make_batch(block.data, part) for part in parts]
    assert [batch.weight.shape[0] for batch in batches] == [1, 1, 1]
    weights = [batch.weight.sum() for batch in batches]
    assert weights[0] > 0
    assert weights[1:] == [0.0, 0.0]
    assert batches[1].sessions.shape == (1, 1)
