"""Users and ages, in the forms that `--users` takes."""

import pytest

from beam_pipelines.sources.users import check_users_file, read_users
from cosernn_tf.errors import UserError

from ..files import write_bytes


def users_of(path) -> tuple[list[tuple[str, int]], list[tuple[int, str]]]:
    check_users_file(path)
    found, rejected = [], []
    for table, bad in read_users(str(path)):
        found += [(row["user_id"], row["age"]) for row in table.to_pylist()]
        rejected += [(row.row, row.reason) for row in bad]
    return found, rejected


PROFILE = [
    "user_000001\tm\t\tJapan\tAug 13, 2006",
    'user_000003\tm\t22\tUnited "States\tOct 30, 2005',
    "user_000006\t\t24\tRussian Federation\tMay 18, 2006",
    "user_000009\tf\t1000\tPeru\tMay 18, 2006",
]


@pytest.mark.parametrize("header", [["#id\tgender\tage\tcountry\tregistered"], []])
def test_profiles_of_lastfm_1k(tmp_path, header):
    path = write_bytes(tmp_path / "userid-profile.tsv", "\n".join(header + PROFILE).encode())
    found, rejected = users_of(path)
    assert found == [("user_000001", -1), ("user_000003", 22), ("user_000006", 24)]
    assert rejected == [(4, "users_bad_age")]


@pytest.mark.parametrize("name", ["users.tsv.gz", "LFM-1b_users.txt"])
def test_users_of_lfm(tmp_path, name):
    lines = ["user_id\tcountry\tage\tgender\tplaycount", "384\tUK\t35\tm\t42"]
    lines += ["5\t\t-1\tn\t7", "6\tFR\t-2\t\t7"]
    found, rejected = users_of(write_bytes(tmp_path / name, "\n".join(lines).encode()))
    assert found == [("384", 35), ("5", -1)]
    assert rejected == [(3, "users_bad_age")]


def test_other_tab_separated_files_are_refused(tmp_path):
    path = write_bytes(tmp_path / "tracks.tsv", b"track_id\tname\n1\tx\n")
    with pytest.raises(UserError, match=r"tracks.tsv has no column user_id, age"):
        check_users_file(path)
