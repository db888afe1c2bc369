"""Session tables against lists of users, each a list of sessions."""

import dataclasses

import numpy as np
import pytest

from cosernn_tf.schema import SESSION_FEATURES, Per
from cosernn_tf.table import SessionTable, concatenate, extend, in_blocks
from tests.workspaces import random_table


def with_lengths(lengths: list[int]) -> SessionTable:
    """A table of users with so many sessions, every value another."""
    total = sum(lengths)

    def column(per: Per, offset: int) -> np.ndarray:
        shape = {Per.USER: (len(lengths),), Per.SESSION: (total,), Per.TRACK: (total, 10)}[per]
        return offset * 10_000 + np.arange(np.prod(shape, dtype=int)).reshape(shape)

    columns = {f.name: column(f.per, number) for number, f in enumerate(SESSION_FEATURES)}
    columns["user_id"] = np.array([b"%d" % row for row in range(len(lengths))], object)
    return SessionTable(row_splits=np.concatenate([[0], np.cumsum(lengths)]), **columns)


def users(table: SessionTable) -> list[dict]:
    """Each user's values, with plain slices."""
    assert table.row_splits[0] == 0
    assert table.row_splits[-1] == table.num_sessions
    result = []
    for user in range(table.num_users):
        start, end = table.row_splits[user], table.row_splits[user + 1]
        result.append(
            {
                feature.name: getattr(table, feature.name)[
                    user if feature.per is Per.USER else slice(start, end)
                ].tolist()
                if feature.name != "user_id"
                else table.user_id[user]
                for feature in SESSION_FEATURES
            }
        )
    return result


LENGTHS = [3, 0, 1, 5, 0, 2]


def test_the_fields_are_the_features():
    names = [field.name for field in dataclasses.fields(SessionTable)]
    assert names == ["row_splits", *(feature.name for feature in SESSION_FEATURES)]


def test_counts_and_positions():
    table = with_lengths(LENGTHS)
    assert (table.num_users, table.num_sessions) == (6, 11)
    assert table.user_of_session.tolist() == [0, 0, 0, 2, 3, 3, 3, 3, 3, 5, 5]
    assert table.position.tolist() == [0, 1, 2, 0, 0, 1, 2, 3, 4, 0, 1]


@pytest.mark.parametrize(
    "rows", [[0, 1, 2, 3, 4, 5], [5, 3, 1], [2, 2], [4], [], [3, 0, 1, 4, 5, 2]]
)
def test_selects_users_in_the_order_given(rows):
    table = with_lengths(LENGTHS)
    selected = table.select_users(np.array(rows, np.int64))
    assert users(selected) == [users(table)[row] for row in rows]
    for feature in SESSION_FEATURES:
        assert getattr(selected, feature.name).dtype == getattr(table, feature.name).dtype


@pytest.mark.parametrize("number", range(12))
def test_sessions_that_start_before_a_time(number):
    """Values grow along the table, so the first `number` sessions are those of a time."""
    table = with_lengths(LENGTHS)
    time = int(table.session_start[0]) + number
    expected = [
        {name: [v for v, s in zip(values, user["session_start"], strict=True) if s < time]
         if isinstance(values, list) else values for name, values in user.items()}
        for user in users(table)
    ]  # fmt: skip
    found = users(table.starting_before(time))
    assert found == [user for user in expected if user["session_start"]]
    assert sum(len(user["session_start"]) for user in found) == number


def test_concatenates_what_was_selected():
    table = with_lengths(LENGTHS)
    parts = [[3, 5], [], [1], [0, 2, 4]]
    whole = concatenate([table.select_users(np.array(rows, np.int64)) for rows in parts])
    assert users(whole) == [users(table)[row] for rows in parts for row in rows]
    assert users(concatenate([table])) == users(table)


# Blocks ------------------------------------------------------------------------------------------


def blocks_oracle(lengths: list[int], limit: int) -> list[list[int]]:
    """Rows of the users of each block when one user after the other is put in."""
    blocks: list[list[int]] = []
    size = 0
    for row, length in enumerate(lengths):
        if blocks and size + length <= limit:
            blocks[-1].append(row)
            size += length
        else:
            blocks.append([row])
            size = length
    return blocks


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 8, 11, 100])
def test_one_table_is_cut_in_the_fewest_blocks(limit):
    table = with_lengths(LENGTHS)
    blocks = list(in_blocks([table], max_sessions=limit))
    expected = blocks_oracle(LENGTHS, limit)
    assert [users(b) for b in blocks] == [[users(table)[row] for row in rows] for rows in expected]


@pytest.mark.parametrize("seed", range(20))
def test_blocks_keep_users_and_order_and_the_limit(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, rng.integers(1, 40)).tolist()
    table, limit = with_lengths(lengths), int(rng.integers(1, 60))
    cuts = np.sort(rng.integers(0, len(lengths) + 1, 4)).tolist()
    parts = [
        table.select_users(np.arange(start, end))
        for start, end in zip([0, *cuts], [*cuts, len(lengths)], strict=True)
    ]
    blocks = list(in_blocks(parts, max_sessions=limit))
    assert [user for block in blocks for user in users(block)] == users(table)
    assert all(block.num_sessions <= limit or block.num_users == 1 for block in blocks)


@pytest.mark.parametrize("limit", [1, 3, 8, 100])
def test_small_tables_share_blocks(limit):
    table = with_lengths(LENGTHS)
    singles = [table.select_users(np.array([row])) for row in range(len(LENGTHS))]
    blocks = list(in_blocks(singles, max_sessions=limit))
    expected = blocks_oracle(LENGTHS, limit)
    assert [users(b) for b in blocks] == [[users(table)[row] for row in rows] for rows in expected]


def test_no_tables_are_no_blocks():
    assert list(in_blocks([], max_sessions=5)) == []
    table = random_table(num_users=4)
    (block,) = in_blocks([table], max_sessions=10**6)
    assert users(block) == users(table)


def test_extend_puts_earlier_sessions_before_a_users_own():
    """User 2 is new, user 1 goes on where the older sessions end, 0 and 3 overlap them."""
    newer, older = with_lengths([2, 1, 2, 3]), with_lengths([3, 3, 2])
    older = dataclasses.replace(older, user_id=newer.user_id[[3, 0, 1]])
    newer.session_start[:] = [30, 40, 99, 5, 6, 20, 21, 25]
    older.session_start[:] = [10, 19, 20, 10, 30, 40, 98, 98]
    newer.user_age[:], older.user_age[:] = [1, 2, 3, 4], [9, 9, 9]
    found = extend(older, newer)
    new, old = users(newer), {user["user_id"]: user for user in users(older)}
    kept = {b"0": 1, b"1": 2, b"2": 0, b"3": 2}
    for user, own in zip(users(found), new, strict=True):
        before = old.get(own["user_id"], own)
        for feature in SESSION_FEATURES:
            expected = own[feature.name]
            if feature.per is not Per.USER:
                expected = before[feature.name][: kept[own["user_id"]]] + expected
            assert user[feature.name] == expected, feature.name
