"""What a data set cannot show, as far as its statistics tell: the limits of a data card."""

from collections.abc import Sequence
from typing import Final

from beam_pipelines.inspection.statistics import Context, Statistics
from beam_pipelines.inspection.tables import duration, number, one_line, percent, share
from beam_pipelines.rules.tally import DUPLICATES, READ
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION, UNKNOWN

_LARGE: Final = 0.5
_NOTABLE: Final = 0.1
"""Shares from which a bias is named."""

_MANY_TIMES: Final = 3
"""What the heaviest user must have, in shares that all would have alike, to be named."""


def known_limits(statistics: Statistics) -> list[str]:
    """A sentence or two each, in Markdown; what holds for the data set at hand only."""
    return [
        *_times(statistics),
        *_contexts(statistics),
        *_skips(statistics),
        *_users(statistics),
        *_tracks(statistics),
        *_rows(statistics),
        *_splits(statistics),
    ]


def _times(statistics: Statistics) -> list[str]:
    found = []
    if statistics.has_relative_times:
        found.append(
            "The log counts its times from a beginning that nobody knows: dates, days of the week "
            "and hours say nothing; gaps and spans are right."
        )
    elif not statistics.off_utc_share:
        found.append(
            "Every day and hour is that of UTC: the log has no offsets of the users' clocks, or "
            "none but zero. Where users live in other time zones, day, hour and period are not "
            "theirs."
        )
    step = statistics.step_seconds or 1
    if step > 1:
        found.append(f"Times are in steps of {duration(step)}: gaps are no finer than that.")
    found.append(
        "What users did before the first listen of the log is not in it: the first session of "
        "each has no gap before it, and early histories look shorter than they were."
    )
    return found


def _contexts(statistics: Statistics) -> list[str]:
    return [
        *_context("device", statistics.devices, statistics.sessions),
        *_context("stream source", statistics.stream_sources, statistics.sessions),
    ]


def _context(name: str, contexts: Sequence[Context], sessions: int) -> list[str]:
    found = []
    unknown = next(context.sessions for context in contexts if context.name == UNKNOWN)
    if unknown == sessions:
        return [f"No {name} is known: nothing can be learnt from it."]
    if unknown:
        found.append(f"The {name} of {percent(unknown, sessions)} of the sessions is unknown.")
    most = max(contexts, key=lambda context: context.sessions)
    if most.name != UNKNOWN and most.sessions > (1 - _NOTABLE) * sessions:
        found.append(
            f"{percent(most.sessions, sessions)} of the sessions have the {name} "
            f"`{one_line(most.name)}`: there is little to learn of others."
        )
    return found


def _skips(statistics: Statistics) -> list[str]:
    rules, total = statistics.skip_rules, sum(statistics.skip_rules.values())
    if total and rules.get("assumed_played", 0) == total:
        return [
            "The log does not tell what was skipped: every listen counts as played, and the skip "
            "rate says nothing."
        ]
    inferred = (
        ("from_ms_played", "was inferred from the time played (below 30 seconds is skipped)"),
        ("from_next_listen", "was inferred from when the next listen starts"),
        ("assumed_played", "is not known, and counts as played"),
    )
    found = [
        f"Whether a listen was skipped {text} for {percent(rules[rule], total)} of the listens."
        for rule, text in inferred
        if rules.get(rule)
    ]
    return found if statistics.skipped else [*found, "No listen was skipped."]


def _users(statistics: Statistics) -> list[str]:
    found = []
    if not statistics.users_with_age:
        found.append("No user's age is known.")
    elif statistics.users_with_age < statistics.users:
        unknown = statistics.users - statistics.users_with_age
        found.append(f"The age of {percent(unknown, statistics.users)} of the users is unknown.")
    most = (statistics.sessions_per_user.maximum or 0) / statistics.sessions
    if most >= max(_NOTABLE, _MANY_TIMES / statistics.users):
        found.append(
            f"One user has {share(most)} of the sessions, perhaps a shared account or a machine: "
            "look at results with and without."
        )
    heaviest = statistics.heaviest_users_share or 0
    if statistics.heaviest_users > 1 and heaviest >= _NOTABLE:
        found.append(
            f"1 % of the users have {share(heaviest)} of the sessions: means over sessions are "
            "theirs more than the others'."
        )
    single = statistics.sessions_per_user.histogram
    once = int(single.counts[single.values == 1].sum())
    if once >= _NOTABLE * statistics.users:
        found.append(f"{percent(once, statistics.users)} of the users have one session only.")
    return found


def _tracks(statistics: Statistics) -> list[str]:
    found = []
    if statistics.kept_listens < statistics.listens:
        cut = statistics.listens - statistics.kept_listens
        found.append(
            f"Records have the first {MAX_TRACKS_PER_SESSION} listens of each session: "
            f"{percent(cut, statistics.listens)} of all listens are counted, but not there."
        )
    if statistics.listens_cut:
        found.append(
            f"{percent(statistics.listens_cut, statistics.kept_listens)} of the listens in the "
            "records are of tracks that were cut from the vocabulary as rare (`-2` in `track`)."
        )
    popularity = statistics.popularity
    if (popularity.top_share or 0) >= _NOTABLE and popularity.top_tracks > 1:
        found.append(
            f"Popularity is uneven: 1 % of the tracks have {share(popularity.top_share)} of the "
            "listens, and whoever recommends these is often right."
        )
    if (popularity.repeat_share or 0) >= _LARGE:
        found.append(
            f"{share(popularity.repeat_share)} of the listens are repeats of tracks that the user "
            "has had before: little is discovered in this log."
        )
    if popularity.tracks_not_in_training:
        found.append(
            f"{percent(popularity.tracks_not_in_training, statistics.tracks)} of the tracks have "
            "no listen in the training split: nothing is known of them when it ends."
        )
    return found


def _rows(statistics: Statistics) -> list[str]:
    counters, found = statistics.counters, []
    if statistics.rejected_share:
        reasons = ", ".join(name.replace("_", " ") for name in statistics.rejected)
        found.append(
            f"{number(sum(statistics.rejected.values()))} rows of the log "
            f"({share(statistics.rejected_share)}) were left out: {reasons}."
        )
    if duplicates := counters.get(DUPLICATES, 0):
        found.append(
            f"{number(duplicates)} rows ({percent(duplicates, counters[READ])}) named the same "
            "user, track and time as another one, and were dropped."
        )
    return found


def _splits(statistics: Statistics) -> list[str]:
    found = [
        f"The {split.name} split is empty." for split in statistics.splits if not split.sessions
    ]
    histories = statistics.history_at_test
    without = int(histories.histogram.counts[histories.histogram.values == 0].sum())
    if without:
        found.append(
            f"{percent(without, histories.count)} of the users of the test split have no session "
            "before it."
        )
    return found
