"""The data card: a page of Markdown to publish beside a data set of session sequences."""

from collections.abc import Mapping
from typing import Any, Final

from beam_pipelines.inspection import tables
from beam_pipelines.inspection.config import CardFields
from beam_pipelines.inspection.limits import known_limits
from beam_pipelines.inspection.statistics import Statistics
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION, SESSION_FEATURES
from cosernn_tf.workspace import (
    DEVICE_VOCABULARY,
    RAW_IDS,
    STREAM_SOURCE_VOCABULARY,
    TRACK_VOCABULARY,
)

DATA_CARD: Final = "DATA_CARD.md"

NOT_STATED: Final = "not stated"
_UNTITLED: Final = "Listening sessions"

_CITATION: Final = """\
```bibtex
@inproceedings{hansen2020contextual,
  author = {Hansen, Casper and Hansen, Christian and Maystre, Lucas and Mehrotra, Rishabh and
            Brost, Brian and Tomasi, Federico and Lalmas, Mounia},
  title = {Contextual and Sequential User Embeddings for Large-Scale Music Recommendation},
  booktitle = {Fourteenth ACM Conference on Recommender Systems (RecSys '20)},
  year = {2020}, publisher = {ACM}, doi = {10.1145/3383313.3412248}
}
```
"""

_LOADING: Final = """\
With TensorFlow Datasets, in a folder that holds this data set as `sessions/`:

```python
import tensorflow_datasets as tfds

dataset = tfds.builder_from_directory("sessions").as_dataset(split="users")
for user in dataset.take(2):
    print(user["user_id"].numpy().decode(), user["track"].shape)
```

With the project that made it, which checks the files by their checksums:

```python
from pathlib import Path

from cosernn_tf.dataset import read_shards
from cosernn_tf.workspace import open_sessions

sessions = open_sessions(Path("sessions"))
for table in read_shards(sessions):
    print(table.num_users, "users,", table.num_sessions, "sessions")
```
"""


def data_card(
    statistics: Statistics,
    fields: CardFields,
    *,
    plots: Mapping[str, str],
    has_rejected_rows: bool,
    has_state: bool,
) -> str:
    """The page; it names no path of the machine that it is made on.

    Args:
        statistics: Of the data set.
        fields: What a person says of it.
        plots: Path of each plot, relative to the page, and what it shows.
        has_rejected_rows: Whether rejected rows of the log lie beside the records.
        has_state: Whether there is `state/`, too.
    """
    sections = {
        "What it is": _what_it_is(statistics, fields),
        "Fields": _fields(),
        "How it was made": _how_it_was_made(statistics),
        "Splits": tables.splits(statistics).to_markdown(),
        "Statistics": _statistics(statistics, plots),
        "Known limits and biases": tables.bullets(known_limits(statistics)),
        "Privacy": _privacy(statistics, has_rejected_rows=has_rejected_rows, has_state=has_state),
        "How to load it": _LOADING,
        "Citation": f"The method that such sequences are made for:\n\n{_CITATION}",
        "Checksums": _checksums(statistics),
    }
    title = _stated(fields.title, otherwise=_UNTITLED)
    body = "".join(f"\n## {name}\n\n{text}" for name, text in sections.items())
    return f"# {title}\n{body}"


def _stated(text: str, *, otherwise: str = NOT_STATED) -> str:
    """What a person wrote, in one line; Markdown in it stays."""
    return " ".join(text.split()) or otherwise


def _what_it_is(statistics: Statistics, fields: CardFields) -> str:
    first, last = (
        tables.date_and_time(timestamp)[:10]
        for timestamp in (statistics.first_timestamp, statistics.last_timestamp)
    )
    said = {"Author": fields.author, "Licence": fields.licence, "Source": fields.source}
    return (
        f"What {statistics.users:,} users listened to from {first} to {last} (UTC), as sequences "
        f"of sessions: {statistics.sessions:,} sessions of {statistics.listens:,} listens to "
        f"{statistics.tracks:,} tracks, with the contexts in which they began and what was "
        "skipped. For research on session-level recommendation; every user is a TFRecord "
        "example.\n\n"
        + tables.bullets(f"{name}: {_stated(text)}" for name, text in said.items())
        + f"\n{tables.sizes(statistics).to_markdown()}"
    )


def _fields() -> str:
    rows = "".join(
        f"| `{f.name}` | `{f.per.value}` | {f.dtype.__name__.rstrip('_')} | {f.meaning} |\n"
        for f in SESSION_FEATURES
    )
    return (
        "A record is a user, with `T` sessions in time order; of each session the first "
        f"{MAX_TRACKS_PER_SESSION} listens are kept. Times are UTC seconds.\n\n"
        f"| feature | shape | type | meaning |\n| --- | --- | --- | --- |\n{rows}\n"
        f"`{TRACK_VOCABULARY}` has the track of each row (`track_id`, and `train_listens`, its "
        f"listens in the training split), `{DEVICE_VOCABULARY}` and `{STREAM_SOURCE_VOCABULARY}` a "
        "value a line, from row 0. `manifest.json` has the shards, the boundaries of the splits "
        "and all counters.\n"
    )


def _how_it_was_made(statistics: Statistics) -> str:
    options = dict(statistics.options)
    log_format = options.pop("listens_format", NOT_STATED)
    gap = options.get("session_gap_seconds")
    after = f"{tables.duration(gap)} or more of" if isinstance(gap, int) else "a time of"
    lines = [
        f"By `beam_pipelines.sessionize` of cosernn_tf, from a log in the format `{log_format}`.",
        f"A session is a user's consecutive listens: {after} inactivity, from the end of a listen "
        "(its start, where the log does not say how long it was played) to the start of the next, "
        "begins a new one.",
        "Its context is that of its first listen.",
        "Listens of the same user, track and time count once.",
    ]
    if options:
        shown = ", ".join(f"`{name}` {_option(value)}" for name, value in options.items())
        lines.append(f"Options: {shown}.")
    made = [
        tables.rows_of_the_log(statistics),
        tables.rows_of_users(statistics),
        tables.skip_rules(statistics),
    ]
    return tables.bullets(lines) + "".join(
        f"\n{table.title}:\n\n{table.to_markdown()}" for table in made if table.rows
    )


def _option(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:,}"


def _statistics(statistics: Statistics, plots: Mapping[str, str]) -> str:
    shown = [
        tables.distributions(statistics),
        tables.concentration(statistics),
        *tables.contexts(statistics),
        tables.ages(statistics),
    ]
    text = "\n".join(f"### {table.title}\n\n{table.to_markdown()}" for table in shown if table.rows)
    images = "\n".join(f"![{what[0].upper() + what[1:]}]({path})\n" for path, what in plots.items())
    return (
        f"The same numbers, and more, are in `statistics.json`. Skip rates are of the first "
        f"{MAX_TRACKS_PER_SESSION} listens of each session.\n\n{text}\n### Plots\n\n{images}"
    )


def _privacy(statistics: Statistics, *, has_rejected_rows: bool, has_state: bool) -> str:
    forms = (("Users", "user_id"), ("Tracks", "track_id"))
    lines = [_how_named(what, statistics.ids[column]) for what, column in forms]
    lines += [
        "Sessions have exact times. Who knows a few of a person's listens can find that person's "
        "record, and with it all the others, whatever the ids are.",
        "`manifest.json` names folders of the machine that it was made on (`options`).",
    ]
    if has_rejected_rows:
        content = (
            "what is left of rows that could not be used, of no use to others"
            if statistics.has_hashed_users
            else "rows of the log as they stood"
        )
        lines.append(f"`rejected.jsonl-*` holds {content}: do not publish these files.")
    if has_state:
        lines.append(
            "`state/` holds each user's latest listens one by one, to which a newer log can be "
            "added; it is of no other use: do not publish it."
        )
    return tables.bullets(lines)


def _how_named(what: str, form: str) -> str:
    if form == RAW_IDS["user_id"]:
        return f"{what} have the ids of the log, as they stood there."
    return f"{what} have keyed hashes ({form}) in place of ids; the key is not in the data set."


def _checksums(statistics: Statistics) -> str:
    sums = {"shards, splits and vocabularies": statistics.sessions_sha256}
    sums |= {f"`{name}`": sha256 for name, sha256 in sorted(statistics.vocabularies.items())}
    rows = "".join(f"| {name} | `{sha256}` |\n" for name, sha256 in sums.items())
    return (
        f"| SHA-256 of | |\n| --- | --- |\n{rows}\nThose of each shard are in `manifest.json`; the "
        "first line is one over all of them, `open_sessions(path).sha256`.\n"
    )
