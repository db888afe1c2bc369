"""What --append refuses, and that the older output is then as it was."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

from beam_pipelines.append import inherit, open_older
from beam_pipelines.job import sessionize
from cosernn_tf.errors import UserError
from cosernn_tf.workspace import RAW_IDS, open_sessions, sha256
from tests.entry_points import run_each

from .appending import add, bad, config_of, content, spread
from .files import write_json_lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An output to which a log can be added, and one to which none can."""
    root = tmp_path_factory.mktemp("append")
    rows = spread(1)
    log = write_json_lines(root / "log.jsonl", rows)
    later = max(row["timestamp"] for row in rows) + 5
    write_json_lines(root / "newer.jsonl", [{**row, "timestamp": later} for row in rows[:3]])
    write_json_lines(root / "bad.jsonl", bad(1))
    options = {"min_track_listens": 5, "max_stream_sources": 1}
    sessionize(config_of(root / "sessions", [log], **options))
    sessionize(config_of(root / "without", [log], keep_state=False, **options))
    with_state, without = content(root / "sessions"), content(root / "without")
    state = {name for name in with_state if name.startswith("state/")}
    assert with_state.keys() - without.keys() == state
    assert any(name.startswith("state/cut-") for name in state)
    assert all(with_state[name] == data for name, data in without.items() if "manifest" not in name)
    other = shutil.copytree(root / "sessions", root / "other")
    inputs = other / "state/inputs.json"
    inputs.write_bytes(inputs.read_bytes().replace(b'"version": 1', b'"version": 9'))
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["state"]["state/inputs.json"] = sha256(inputs.read_bytes())
    (other / "manifest.json").write_text(json.dumps(manifest))
    return root


def test_steps_carry_nothing_of_an_older_output_but_its_place_and_manifest(folder):
    newer = config_of(folder / "sessions", [folder / "newer.jsonl"], append=True)
    older = open_older(inherit(newer, {}), ids=RAW_IDS)
    size = len(pickle.dumps(older))
    assert older.tracks().num_rows > 20
    older.reopened(1, 6)
    assert len(pickle.dumps(older)) == size


REFUSED = [
    (["--output=nowhere"], "nowhere does not exist: run without --append first"),
    (["--output=without"], "without has no state/ that --append could go on from"),
    (["--output=other"], "has version 9, this program goes on from 1"),
    (["--num_shards=4"], "--num_shards=4 differs from 2, with which sessions was written"),
    (["--min_track_listens=0"], "--min_track_listens=0 differs from 5"),
    (["--test_days=15", "--validation_days=5"], "--test_days=15 differs from 14"),
    (["--listens=nothing.jsonl"], "nothing.jsonl does not exist"),
    (["--listens=bad.jsonl"], "2 of 2 rows of --listens=bad.jsonl are bad"),
    (["--listens=bad.jsonl", "--max_bad_fraction=1"], "all 2 rows of --listens=bad.jsonl"),
]


def test_what_cannot_be_added_is_one_line_and_leaves_the_older_output(folder, tmp_path):
    before = content(folder / "sessions")
    calls = [
        ["--append", "--output=sessions", "--listens=newer.jsonl", *more] for more, _ in REFUSED
    ]
    calls += [["--append", "--output=sessions"], ["--append", "--num_shards=2", *calls[0][2:3]]]
    calls[-1].append("--output=sessions")
    results = run_each(
        "beam_pipelines.sessionize",
        calls,
        folder=folder,
        output=tmp_path / "calls",
        preload=["beam_pipelines.job"],
    )
    *refused, without_log, good = results
    for (more, text), result in zip(REFUSED, refused, strict=True):
        assert result.code == 2, (more, result.stderr)
        assert text in result.error
    assert "--append needs --listens" in without_log.error
    assert good.code == 0, good.stderr
    assert open_sessions(folder / "sessions").manifest.counters["read"] == (
        json.loads(before["manifest.json"])["counters"]["read"] + 3
    )


@pytest.mark.parametrize(
    "name",
    [
        "state/listens-00001-of-00002.parquet",
        "state/cut-00000-of-00002.parquet",
        "state/cut_tracks.parquet",
        "state/inputs.json",
        "sessions-users.tfrecord-00001-of-00002",
        "vocabulary/tracks.parquet",
    ],
)
def test_a_damaged_file_is_named_and_the_older_output_stays(folder, tmp_path, name):
    output = shutil.copytree(folder / "sessions", tmp_path / "sessions")
    data = bytearray((output / name).read_bytes())
    data[len(data) // 2] ^= 1
    (output / name).write_bytes(bytes(data))
    before = content(output)
    with pytest.raises(UserError, match=f"{name} does not have the checksum of its manifest"):
        add(output, folder / "newer.jsonl")
    assert content(output) == before
