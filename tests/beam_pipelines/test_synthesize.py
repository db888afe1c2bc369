"""`python -m beam_pipelines.synthesize`, as a user would run it."""

import json
from pathlib import Path

import pytest

from tests import entry_points

MODULE = "beam_pipelines.synthesize"
SMALL = ("--num_users=3", "--num_tracks=2000", "--num_days=3")


def test_writes_the_log_into_the_workspace_and_says_what_is_in_it(tmp_path: Path):
    done = entry_points.run(MODULE, SMALL, folder=tmp_path)
    assert done.code == 0, done.stderr
    summary = json.loads((tmp_path / "workspace/log/log.json").read_text())
    assert summary["options"] == {"num_users": 3, "num_tracks": 2_000, "num_days": 3, "seed": 1}
    for name in ("listens", "sessions", "playlists"):
        assert f"{summary['counts'][name]:,} {name}" in done.stderr
    assert (tmp_path / "workspace/log/_SUCCESS").is_file()

    # Again: left as it is; with other options: refused; told to overwrite: replaced.
    times = [path.stat().st_mtime_ns for path in sorted((tmp_path / "workspace").rglob("*"))]
    calls = [
        [*SMALL],
        [*SMALL, "--seed=2"],
        [*SMALL, "--workspace=workspace/log/log.json"],
        [*SMALL, "--num_users=0"],
        [*SMALL, "--num_users=many"],
        [*SMALL, "--num_user=3"],
        [*SMALL, "400"],
    ]
    again, other, no_folder, none, text, unknown, argument = entry_points.run_each(
        MODULE, calls, folder=tmp_path, output=tmp_path / "output", preload=["pyarrow.parquet"]
    )
    assert again.code == 0
    assert "left as it is" in again.stderr
    assert {result.code for result in (other, no_folder, none, text, unknown, argument)} == {2}
    assert "--overwrite" in other.error
    assert "cannot be written" in no_folder.error
    assert none.error.startswith("--num_users=0: must be from 1 to ")
    assert "num_users" in text.error
    assert "many" in text.error
    assert "num_user" in unknown.error
    assert "400" in argument.error
    after = [path.stat().st_mtime_ns for path in sorted((tmp_path / "workspace").rglob("*"))]
    assert after == times

    replaced = entry_points.run(MODULE, [*SMALL, "--seed=2", "--overwrite"], folder=tmp_path)
    assert replaced.code == 0, replaced.stderr
    assert json.loads((tmp_path / "workspace/log/log.json").read_text())["options"]["seed"] == 2


@pytest.mark.parametrize("flag", ["num_users", "num_tracks", "num_days", "seed", "overwrite"])
def test_every_flag_is_explained(help_text: str, flag: str):
    assert f"--{flag}" in help_text or f"--[no]{flag}" in help_text


@pytest.fixture(scope="module")
def help_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    done = entry_points.run(MODULE, ["--help"], folder=tmp_path_factory.mktemp("help"))
    return done.stdout + done.stderr
