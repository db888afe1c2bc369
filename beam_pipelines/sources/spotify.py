"""A person's own Spotify data: JSON files of plays, a folder a user.

"Extended streaming history": `Streaming_History_Audio_*.json`, once `endsong_*.json`. "Account
data", of the last year: `StreamingHistory_music_*.json`, once `StreamingHistory*.json`, which has
names in place of ids and times to the minute. Other files of the folder are left out; plays of
podcasts, audiobooks and videos are rejected as `not_a_track`.

- Times are those of the end of a play, UTC: a listen starts `ms_played` earlier.
- Plays of a device that was offline are reported when it is back. `offline_timestamp` is then the
  start by the device's clock, in milliseconds in older rows and in seconds in newer ones. It is
  taken if `offline` is true and it is at most 30 days, as long as Spotify plays offline, before the
  report. (Chains of such plays show that it is the start: each ends where the next begins.)
- `skipped` is never true from 2015 to 2022, skipped or not: a play that the forward or backward
  button ended is skipped whatever it says, one that its end ended is not if it says nothing, and
  one that another choice ended (`endplay`) is left to the general rule unless it says true.
- `platform` is free text; the device is read from it.
- The user is the folder's name, without the folders that an export itself consists of.

Addresses, countries and user names in the rows are not read.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.parsing import parse_bool, parse_int, parse_time
from beam_pipelines.rules.rows import NOT_A_TRACK, RawListens, RejectedRow, malformed_row
from beam_pipelines.sources.base import Unit
from beam_pipelines.sources.files import open_text, unreadable
from beam_pipelines.sources.json_lines import as_text
from beam_pipelines.sources.times import later
from cosernn_tf.errors import UserError

_BYTES_TO_TELL: Final = 4096
_PLAYS: Final = re.compile(rb'^(?:\xef\xbb\xbf)?\s*\[\s*\{.*"(?:ts|endTime)"\s*:', re.S)
"""How a file of plays begins, whatever its name."""
_NAMES_OF_PLAYS: Final = re.compile(r"^(Streaming_?History|endsong)", re.IGNORECASE)
_NO_PLAYS: Final = re.compile(rb"^\s*(\[\s*\]\s*)?$")
_WITHOUT_MUSIC: Final = re.compile(r"^(Streaming_?History_(Video|podcast|audiobook)|endvideo)")
_FOLDERS_OF_EXPORTS: Final = (
    "spotify extended streaming history",
    "spotify account data",
    "my_spotify_data",
    "mydata",
)
_TRACK_URIS: Final = ("spotify:track:", "spotify:local:")

_DEVICES: Final = (
    ("web", r"web_?player|websocket"),
    ("speaker", r"sonos|echo|alexa|amazon_salmon|cast_audio|google_?home|homepod|speaker|bose"),
    ("other", r"(?<![a-z])tv|tv(?![a-z])|cast|playstation|ps[345]|xbox|roku|watch|car_?thing"),
    ("tablet", r"ipad|tablet|sm-t\d"),
    ("mobile", r"(?<![a-z])ios(?![a-z])|iphone|ipod|android|windows.?phone|blackberry|symbian"),
    ("desktop", r"windows|os.?x|mac|linux"),
)
"""In this order: a tablet's platform names a telephone's system, a browser's a computer's."""
_UNKNOWN_DEVICES: Final = ("", "not_applicable", "unknown")

_BUTTONS: Final = pa.array(["fwdbtn", "backbtn"])
_SECONDS_OFFLINE: Final = 30 * 86_400
_LEAST_MILLISECONDS: Final = 10**11
"""A number below is one of seconds: as milliseconds it would be before 1974."""

_SHOWN: Final = (
    *("ts", "endTime", "ms_played", "msPlayed", "master_metadata_track_name", "spotify_track_uri"),
    *("episode_name", "episode_show_name", "spotify_episode_uri", "podcastName", "episodeName"),
    *("audiobook_title", "audiobook_chapter_title", "audiobook_uri", "audiobookName"),
    *("chapterName", "artistName", "trackName"),
)
"""Fields of a rejected play that are kept: no other, for there are addresses among them."""


@dataclass(frozen=True)
class SpotifySource:
    """Reads the files of plays of both kinds of data."""

    suffixes: tuple[str, ...] = (".json",)

    def units(self, path: Path) -> list[Unit]:
        if path.name.startswith("."):  # what macOS writes beside a file
            return []
        try:
            with open_text(str(path)) as stream:
                start = stream.read(_BYTES_TO_TELL)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(path, error, "damaged") from error
        if _PLAYS.match(start):
            return [Unit(str(path))]
        if _NAMES_OF_PLAYS.match(path.name) and not _NO_PLAYS.match(start):
            raise UserError(f"{path} is damaged: it has the name of a file of plays, but no plays")
        return []

    def read(self, unit: Unit) -> Iterator[RawListens]:
        plays = _load(unit.path)
        has_music = not _WITHOUT_MUSIC.match(Path(unit.path).name)
        fields: list[tuple[str | None, ...]] = []
        rows: list[int] = []
        rejected: list[RejectedRow] = []
        for row, play in enumerate(plays, start=1):
            try:
                if not isinstance(play, dict):
                    raise TypeError("a play must be an object")
                if has_music and _is_of_track(play):
                    fields.append(_fields(play))
                    rows.append(row)
                else:
                    rejected.append(RejectedRow(row, NOT_A_TRACK, _content(play)))
            except (ValueError, TypeError):
                rejected.append(malformed_row(row, json.dumps(_shown(play))))
        columns = _canonical(fields, user=_user(Path(unit.path))) if fields else {}
        yield RawListens(columns, np.array(rows, np.int64), tuple(rejected))


def _load(path: str) -> list[Any]:
    try:
        with open_text(path) as stream:
            plays = json.loads(stream.read())
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        raise unreadable(path, error, "damaged or no JSON") from error
    if not isinstance(plays, list):
        raise UserError(f"{path} is no list of plays: give files as Spotify writes them")
    return plays


def _is_of_track(play: dict[str, Any]) -> bool:
    if "endTime" in play:
        return "trackName" in play
    return str(play.get("spotify_track_uri")).startswith(_TRACK_URIS)


def _fields(play: dict[str, Any]) -> tuple[str | None, ...]:
    """Track, end, milliseconds, skipped, reason of the end, offline, its time, platform."""
    if "endTime" in play:
        names = [as_text(play.get(name)) for name in ("artistName", "trackName")]
        # A name has a tab, an id has none.
        track = "\t".join(filter(None, names)) if all(names) else None
        return track, as_text(play.get("endTime")), as_text(play.get("msPlayed")), *[None] * 5
    return (
        as_text(play.get("spotify_track_uri")),
        as_text(play.get("ts")),
        as_text(play.get("ms_played")),
        as_text(play.get("skipped")),
        as_text(play.get("reason_end")),
        as_text(play.get("offline")),
        as_text(play.get("offline_timestamp")),
        as_text(play.get("platform")),
    )


def _canonical(fields: list[tuple[str | None, ...]], *, user: str) -> dict[str, pa.Array]:
    track, end, ms_played, skipped, reason, offline, device_time, platform = (
        pa.array(column, pa.string()) for column in zip(*fields, strict=True)
    )
    return {
        "user_id": pa.array([user] * len(fields)),
        "track_id": track,
        "timestamp": _starts(end, ms_played, offline, device_time),
        "ms_played": ms_played,
        "skipped": _skipped(skipped, reason),
        "device": _devices(platform),
    }


def _starts(
    end: pa.Array, ms_played: pa.Array, offline: pa.Array, device_time: pa.Array
) -> pa.Array:
    played = pc.divide(pc.fill_null(parse_int(ms_played)[0], 0), 1000)
    time = parse_int(device_time)[0]
    seconds = pc.if_else(pc.less(time, _LEAST_MILLISECONDS), time, pc.divide(time, 1000))
    age = pc.subtract(parse_time(end)[0], seconds)
    is_plausible = pc.and_(pc.greater_equal(age, 0), pc.less_equal(age, _SECONDS_OFFLINE))
    is_by_device = pc.fill_null(pc.and_(parse_bool(offline)[0], is_plausible), False)
    return later(end, pc.negate(pc.if_else(is_by_device, age, played)))


def _skipped(skipped: pa.Array, reason: pa.Array) -> pa.Array:
    flag = parse_bool(skipped)[0]
    reason = pc.fill_null(reason, "")
    is_true = pc.or_(pc.fill_null(flag, False), pc.is_in(reason, _BUTTONS))
    said = pc.if_else(pc.equal(reason, "trackdone"), pc.fill_null(flag, False), flag)
    return pc.if_else(is_true, True, pc.if_else(pc.equal(reason, "endplay"), None, said))


def _devices(platform: pa.Array) -> pa.Array:
    """Read from each platform once; a log has few."""
    encoded = platform.dictionary_encode()
    names = pa.array([_device(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return names.take(encoded.indices)


def _device(platform: str) -> str | None:
    text = platform.strip().lower()
    if text in _UNKNOWN_DEVICES:
        return None
    return next((name for name, pattern in _DEVICES if re.search(pattern, text)), "other")


def _user(path: Path) -> str:
    names = [parent.name for parent in path.absolute().parents]
    own = [name for name in names if name and name.lower() not in _FOLDERS_OF_EXPORTS]
    return own[0] if own else names[0]


def _content(play: dict[str, Any]) -> str:
    return json.dumps(_shown(play), ensure_ascii=False)


def _shown(play: Any) -> Any:
    if not isinstance(play, dict):
        return play
    return {name: play[name] for name in _SHOWN if play.get(name) is not None}
