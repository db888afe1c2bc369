"""What a sessionise run is asked to do."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from beam_pipelines.rules.hashing import ID_COLUMNS
from cosernn_tf.config import require
from cosernn_tf.schema import SESSION_GAP_SECONDS, TEST_DAYS, VALIDATION_DAYS

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+:/")
"""How one starts, also where a path has made one slash of two."""


@dataclass(frozen=True)
class SessionizeConfig:
    """Options of a run, checked.

    Raises:
        UserError: An option is out of its range.
    """

    listens: tuple[str, ...]
    """Files, globs or directories."""
    listens_format: str = "canonical"
    users: str | None = None
    """Parquet or CSV with `user_id`, `age`."""
    output: Path = Path("workspace/sessions")
    append: bool = False
    """Add the listens to those of the output that is there (`beam_pipelines.append`)."""
    keep_state: bool = True
    """Leave what a later run needs to add newer listens."""
    ignore_columns: tuple[str, ...] = ()
    num_shards: int = 32
    """Files written; a user's is told by a hash of the id."""
    max_memory_mb: int = 2048
    """Of a process of the job, in mebibytes; the buckets of users are cut so that they fit."""
    session_gap_seconds: int = SESSION_GAP_SECONDS
    validation_days: int = VALIDATION_DAYS
    test_days: int = TEST_DAYS
    min_track_listens: int = 0
    max_stream_sources: int = 100
    max_bad_fraction: float = 0.01
    """Share of the rows read that may be bad, of the listens and of the users each."""
    hash_ids: str | None = None
    """File with the key by which ids are hashed; None: they are kept as in the log."""
    hash_ids_columns: tuple[str, ...] = ("user_id",)

    def __post_init__(self) -> None:
        require(bool(self.listens), "--listens is empty: give a file, glob or directory")
        places = [("listens", name) for name in self.listens]
        places += [("users", self.users or ""), ("output", str(self.output))]
        for flag, place in places:
            require(
                not _URL.match(place),
                f"--{flag}={place} is a URL, and a path is needed: mount the store in the file "
                "system, on every worker (beam_pipelines/SCALING.md)",
            )
        for flag, lowest, highest in (
            ("num_shards", 1, 30_000),
            ("max_memory_mb", 1, 2**24),
            ("session_gap_seconds", 1, 30 * 86_400),
            ("validation_days", 1, 10_000),
            ("test_days", 1, 10_000),
            ("min_track_listens", 0, 2**31),
            ("max_stream_sources", 0, 100_000),
            ("max_bad_fraction", 0, 1),
        ):
            value = getattr(self, flag)
            require(
                lowest <= value <= highest,
                f"--{flag}={value} must be from {lowest:,} to {highest:,}",
            )
        columns = self.hash_ids_columns
        require(
            set(columns) <= set(ID_COLUMNS) and len(set(columns)) == len(columns) > 0,
            f"--hash_ids_columns={','.join(columns)} must be some of {','.join(ID_COLUMNS)}",
        )
        require(
            self.hash_ids is not None or columns == ("user_id",),
            f"--hash_ids_columns={','.join(columns)} does nothing without --hash_ids=KEYFILE",
        )
        if self.hash_ids is not None:
            output, key = self.output.resolve(), Path(self.hash_ids).resolve()
            require(
                not key.is_relative_to(output),
                f"--hash_ids={self.hash_ids} is in --output={self.output}, which is replaced as a "
                "whole: keep the key elsewhere",
            )

    def options(self) -> dict[str, Any]:
        """For the manifest: neither the key's place nor, where ids are hidden, the log's paths."""
        options = {**dataclasses.asdict(self), "output": str(self.output)}
        # An output that was added to is one of all its listens.
        del options["append"], options["hash_ids"], options["hash_ids_columns"]
        if self.hash_ids is not None:
            options.update(listens=None, users=None)
        return options
