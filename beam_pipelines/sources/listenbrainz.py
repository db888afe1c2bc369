"""ListenBrainz: a dump of all listens, or a person's own export; JSON Lines, an object a listen.

Dumps have a file a month, `listens/2019/4.listens`, with user_name (also user_id), listened_at (in
older ones timestamp) and track_metadata. Exports have `listens/2019/4.jsonl`, whose rows do not say
whose they are: `user.json` beside the folder does. Times are starts, UTC seconds.

A track is known by its recording: the MusicBrainz id that ListenBrainz has mapped the listen to,
else the one that the player sent, else ListenBrainz' own id of the names, else the names.
Durations are whatever a player sent; those that are no positive number are left out.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.parsing import parse_int, parse_text
from beam_pipelines.rules.rows import RawListens
from beam_pipelines.sources.base import Unit
from beam_pipelines.sources.json_lines import read_json_objects
from cosernn_tf.errors import UserError

_SCHEMA: Final = pa.schema(
    {
        "user_name": pa.string(),
        "user_id": pa.int64(),
        "listened_at": pa.int64(),
        "timestamp": pa.int64(),
        "recording_msid": pa.string(),
        "track_metadata": pa.struct(
            {
                "artist_name": pa.string(),
                "track_name": pa.string(),
                "recording_msid": pa.string(),
                "additional_info": pa.struct(
                    {
                        "recording_mbid": pa.string(),
                        "recording_msid": pa.string(),
                        # Doubles, so that whole numbers and others can be read at once.
                        "duration_ms": pa.float64(),
                        "duration": pa.float64(),
                    }
                ),
                "mbid_mapping": pa.struct({"recording_mbid": pa.string()}),
            }
        ),
    }
)
_TRACK: Final = "track_metadata."
_INFO: Final = "track_metadata.additional_info."
_NO_LISTENS: Final = ("feedback.", "pinned_recording")
"""What the names of an export's other files begin with."""


@dataclass(frozen=True)
class ListenBrainzSource:
    """Reads the files of listens of a dump or an export."""

    suffixes: tuple[str, ...] = (".listens", ".jsonl")

    def units(self, path: Path) -> list[Unit]:
        if path.name.startswith(_NO_LISTENS):
            return []
        return [Unit(str(path))] if path.stat().st_size else []

    def read(self, unit: Unit) -> Iterator[RawListens]:
        owner = _owner(Path(unit.path))
        for batch in read_json_objects(unit.path, schema=_SCHEMA):
            yield RawListens(_canonical(batch.columns, owner), batch.rows, batch.malformed)


def _canonical(columns: dict[str, pa.Array], owner: str | None) -> dict[str, pa.Array]:
    if not columns:
        return {}

    def text(name: str) -> pa.Array:
        return parse_text(columns[name])[0]

    # A name has a tab, an id has none.
    names = pc.binary_join_element_wise(
        text(f"{_TRACK}artist_name"), text(f"{_TRACK}track_name"), "\t"
    )
    return {
        "user_id": pc.coalesce(text("user_name"), text("user_id"), pa.scalar(owner, pa.string())),
        "track_id": pc.coalesce(
            pc.utf8_lower(text(f"{_TRACK}mbid_mapping.recording_mbid")),
            pc.utf8_lower(text(f"{_INFO}recording_mbid")),
            text(f"{_TRACK}recording_msid"),
            text("recording_msid"),
            text(f"{_INFO}recording_msid"),
            names,
        ),
        "timestamp": pc.coalesce(columns["listened_at"], columns["timestamp"]),
        "track_duration_ms": pc.coalesce(
            _positive(columns[f"{_INFO}duration_ms"]),
            pc.multiply(_positive(columns[f"{_INFO}duration"]), 1000),
        ),
    }


def _positive(column: pa.Array) -> pa.Array:
    if pa.types.is_floating(column.type):
        whole = pc.floor(column)
    else:
        whole = pc.replace_substring_regex(parse_text(column)[0], r"\.[0-9]+$", "")
    numbers, _ = parse_int(whole)
    return pc.if_else(pc.greater(numbers, 0), numbers, None)


def _owner(path: Path) -> str | None:
    """The user whose export `<folder>/listens/<year>/<month>.jsonl` is part of."""
    if len(path.parents) < 3 or path.parents[1].name != "listens":
        return None
    file = path.parents[2] / "user.json"
    if not file.is_file():
        return None
    try:
        return str(json.loads(file.read_bytes())["username"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} does not say whose export it is ({error!r}): expected its field username"
        ) from error
