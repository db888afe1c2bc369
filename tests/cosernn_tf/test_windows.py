"""Windows and batches: which session is where, and with what weight."""

import dataclasses
import itertools

import numpy as np
import pytest

from cosernn_tf.features import embed_sessions
from cosernn_tf.schema import MODEL_INPUTS, Per
from cosernn_tf.windows import (
    NEVER,
    Windows,
    evaluation_windows,
    make_batch,
    pack_batch,
    sequence_data,
    split_by_rows,
    training_windows,
)
from tests.workspaces import random_embeddings, random_table, split_of


@pytest.fixture(scope="module")
def table():
    """Users of 1 to about 1,000 sessions."""
    return random_table(2, num_users=7, sessions_per_user=(30, 1000, 399, 5, 700, 401, 90))


@pytest.fixture(scope="module")
def data(table):
    return sequence_data(table, embed_sessions(table, random_embeddings()))


def test_inputs_are_the_last_session_and_the_current_context(table, data):
    embeddings = embed_sessions(table, random_embeddings())
    inputs = data.inputs
    assert list(inputs) == [spec.name for spec in MODEL_INPUTS]
    for start, end in itertools.islice(itertools.pairwise(table.row_splits), 3):
        for row in range(start, end):
            for name in ("day_of_week", "hour", "device", "seconds_since_last"):
                assert inputs[name][row] == getattr(table, name)[row]
            assert inputs["current_stream_source"][row] == table.stream_source[row]
            last = row - 1 if row > start else None
            for name, values in (
                ("last_played", embeddings.played),
                ("last_skipped", embeddings.skipped),
                ("last_all", embeddings.all),
                ("last_num_tracks", table.num_tracks),
                ("last_stream_source", table.stream_source),
            ):
                expected = 0 if last is None else values[last]
                np.testing.assert_array_equal(inputs[name][row], np.broadcast_to(
                    expected, inputs[name][row].shape))  # fmt: skip
    np.testing.assert_array_equal(data.target, embeddings.played)
    np.testing.assert_array_equal(data.is_target, embeddings.played.any(axis=1))
    for spec in MODEL_INPUTS:
        assert inputs[spec.name].dtype == (object if spec.dtype == "string" else spec.dtype)
        rows = table.num_users if spec.per is Per.USER else table.num_sessions
        assert inputs[spec.name].shape == (rows, *spec.shape)


def test_only_the_inputs_that_are_wanted(table, data):
    wanted = ("hour", "user_id", "last_all")
    embeddings = embed_sessions(table, random_embeddings())
    for few in (sequence_data(table, embeddings, wanted), data.only(wanted)):
        batch = make_batch(few, training_windows(table, before=2**62, max_sessions=7))
        assert set(few.inputs) == set(batch.inputs) == set(wanted)
        for name in wanted:
            np.testing.assert_array_equal(few.inputs[name], data.inputs[name])
        np.testing.assert_array_equal(few.target, data.target)


def test_ages_select_buckets(table, data):
    starts = (0, 18, 25, 30, 35, 45, 55)
    for age, bucket in zip(table.user_age, data.inputs["age_bucket"], strict=True):
        assert bucket == (0 if age < 0 else sum(age >= start for start in starts))


@pytest.mark.parametrize("max_sessions", [2, 7, 400])
def test_training_windows_have_every_training_session_once(table, max_sessions):
    before = split_of(table).validation_start
    windows = training_windows(table, before=before, max_sessions=max_sessions)
    rows = np.concatenate([np.arange(start, end) for start, end in
                           zip(windows.first_target, windows.end, strict=True)])  # fmt: skip
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(table.session_start < before))
    np.testing.assert_array_equal(windows.start, windows.first_target)
    assert windows.lengths.max() <= max_sessions
    assert windows.lengths.min() >= 1
    check_users(table, windows)


@pytest.mark.parametrize("max_sessions", [2, 8, 9, 400])
@pytest.mark.parametrize("split", ["validation", "test", "all"])
def test_evaluation_windows_have_every_target_once_and_enough_before_it(table, max_sessions, split):
    boundaries = split_of(table)
    first, before = {
        "validation": (boundaries.validation_start, boundaries.test_start),
        "test": (boundaries.test_start, None),
        "all": (0, None),
    }[split]
    windows = evaluation_windows(table, first=first, before=before, max_sessions=max_sessions)
    check_users(table, windows)
    assert windows.lengths.max() <= max_sessions
    in_split = table.session_start >= first
    if before is not None:
        in_split &= table.session_start < before
    targets = []
    for user, start, first_target, end in zip(
        windows.user, windows.start, windows.first_target, windows.end, strict=True
    ):
        for row in range(first_target, end):
            targets.append(row)
            earlier = row - table.row_splits[user]
            assert row - start >= min(earlier, max_sessions // 2)
    assert sorted(targets) == list(np.flatnonzero(in_split))
    longest = np.diff(table.row_splits).max()
    assert longest > 2 * max_sessions


def check_users(table, windows: Windows) -> None:
    """Each window lies within the sessions of its user."""
    assert (windows.start >= table.row_splits[windows.user]).all()
    assert (windows.start <= windows.first_target).all()
    assert (windows.first_target < windows.end).all()
    assert (windows.end <= table.row_splits[windows.user + 1]).all()


def test_windows_carry_the_whole_history(table, data):
    """ū, and the last session, at the start of a window are those of the uncut sequence."""
    vectors = embed_sessions(table, random_embeddings()).all.astype(np.float64)
    windows = training_windows(table, before=2**62, max_sessions=400)
    begun = windows.take(np.flatnonzero(windows.start > table.row_splits[windows.user]))
    assert len(begun) >= 4
    batch = make_batch(data, begun)
    for number, (user, start) in enumerate(zip(begun.user, begun.start, strict=True)):
        history = vectors[table.row_splits[user] : start]
        expected = np.arange(1, len(history) + 1) @ history
        np.testing.assert_allclose(
            batch.inputs["long_term"][number, 0], expected / np.linalg.norm(expected), atol=1e-5
        )
        assert batch.inputs["last_num_tracks"][number, 0] == table.num_tracks[start - 1]


def test_a_batch_weighs_targets_only(table, data):
    start = int(table.row_splits[1])
    windows = Windows(
        user=np.array([1, 2]),
        start=np.array([start, table.row_splits[2]]),
        first_target=np.array([start + 3, table.row_splits[2]]),
        end=np.array([start + 9, table.row_splits[2] + 4]),
    )
    batch = make_batch(data, windows)
    assert batch.weight.shape == (2, 9)
    assert batch.weight.dtype == np.float32
    for number in range(2):
        for step in range(9):
            row = windows.start[number] + step
            is_real = row < windows.end[number]
            is_target = is_real and row >= windows.first_target[number] and data.is_target[row]
            assert batch.weight[number, step] == float(is_target)
            shown = row if is_real else windows.end[number] - 1
            assert batch.sessions[number, step] == shown
            np.testing.assert_array_equal(batch.target[number, step], data.target[shown])
            assert batch.inputs["hour"][number, step] == table.hour[shown]
    np.testing.assert_array_equal(
        batch.inputs["age_bucket"], data.inputs["age_bucket"][windows.user]
    )


def test_packed_batches_have_each_session_once_step_by_step(table, data):
    windows = evaluation_windows(
        table, first=split_of(table).test_start, before=None, max_sessions=40
    )
    _, firsts = np.unique(windows.lengths, return_index=True)
    assert len(firsts) >= 4
    windows = windows.take(firsts[[2, 0, -1, 1]])
    batch = pack_batch(data, windows)
    longest_first = sorted(range(4), key=lambda number: -windows.lengths[number])
    places = [
        (number, windows.start[number] + step)
        for step in range(windows.lengths.max())
        for number in longest_first
        if step < windows.lengths[number]
    ]
    counts = [sum(windows.lengths > step) for step in range(windows.lengths.max())]
    np.testing.assert_array_equal(batch.active, counts)
    assert batch.active.dtype == np.int32
    weights = [
        float(row >= windows.first_target[number] and data.is_target[row]) for number, row in places
    ]
    assert {0.0, 1.0} == set(weights)
    np.testing.assert_array_equal(batch.weight, np.array(weights)[:, None])
    rows = [row for _, row in places]
    np.testing.assert_array_equal(batch.target, data.target[rows][:, None])
    for spec in MODEL_INPUTS:
        users = windows.user[longest_first]
        values = data.inputs[spec.name]
        expected = values[users] if spec.per is Per.USER else values[rows][:, None]
        np.testing.assert_array_equal(batch.inputs[spec.name], expected)
        assert batch.inputs[spec.name].dtype == values.dtype


def test_labels_say_when_a_track_was_and_will_be_listened_to(table):
    random = np.random.default_rng(5)
    # Few tracks: some come twice in a session, in the next one, and after long.
    track = random.integers(0, 60, table.track.shape)
    track[np.arange(10) >= random.integers(0, 10, len(track))[:, None]] = -1
    track[random.random(track.shape) < 0.1] = -2
    repeated = dataclasses.replace(table, track=track)
    windows = training_windows(repeated, before=2**62, max_sessions=50)
    windows = windows.take(np.arange(0, len(windows), 3))
    data = sequence_data(repeated, embed_sessions(repeated, random_embeddings()))
    labels = pack_batch(data, windows).labels()
    assert labels.since.dtype == labels.until.dtype == np.int32
    order = np.argsort(-windows.lengths, kind="stable")
    row = 0
    found = {}
    for step in range(windows.lengths.max()):
        for number in order[windows.lengths[order] > step]:
            found[number, step] = labels.since[row, 0], labels.until[row, 0]
            row += 1
    assert row == len(labels.since)
    seen = set()
    for number, start in enumerate(windows.start):
        sessions = track[start : windows.end[number]]
        for step, slot in np.ndindex(*sessions.shape):
            is_own = sessions[step] == sessions[step, slot]
            since = until = 0
            if sessions[step, slot] >= 0:
                others = np.flatnonzero((sessions == sessions[step, slot]).any(axis=1)) - step
                if not is_own[:slot].any():
                    since = min((-other for other in others if other < 0), default=0)
                if not is_own[slot + 1 :].any():
                    until = min((other for other in others if other > 0), default=NEVER)
            assert found[number, step][0][slot] == since
            assert found[number, step][1][slot] == until
            seen.add((since > 0, until if until in (0, NEVER) else 1))
    assert seen == set(itertools.product((False, True), (0, 1, NEVER)))


@pytest.mark.parametrize("max_rows", [1, 50, 100, 399, 1000])
def test_parts_have_all_windows_and_no_more_rows_than_told(max_rows):
    lengths = np.array([3, 50, 1, 50, 400, 2, 60])
    start = np.cumsum(lengths) - lengths
    windows = Windows(np.arange(7), start, start, start + lengths)
    parts = split_by_rows(windows, max_rows=max_rows)
    found = np.concatenate([part.user for part in parts])
    assert list(found) == [4, 6, 1, 3, 0, 5, 2]
    for part in parts:
        assert part.lengths.sum() <= max_rows or len(part) == 1
    # No two that follow each other would have fitted together.
    for part, following in itertools.pairwise(parts):
        assert part.lengths.sum() + following.lengths[0] > max_rows
