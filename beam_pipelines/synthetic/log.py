"""Makes a whole log: the one call behind `python -m beam_pipelines.synthesize`."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from beam_pipelines.synthetic.catalogue import Catalogue, build_catalogue
from beam_pipelines.synthetic.config import GENERATOR_VERSION, PURPOSE, SyntheticConfig
from beam_pipelines.synthetic.listening import Listens, draw_listens
from beam_pipelines.synthetic.playlists import draw_playlists
from beam_pipelines.synthetic.users import USER_KEY, User, draw_user
from beam_pipelines.synthetic.writing import (
    PLAYLISTS,
    SUMMARY,
    LogWriter,
    write_playlists,
    write_summary,
)
from cosernn_tf.errors import UserError
from cosernn_tf.staging import staged
from cosernn_tf.workspace import SUCCESS

_COUNTED: Final = ("listens", "sessions", "skipped")


def synthesize(
    config: SyntheticConfig, output: Path, *, progress: bool = True, overwrite: bool = False
) -> dict[str, Any]:
    """Writes a log to the directory `output`, or leaves one of the same options as it is.

    The log appears whole, by a rename, or not at all; memory does not grow with the users.

    Args:
        config: What to make.
        output: Where to; replaced as a whole.
        progress: Show users done and time left on stderr.
        overwrite: Replace a log of other options.

    Returns:
        The log's summary, as in its `log.json`: options and counts.

    Raises:
        UserError: `output` has a log of other options and `overwrite` is false, or it exists and
            is no log at all, or it cannot be written.
    """
    existing = _existing_summary(output)
    head = {
        "purpose": PURPOSE,
        "generator_version": GENERATOR_VERSION,
        "options": dataclasses.asdict(config),
    }
    if existing is not None:
        if all(existing.get(key) == value for key, value in head.items()):
            logging.info("%s already has the log of these options: left as it is", output)
            return existing
        if not overwrite:
            raise UserError(
                f"{output} has a log of other options ({_describe(existing)}): "
                "pass --overwrite to replace it, or another --workspace"
            )
    try:
        with staged(output) as directory:
            summary = head | {"counts": _write(config, directory, progress=progress)}
            write_summary(directory / SUMMARY, summary)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written ({error}): make room, or pass another --workspace"
        ) from error
    return summary


def _write(config: SyntheticConfig, directory: Path, *, progress: bool) -> dict[str, int]:
    """Writes everything but the summary; returns its counts."""
    catalogue = build_catalogue(config)
    counts = dict.fromkeys(_COUNTED, 0)
    with LogWriter(directory, catalogue, config.num_users) as writer:
        for number in tqdm(range(config.num_users), unit="user", disable=not progress):
            user, listens = make_user(config, catalogue, number)
            writer.add(user, listens)
            counts["listens"] += len(listens.track)
            counts["sessions"] += listens.num_sessions
            counts["skipped"] += int(np.count_nonzero(listens.is_skipped))
    counts["playlists"] = write_playlists(directory / PLAYLISTS, draw_playlists(config, catalogue))
    return counts


def make_user(config: SyntheticConfig, catalogue: Catalogue, number: int) -> tuple[User, Listens]:
    """User `number` and all their listens; the same whatever the number of users is."""
    rng = config.generator(USER_KEY, number)
    user = draw_user(config, catalogue, number, rng)
    return user, draw_listens(config, catalogue, user, rng)


def _existing_summary(output: Path) -> dict[str, Any] | None:
    """The summary of the log at `output`, None if nothing is there."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    try:
        if not (output / SUCCESS).is_file():
            raise ValueError(f"no {SUCCESS}")
        summary: dict[str, Any] = json.loads((output / SUMMARY).read_text(encoding="utf-8"))
        if summary.get("generator_version") is None:
            raise ValueError(f"no generator_version in {SUMMARY}")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{output} exists and is not a log of this program ({error}): "
            "move it away, or pass another --workspace"
        ) from error
    return summary


def _describe(summary: dict[str, Any]) -> str:
    options = summary.get("options", {})
    settings = ", ".join(f"--{name}={value}" for name, value in options.items())
    return f"{settings}, generator version {summary['generator_version']}"
