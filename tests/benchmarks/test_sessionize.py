"""The benchmark on tiny logs, as a process: what it prints and keeps, and what it refuses."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.contenders import COUNTS
from benchmarks.logs import LogConfig, write_log
from benchmarks.measure import Measurement
from benchmarks.report import Run, to_markdown
from benchmarks.runner import BenchmarkConfig, Mode
from tests.entry_points import Result, run

ROOT = Path(__file__).parents[2]


def benchmark(workspace: Path, *arguments: str) -> Result:
    flags = [f"--workspace={workspace}", "--num_listens=3000", *arguments]
    return run("benchmarks.sessionize", flags, folder=ROOT)


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_compare_runs_all_in_turn_and_checks_that_they_find_the_same(tmp_path):
    copy = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"
    also = f"copy={sys.executable} -c '{copy}' {{listens}} {{output}}"
    # A log that is there is used, and left.
    log = tmp_path / "benchmarks/log-3000-balanced-11"
    write_log(LogConfig(num_listens=3000), log)
    result = benchmark(tmp_path, "--repeats=2", "--per_listen_repeats=0", f"--also={also}")
    assert result.code == 0, result.stderr
    kept = json.loads((tmp_path / "benchmarks/compare.json").read_text())
    order = [(found["number"], found["contender"]) for found in kept["runs"]]
    names = ["ours", "polars", "copy"]
    assert order == [(number, name) for number in range(2) for name in names]
    by_name = {found["contender"]: found for found in kept["runs"]}
    assert by_name["copy"]["counts"] is None
    for name in ("ours", "polars"):
        assert set(by_name[name]["counts"]) == set(COUNTS)
        assert by_name[name]["counts"] == by_name["ours"]["counts"]
        assert by_name[name]["output_bytes"] > 1_000
        assert by_name[name]["measurement"]["peak_bytes"] > 10**7
    assert 0 < by_name["ours"]["counts"]["users"] < by_name["ours"]["counts"]["sessions"] < 3000
    ours = by_name["ours"]["measurement"]["written_bytes"] - by_name["ours"]["output_bytes"]
    assert ours > 3000 * 20  # what was shuffled by way of the disk
    assert {"cpu", "cores", "memory_bytes", "commit", "packages", "load"} <= set(kept["machine"])
    header, _, *rows = rows_of(result.stdout)
    assert [row[1] for row in rows] == names
    assert rows[0][header.index("wall, times ours")] == "1.00"
    left = sorted(path.name for path in (tmp_path / "benchmarks").iterdir())
    assert left == ["compare.json", "copy.log", log.name, "ours.log", "polars.log"]


def test_who_runs_when(tmp_path):
    config = BenchmarkConfig(tmp_path, per_listen_repeats=1, max_memory_mb=700)
    first, second = ([entrant.name for entrant in config.contenders(turn)] for turn in (0, 1))
    assert first == ["ours", "polars", "beam_per_listen"]
    assert second == ["ours", "polars"]
    commands = [
        " ".join(entrant.command(listens=Path("/in"), output=Path("/out")))
        for entrant in config.contenders(0)
    ]
    assert all("--listens=/in --output=/out" in command for command in commands)
    assert ["--max_memory_mb=700" in command for command in commands] == [True, False, False]
    names = [log.name for log in BenchmarkConfig(tmp_path, Mode.SKEW, sizes=(2_000,)).logs()]
    assert names == ["2,000 listens", "2,000 listens, one_user", "2,000 listens, one_track"]
    for mode, sizes in ((Mode.SCALE, [1, 3, 10, 30]), (Mode.HUGE, [100])):
        config = BenchmarkConfig(tmp_path, mode)
        assert [entrant.name for entrant in config.contenders(0)] == ["ours"]
        assert [log.num_listens for log in config.logs()] == [10**6 * size for size in sizes]


def test_contenders_that_find_something_else_end_the_benchmark(tmp_path):
    """Here it is the peer, which reads another log than it is told to."""
    other = tmp_path / "other"
    write_log(LogConfig(num_listens=2000), other)
    peer = f"{sys.executable} -m benchmarks.polars_sessionize --listens={other}/listens"
    also = f"wrong=sh -c '{peer} --output=$0' {{output}} {{listens}}"
    result = benchmark(tmp_path, "--per_listen_repeats=0", f"--also={also}")
    assert result.code == 2
    assert "they do not do the same work" in result.error
    # The log that it made is gone, all the same.
    left = sorted(path.name for path in (tmp_path / "benchmarks").iterdir())
    assert left == ["compare.json", "ours.log", "polars.log", "wrong.log"]


def test_help_says_what_is_measured():
    shown = run("benchmarks.sessionize", ["--help"], folder=ROOT).stdout
    for word in ("compare", "scale", "skew", "huge", "Ratios", "peak", "--max_memory_mb", "--also"):
        assert word in shown


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--num_listens=0", "--num_listens=0 must be at least 1"),
        ("--num_listens=many", "--num_listens=many must be a number"),
        ("--num_listens=10,20", "--num_listens must be one number with --mode=compare"),
        ("--repeats=0", "--repeats must be at least 1"),
        ("--also=grep {listens}", "must be NAME=COMMAND"),
        ("--also=../a=b {listens} {output}", "a name of letters"),
        ("--also=ours=b {listens} {output}", "must have another name than ours, polars"),
        ("--mode=fast", "--mode=fast"),
    ],
)
def test_bad_flags_are_refused_at_once(tmp_path, flag, text):
    result = run("benchmarks.sessionize", [f"--workspace={tmp_path}", flag], folder=ROOT)
    assert result.code == 2
    assert text in result.error
    assert list(tmp_path.iterdir()) == []


def made_up(number: int, contender: str, wall: float, *, peak: int = 0, written: int = 0) -> Run:
    measurement = Measurement(wall, 2 * wall, peak, written)
    return Run(number, contender, "1,000 listens", 1_000, measurement, 500, None)


def test_the_table_has_medians_and_ratios_within_rounds():
    machine = {
        "cpu": "A CPU",
        "cores": 2,
        "memory_bytes": 2**33,
        "kernel": "6",
        "python": "3",
        "packages": {"numpy": "2"},
        "commit": "abc",
        "changed": True,
        "load": 0.04,
    }
    # A round in which all took ten times as long changes no ratio.
    walls = {"ours": [2, 20, 4], "other": [3, 30, 8]}
    runs = [
        made_up(number, name, own[number], peak=(number + 1) * 10**8, written=2_500)
        for number in range(3)
        for name, own in walls.items()
    ]
    text = to_markdown(
        machine, runs, base="ours", is_base=lambda run, other: other.contender == "ours"
    )
    without = to_markdown(machine, runs, base=None, is_base=lambda run, other: True)
    assert rows_of(without)[0] == [name for name in rows_of(text)[0] if "times" not in name]
    assert {len(row) for row in rows_of(without)} == {8}
    assert text.startswith("A CPU, 2 cores, 8 GiB, load 0.0 in the minute before; ")
    assert "commit abc with changes." in text
    header, _, *rows = rows_of(text)
    assert dict(zip(header, rows[1], strict=True)) == {
        "log": "1,000 listens",
        "program": "other",
        "runs": "3",
        "wall, s": "8.0 (3.0–30.0)",
        "wall, times ours": "1.50",
        "listens/s": "125",
        "CPU, s": "16.0",
        "peak memory, MB": "300",
        "spilled, bytes a listen": "2.0",
    }
