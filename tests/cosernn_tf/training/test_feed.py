"""The feed: every training session once an epoch, in an order that only the seed decides."""

import collections

import numpy as np
import pytest

from cosernn_tf.config import ModelConfig
from cosernn_tf.dataset import read_all
from cosernn_tf.features import embed_sessions
from cosernn_tf.schema import USER_UNKNOWN
from cosernn_tf.training.feed import USER_DROPOUT
from tests.cosernn_tf.training.conftest import open_feed


@pytest.fixture(scope="module")
def small_blocks(workspace):
    """Shards are read anew in every epoch, one or two at a time."""
    feed = open_feed(workspace, sessions_per_block=250)
    assert len(list(feed.blocks())) >= 2
    return feed


def batches(feed, *, epoch=1, seed=1, batch_size=3, max_sessions=20, skip=0):
    return list(
        feed.training_batches(
            epoch=epoch, batch_size=batch_size, max_sessions=max_sessions, seed=seed, skip=skip
        )
    )


def targets(feed, batch):
    """The targets of a batch, as bytes; random sessions have different ones."""
    return [row.tobytes() for part in batch for row in part.target[part.weight == 1.0]]


@pytest.mark.parametrize("which", ["feed", "small_blocks"])
def test_an_epoch_has_every_training_pair_once(request, which):
    feed = request.getfixturevalue(which)
    table = read_all(feed.sessions)
    played = embed_sessions(table, feed.track_embeddings).played
    training = table.session_start < feed.sessions.manifest.split.validation_start
    expected = collections.Counter(row.tobytes() for row in played[training] if row.any())
    found = collections.Counter(
        target for batch in batches(feed) for target in targets(feed, batch)
    )
    assert found == expected
    assert feed.training_pairs == expected.total()


def test_batches_have_the_asked_number_of_windows(feed):
    sizes = [sum(part.active[0] for part in batch) for batch in batches(feed)]
    assert set(sizes[:-1]) == {3}
    assert 1 <= sizes[-1] <= 3
    longest = max(len(part.active) for batch in batches(feed) for part in batch)
    assert longest == 20


@pytest.mark.parametrize("which", ["feed", "small_blocks"])
def test_the_order_depends_on_seed_and_epoch_only(request, which, workspace):
    feed = request.getfixturevalue(which)

    def order(feed, **options):
        return [targets(feed, batch) for batch in batches(feed, **options)]

    first = order(feed)
    others = [order(feed, epoch=2), order(feed, seed=2)]
    assert first not in others
    assert others[0] != others[1]
    fresh = open_feed(workspace, sessions_per_block=feed._sessions_per_block)
    assert order(fresh, epoch=2) == others[0]
    assert order(fresh, epoch=1) == first


@pytest.mark.parametrize("which", ["feed", "small_blocks"])
def test_skipped_batches_are_the_first_ones(request, which):
    feed = request.getfixturevalue(which)
    whole = batches(feed, epoch=2)
    for skip in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        rest = batches(feed, epoch=2, skip=skip)
        assert [targets(feed, batch) for batch in rest] == [
            targets(feed, batch) for batch in whole[skip:]
        ]
        assert [users_of(batch) for batch in rest] == [users_of(batch) for batch in whole[skip:]]


def test_statistics_are_those_of_the_training_split(feed, small_blocks):
    table = read_all(feed.sessions)
    training = table.session_start < feed.sessions.manifest.split.validation_start
    counts, gaps = [], []
    for start, end in zip(table.row_splits[:-1], table.row_splits[1:], strict=True):
        for row in range(start + 1, end):
            if training[row]:
                counts.append(np.log(1.0 + table.num_tracks[row - 1]))
                gaps.append(np.log(1.0 + table.seconds_since_last[row]))
    for spec in (feed.data_spec(), small_blocks.data_spec()):
        assert spec.num_stream_sources == 3
        for statistics, values in ((spec.last_num_tracks, counts), (spec.seconds_since_last, gaps)):
            assert statistics.mean == pytest.approx(np.mean(values), rel=1e-6)
            assert statistics.deviation == pytest.approx(np.std(values), rel=1e-5)


@pytest.mark.parametrize("which", ["feed", "small_blocks"])
def test_validation_windows_have_every_validation_session_once(request, which):
    feed = request.getfixturevalue(which)
    split = feed.sessions.manifest.split
    count = 0
    for block in feed.blocks():
        windows = feed.validation_windows(block, max_sessions=20)
        rows = np.concatenate(
            [np.arange(*ends) for ends in zip(windows.first_target, windows.end, strict=True)]
        )
        start = block.table.session_start
        expected = np.flatnonzero((start >= split.validation_start) & (start < split.test_start))
        np.testing.assert_array_equal(np.sort(rows), expected)
        count += len(rows)
    assert count > 30


# Users -------------------------------------------------------------------------------------------


def users_of(batch) -> list[bytes]:
    return [user for part in batch for user in part.inputs["user_id"]]


def test_known_users_are_those_with_a_training_pair(feed, small_blocks, workspace):
    table = read_all(feed.sessions)
    before = feed.sessions.manifest.split.validation_start
    played = embed_sessions(table, feed.track_embeddings).has_played
    expected = set()
    for user, start, end in zip(
        table.user_id, table.row_splits[:-1], table.row_splits[1:], strict=True
    ):
        if any(played[row] and table.session_start[row] < before for row in range(start, end)):
            expected.add(user.decode())
    assert 1 < len(expected) < table.num_users
    for one in (feed, small_blocks):
        assert one.data_spec().users == tuple(sorted(expected))
    assert open_feed(workspace, inputs=ModelConfig().inputs).data_spec().users == ()


def test_in_every_epoch_other_users_are_taken_for_unknown(feed, workspace):
    unknown, total, patterns = 0, 0, set()
    for epoch in range(1, 60):
        users = [user for batch in batches(feed, epoch=epoch) for user in users_of(batch)]
        again = [user for batch in batches(feed, epoch=epoch) for user in users_of(batch)]
        assert users == again
        hidden = set(read_all(feed.sessions).user_id) - set(users)
        patterns.add(frozenset(hidden))
        # Whoever is unknown in an epoch is so in all windows.
        unknown += users.count(USER_UNKNOWN)
        total += len(users)
    assert len(patterns) > 10
    deviation = np.sqrt(USER_DROPOUT * (1 - USER_DROPOUT) / (59 * 11))
    assert unknown / total == pytest.approx(USER_DROPOUT, abs=4 * deviation)


def test_models_that_do_not_ask_who_the_user_is_get_the_same_batches(feed, workspace):
    other = open_feed(workspace, inputs=ModelConfig().inputs)
    for ours, theirs in zip(batches(feed), batches(other), strict=True):
        for mine, its in zip(ours, theirs, strict=True):
            assert set(its.inputs) == set(ModelConfig().inputs)
            np.testing.assert_array_equal(mine.target, its.target)
            for name, values in its.inputs.items():
                np.testing.assert_array_equal(mine.inputs[name], values)
