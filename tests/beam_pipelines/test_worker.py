"""The command that runners start; what it does for one is tested in tests/runners."""

import pytest

from tests.entry_points import run


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--provision_endpoint=localhost:1"], "--id"),
        (["--id=1-1", "--control_endpoint=localhost:1"], "--provision_endpoint"),
    ],
)
def test_a_person_who_starts_it_is_told_what_it_is(arguments, flag, tmp_path):
    result = run("beam_pipelines.worker", arguments, folder=tmp_path)
    assert result.code == 2
    assert result.error == f"{flag} is missing: a Beam runner starts this command"
