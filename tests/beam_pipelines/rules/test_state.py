"""The files that runs have read, and the numbers of their rejected rows."""

import pytest

from beam_pipelines.rules.state import Inputs
from cosernn_tf.errors import UserError


def test_files_of_two_runs_are_numbered_as_one_run_numbers_them():
    """By the parts of their paths, each once, users' files at the end."""
    older = Inputs(("a-b/1.csv", "a/3.csv"), ("users.csv",))
    newer = Inputs(("a/2.csv", "a/3.csv"), ())
    both = older.with_newer(newer)
    assert both.files == ("a/2.csv", "a/3.csv", "a-b/1.csv", "users.csv")
    assert both.rejected_name("a-b/1.csv") == "rejected.jsonl-00002-of-00004"
    assert older.with_newer(Inputs(("a/3.csv",), ("new.csv",))).users == ("new.csv",)


def test_names_that_hide_paths_stay_in_the_order_of_the_runs():
    older = Inputs(("file 1 of 2", "file 2 of 2"), (), are_paths=False)
    newer = Inputs(tuple(f"file {number} of 11" for number in range(3, 12)), (), are_paths=False)
    both = older.with_newer(newer)
    assert both.files == (*older.files, *newer.files)
    assert not both.are_paths


@pytest.mark.parametrize("are_paths", [True, False])
def test_they_come_back_as_they_were(are_paths):
    inputs = Inputs(("ü.csv", 'q"\udcff'), ("u",), are_paths)
    assert Inputs.from_json(inputs.to_json()) == inputs


def test_another_version_is_refused():
    data = Inputs((), ()).to_json().replace(b'"version": 1', b'"version": 2')
    with pytest.raises(UserError, match=r"inputs\.json has version 2, this program goes on from 1"):
        Inputs.from_json(data)
