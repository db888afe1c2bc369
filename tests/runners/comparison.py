"""A log with everything in it, and what must be the same whichever runner works on it."""

import dataclasses
import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize
from cosernn_tf.workspace import open_sessions
from tests.beam_pipelines.appending import divided, spread
from tests.beam_pipelines.files import write_bytes, write_csv, write_json_lines, write_parquet
from tests.beam_pipelines.logs import Row, random_rows
from tests.entry_points import Result, run

DAY = 86_400
NUM_SHARDS = 6
MAX_BAD_FRACTION = 0.1


@dataclass(frozen=True)
class Job:
    """An input, and the output of the direct runner."""

    listens: Path
    users: Path
    expected: Path

    def arguments(self, runner: list[str], output: Path) -> list[str]:
        """Of the command, in the folder that the paths are relative to."""
        return [
            *runner,
            f"--listens={self.listens.name}",
            f"--users={self.users.name}",
            f"--num_shards={NUM_SHARDS}",
            f"--max_bad_fraction={MAX_BAD_FRACTION}",
            f"--output={output}",
        ]

    @property
    def folder(self) -> Path:
        return self.listens.parent

    def run(self, runner: list[str], output: Path) -> Result:
        """As a user runs it."""
        arguments = self.arguments(runner, output)
        return run("beam_pipelines.sessionize", arguments, folder=self.folder, timeout=550)


def make_job(folder: Path, *, users: int = 40, listens: int = 60) -> Job:
    """Files of every form, rows that are rejected, ages, and users of three splits."""
    rows = _rows(users, listens)
    log = folder / "log"
    third = len(rows) // 3
    write_json_lines(log / "a.jsonl.gz", rows[:third])
    write_json_lines(log / "deep/b.jsonl.gz", [*rows[third : 2 * third], *_bad(rows)])
    parquet = rows[2 * third :]
    write_parquet(log / "c.parquet", parquet, row_group_size=-(-len(parquet) // 5))
    write_csv(log / "d.csv", [{**rows[0], "timestamp": "yesterday"}])
    names = sorted({row["user_id"] for row in rows})
    ages = [f"{name},{'x' if number == 3 else 20 + number}" for number, name in enumerate(names)]
    table = "\n".join(["user_id,age", *ages, "stranger,50", ",12"])
    user_file = write_bytes(folder / "users.csv", table.encode())
    expected = folder / "expected"
    sessionize(
        SessionizeConfig(
            listens=(str(log),),
            users=str(user_file),
            output=expected,
            num_shards=NUM_SHARDS,
            max_bad_fraction=MAX_BAD_FRACTION,
        )
    )
    assert_all_is_in(expected)
    return Job(log, user_file, expected)


def _rows(users: int, listens: int) -> list[Row]:
    rng = random.Random(7)
    rows = random_rows(11, users=users, listens=listens)
    shift = {row["user_id"]: rng.randrange(40) * DAY for row in rows}
    return [{**row, "timestamp": row["timestamp"] + shift[row["user_id"]]} for row in rows]


def _bad(rows: list[Row]) -> list[Row]:
    changes: list[Row] = [
        {"user_id": ""},
        {"track_id": None},
        {"timestamp": 1_554_076_800_000},
        {"ms_played": -5},
        {"skipped": "perhaps"},
    ]
    return [{**rows[0], **change} for change in changes]


def make_addition(folder: Path) -> tuple[list[str], Path, Path]:
    """What the direct runner makes of an older log, and then of a newer one, ids hashed.

    Returns:
        The arguments that add the newer log, the output of the older one, to which they do, and
        what must come of it.
    """
    rows = spread(5, users=12)
    middle = sorted(row["timestamp"] for row in rows)[len(rows) // 2]
    older, newer = divided(rows, middle, random.Random(1))
    before, after = folder / "sessions", folder / "expected"
    key = write_bytes(folder / "key", b"0123456789abcdef" * 2)
    key.chmod(0o600)
    log = write_parquet(folder / "older.parquet", older)
    config = SessionizeConfig(
        listens=(str(log),), output=before, num_shards=NUM_SHARDS, hash_ids=str(key)
    )
    sessionize(config)
    shutil.copytree(before, after)
    log = write_json_lines(folder / "newer.jsonl.gz", newer)
    sessionize(dataclasses.replace(config, listens=(str(log),), output=after, append=True))
    arguments = [f"--listens={log.name}", f"--output={before.name}", f"--hash_ids={key.name}"]
    return ["--append", *arguments], before, after


def assert_equal_output(output: Path, expected: Path) -> None:
    """Every byte of every file but the manifest's options, which name the output."""
    assert _files(output) == _files(expected)
    assert _manifest(output) == _manifest(expected)
    open_sessions(output)


def assert_all_is_in(expected: Path) -> None:
    """The log of `make_job` has what it is meant to have."""
    counters = _manifest(expected)["counters"]
    assert counters["duplicates"] > 0
    assert sum(number for name, number in counters.items() if "rejected_" in name) == 8


def _files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def _manifest(directory: Path) -> dict[str, Any]:
    manifest = json.loads((directory / "manifest.json").read_text("utf-8"))
    del manifest["options"]
    return dict(manifest)
