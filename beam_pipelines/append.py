"""Adding newer listens to an output: what the older run settled, and both runs as one."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from absl import logging

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.rules.older import Older
from beam_pipelines.rules.state import INPUTS, Inputs
from beam_pipelines.rules.tally import KEPT, REJECTED_USERS, Tally
from cosernn_tf.errors import UserError
from cosernn_tf.workspace import Manifest, SessionsDirectory, open_sessions

INHERITED: Final = (
    "num_shards",
    "session_gap_seconds",
    "validation_days",
    "test_days",
    "min_track_listens",
    "max_stream_sources",
)
"""Options that an output keeps."""

_OF_USERS: Final = ("users_read", "users_duplicates", "users_without_listens")
_COUNTED_ANEW: Final = ("users", "users_with_age", "sessions", "tracks")


def open_older(config: SessionizeConfig, *, ids: Mapping[str, str]) -> Older:
    """Opens the output of an older run, to add listens to it.

    Args:
        config: Of the newer run.
        ids: How the newer run stores ids, as in the manifest.

    Raises:
        UserError: There is none, it does not have what that needs, or its options of `INHERITED`
            or its ids are others.
    """
    output = config.output
    sessions = _open(output)
    _require_equal(vars(config), sessions)
    if dict(ids) != dict(sessions.manifest.ids):
        raise UserError(
            f"{output} has other ids than --append would give it (as in the log, hashed, or hashed "
            "by another key): give the --hash_ids and --hash_ids_columns that it was made with"
        )
    return Older(output, sessions.manifest, Inputs.from_json(sessions.state(INPUTS)))


def _open(output: Path) -> SessionsDirectory:
    if not output.exists():
        raise UserError(
            f"--append needs an output to add to, and {output} does not exist: run without "
            "--append first"
        )
    sessions = open_sessions(output)
    if INPUTS not in sessions.manifest.state:
        raise UserError(
            f"{output} has no state/ that --append could go on from (it was written with "
            "--keep_state=false, or by another release): run without --append, over the whole log"
        )
    return sessions


def inherit(config: SessionizeConfig, given: Mapping[str, Any]) -> SessionizeConfig:
    """The options of a run that adds to an output: those of `INHERITED` as they are there.

    Args:
        config: What was asked for.
        given: Options that were asked for by name, and are not to be overruled.

    Raises:
        UserError: One of them differs from the output's, or there is no output.
    """
    sessions = _open(config.output)
    _require_equal(given, sessions)
    options = sessions.manifest.options
    return dataclasses.replace(config, **{name: options[name] for name in INHERITED})


def _require_equal(given: Mapping[str, Any], sessions: SessionsDirectory) -> None:
    options = sessions.manifest.options
    for name in INHERITED:
        if name in given and given[name] != options[name]:
            raise UserError(
                f"--{name}={given[name]} differs from {options[name]}, with which {sessions.path} "
                "was written: leave it out, or run without --append, over the whole log"
            )


def as_one_run(
    older: Manifest, config: SessionizeConfig, tally: Tally
) -> tuple[Tally, dict[str, Any]]:
    """The tally and, for the manifest, the options of one run over both logs.

    Args:
        older: Of the older run.
        config: Of the newer run.
        tally: Of the newer run, with the difference that it makes to sessions made anew.
    """
    if not tally.counters[KEPT]:
        logging.warning(
            "Nothing was added: all rows of --listens=%s were duplicates, too late or rejected. "
            "Was this log added before?",
            ",".join(config.listens),
        )
    return (
        _sum(older, tally, has_users=config.users is not None),
        _options(older.options, config.options()),
    )


def _sum(older: Manifest, tally: Tally, *, has_users: bool) -> Tally:
    """Of the counters of users those of the run that had some last."""
    before = {
        name: number
        for name, number in older.counters.items()
        if name not in _COUNTED_ANEW and not (has_users and _is_of_users(name))
    }
    newer = {
        name: number
        for name, number in tally.counters.items()
        if has_users or not _is_of_users(name)
    }
    span = Tally(before, older.first_timestamp, older.last_timestamp)
    return span + dataclasses.replace(tally, counters=newer)


def _is_of_users(counter: str) -> bool:
    return counter in _OF_USERS or counter.startswith(REJECTED_USERS)


def _options(older: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    formats = dict.fromkeys([*older["listens_format"].split(","), newer["listens_format"]])
    ignored = dict.fromkeys([*older["ignore_columns"], *newer["ignore_columns"]])
    return {
        **newer,
        # Paths are hidden where ids are hashed.
        "listens": older["listens"] and [*older["listens"], *newer["listens"]],
        "listens_format": ",".join(formats),
        "ignore_columns": list(ignored),
        "users": newer["users"] or older["users"],
    }


def keep_rejected(older: Older, config: SessionizeConfig, inputs: Inputs, staging: Path) -> None:
    """Takes over the older run's rejected rows of files from which the newer one has none.

    Args:
        older: The older output.
        config: Of the newer run.
        inputs: Of both.
        staging: What the newer run has written.
    """
    files = older.inputs.files if config.users is None else older.inputs.listens
    for file in files:
        rejected = older.path / older.inputs.rejected_name(file)
        copy = staging / inputs.rejected_name(file)
        if rejected.is_file() and not copy.exists():
            shutil.copyfile(rejected, copy)
