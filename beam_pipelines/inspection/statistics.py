"""The statistics of a directory of session sequences, and their form as JSON."""

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from beam_pipelines.inspection.counts import COUNTED, SECONDS_PER_WEEK, SPLITS, Counts
from beam_pipelines.inspection.histogram import Histogram, gini
from beam_pipelines.rules.refusals import rejected_listens
from beam_pipelines.rules.tally import READ
from cosernn_tf.schema import (
    AGE_BUCKET_STARTS,
    DAYS_OF_WEEK,
    HOURS,
    MAX_TRACKS_PER_SESSION,
    PERIOD_OF_HOUR,
    PERIODS,
    SECONDS_PER_DAY,
)
from cosernn_tf.workspace import RAW_IDS, SessionsDirectory

STATISTICS_FORMAT: Final = 1
"""Version of the form of `statistics.json`."""

RELATIVE_TIMES: Final = ("jodie", "yambda")
"""Formats of logs that count seconds from an unknown beginning (docs/formats.md)."""

_SKIP_RULE: Final = "skipped_"

_TOP: Final = 0.01
"""The share of users, or of tracks, that are looked at as the greatest."""
_RANKS_PER_DECADE: Final = 20


@dataclass(frozen=True)
class Distribution:
    """Of integers: what a table shows of them; None where there are none."""

    count: int
    mean: float | None
    minimum: int | None
    maximum: int | None
    quantiles: Mapping[str, int | None]
    exact: bool
    """Whether the quantiles are; those of gaps are right to 1 in 1,024. The mean always is."""
    values: tuple[int, ...]
    """The distinct values, ascending, with their `counts`; rounded if not `exact`."""
    counts: tuple[int, ...]

    @property
    def histogram(self) -> Histogram:
        return Histogram(np.array(self.values, np.int64), np.array(self.counts, np.int64))


@dataclass(frozen=True)
class Context:
    """Sessions of one device, stream source, day, hour or period, by their first listens."""

    name: str
    sessions: int
    listens: int
    kept_listens: int
    """Among the first 10 of their sessions; skips are known of these."""
    skipped: int
    skip_rate: float | None
    """Of the kept listens."""


@dataclass(frozen=True)
class SplitSize:
    """A split (§5.2): a session belongs to that in which it starts."""

    name: str
    start: int | None
    """UTC seconds; None: the beginning of the log."""
    users: int
    """With a session in it."""
    sessions: int
    listens: int


@dataclass(frozen=True)
class Popularity:
    """How the kept listens fall on the tracks that have any."""

    tracks: int
    top_tracks: int
    """1 % of these tracks, rounded up."""
    top_share: float | None
    """Of the listens, to the `top_tracks`."""
    gini: float | None
    ranks: tuple[int, ...]
    """Some ranks, from 1 to the last, with the `listens` of the track there."""
    listens: tuple[int, ...]
    tracks_not_in_training: int
    """Of the vocabulary, without a listen in the training split."""
    repeat_share: float | None
    """Of the kept listens of tracks in the vocabulary: those of a track that the user has had."""


@dataclass(frozen=True)
class Week:
    """Seven days; the last one ends with the last listen."""

    start: int
    sessions: int


@dataclass(frozen=True)
class Statistics:
    """What is in a directory of session sequences."""

    sessions_sha256: str
    """Checksum of the directory: of its shards, vocabularies and splits."""
    vocabularies: Mapping[str, str]
    schema_version: int
    ids: Mapping[str, str]
    """How users and tracks are named, as in the manifest."""
    options: Mapping[str, Any]
    """Of the job that made it: numbers, switches and the format of the log. No paths."""
    shards: int
    bytes: int
    """Of the shards."""
    users: int
    users_with_age: int
    ages: Mapping[str, int]
    """Users by age."""
    sessions: int
    listens: int
    kept_listens: int
    """The first 10 of each session, which the records have."""
    listens_cut: int
    """Kept listens whose track `--min_track_listens` cut."""
    skipped: int
    skip_rate: float | None
    tracks: int
    """In the vocabulary."""
    first_timestamp: int
    last_timestamp: int
    days: float
    step_seconds: int | None
    """The starts of sessions are multiples of so many seconds apart; None of a single session."""
    off_utc_share: float | None
    """Of sessions whose local day or hour is another than in UTC."""
    counters: Mapping[str, int]
    rejected: Mapping[str, int]
    """Rows of the log by reason, the most frequent first."""
    rejected_share: float | None
    """Of the rows read."""
    skip_rules: Mapping[str, int]
    """What decided that a listen counts as skipped or played, and how often."""
    splits: tuple[SplitSize, ...]
    sessions_per_user: Distribution
    tracks_per_session: Distribution
    distinct_tracks_per_user: Distribution
    """Among the kept listens."""
    gap_seconds: Distribution
    """From the end of a user's session to the start of the next."""
    history_at_test: Distribution
    """Sessions before the test split, of each user who has one in it."""
    full_sessions_share: float | None
    """Of sessions with at least 10 tracks."""
    heaviest_users: int
    """1 % of the users, rounded up."""
    heaviest_users_share: float | None
    """Of the sessions, by the `heaviest_users`."""
    popularity: Popularity
    devices: tuple[Context, ...]
    stream_sources: tuple[Context, ...]
    days_of_week: tuple[Context, ...]
    hours: tuple[Context, ...]
    periods: tuple[Context, ...]
    sessions_by_day_and_hour: tuple[tuple[int, ...], ...]
    """(7, 24), from Monday; local."""
    weeks: tuple[Week, ...]

    @property
    def has_hashed_users(self) -> bool:
        return self.ids["user_id"] != RAW_IDS["user_id"]

    @property
    def has_relative_times(self) -> bool:
        """Whether dates, days and hours are those of a calendar that nobody knows."""
        return self.options.get("listens_format") in RELATIVE_TIMES

    def to_json(self) -> str:
        """The content of `statistics.json`; what has no value is null."""
        fields = {"format": STATISTICS_FORMAT, **dataclasses.asdict(self)}
        text = json.dumps(fields, indent=2, allow_nan=False, ensure_ascii=False)
        # A list of numbers stands in one line.
        return re.sub(r"\[\n[-+\d.,e\s]+\]", lambda found: "".join(found[0].split()), text) + "\n"


def summarize(sessions: SessionsDirectory, counts: Counts, *, num_bytes: int) -> Statistics:
    """The statistics of the directory whose users are all in `counts`."""
    manifest = sessions.manifest
    counters = manifest.counters
    rejected = rejected_listens(counters)
    num_sessions, listens, kept, skipped = counts.day_and_hour.sum((0, 1)).tolist()
    heaviest = math.ceil(_TOP * counts.users)
    by_hour = counts.day_and_hour.sum(0)
    return Statistics(
        sessions_sha256=sessions.sha256,
        vocabularies=dict(manifest.vocabularies),
        schema_version=manifest.schema_version,
        ids=dict(manifest.ids),
        options=_without_paths(manifest.options),
        shards=len(manifest.shards),
        bytes=num_bytes,
        users=counts.users,
        users_with_age=counts.users_with_age,
        ages=dict(zip(_age_names(), counts.age_buckets.tolist(), strict=True)),
        sessions=num_sessions,
        listens=listens,
        kept_listens=kept,
        listens_cut=counts.listens_cut,
        skipped=skipped,
        skip_rate=_share(skipped, kept),
        tracks=len(counts.track_listens),
        first_timestamp=manifest.first_timestamp,
        last_timestamp=manifest.last_timestamp,
        days=(manifest.last_timestamp - manifest.first_timestamp) / SECONDS_PER_DAY,
        step_seconds=counts.step_seconds or None,
        off_utc_share=_share(counts.sessions_off_utc, num_sessions),
        counters=dict(sorted(counters.items())),
        rejected=dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0]))),
        rejected_share=_share(sum(rejected.values()), counters.get(READ, 0)),
        skip_rules={
            name.removeprefix(_SKIP_RULE): number
            for name, number in counters.items()
            if name.startswith(_SKIP_RULE)
        },
        splits=_splits(sessions, counts),
        sessions_per_user=_exact(counts.sessions_per_user),
        tracks_per_session=_exact(counts.tracks_per_session),
        distinct_tracks_per_user=_exact(counts.distinct_tracks_per_user),
        gap_seconds=_gaps(counts),
        history_at_test=_exact(counts.history_at_test),
        full_sessions_share=_share(
            counts.tracks_per_session.size_from(MAX_TRACKS_PER_SESSION), num_sessions
        ),
        heaviest_users=heaviest,
        heaviest_users_share=_share(
            counts.sessions_per_user.total_of_largest(heaviest), num_sessions
        ),
        popularity=_popularity(counts, sessions.train_listens),
        devices=_contexts(sessions.devices, counts.devices),
        stream_sources=_contexts(sessions.stream_sources, counts.stream_sources),
        days_of_week=_contexts(DAYS_OF_WEEK, counts.day_and_hour.sum(1)),
        hours=_contexts([f"{hour:02d}" for hour in range(HOURS)], by_hour),
        periods=_contexts(
            PERIODS, np.stack([by_hour[p == PERIOD_OF_HOUR].sum(0) for p in range(len(PERIODS))])
        ),
        sessions_by_day_and_hour=tuple(map(tuple, counts.day_and_hour[:, :, 0].tolist())),
        weeks=_weeks(counts.weeks_back, manifest.last_timestamp),
    )


def _without_paths(options: Mapping[str, Any]) -> dict[str, Any]:
    shown = {
        name: value
        for name, value in options.items()
        if isinstance(value, int | float) or name == "listens_format"
    }
    return dict(sorted(shown.items()))


def _age_names() -> list[str]:
    starts = AGE_BUCKET_STARTS
    names = [f"{start}-{end - 1}" for start, end in itertools.pairwise(starts)]
    return ["unknown", *names, f"{starts[-1]} and above"]


def _splits(sessions: SessionsDirectory, counts: Counts) -> tuple[SplitSize, ...]:
    split = sessions.manifest.split
    starts = (None, split.validation_start, split.test_start)
    sizes = zip(SPLITS, starts, counts.splits.tolist(), strict=True)
    return tuple(SplitSize(name, start, *numbers) for name, start, numbers in sizes)


def _exact(histogram: Histogram) -> Distribution:
    return Distribution(
        count=histogram.size,
        mean=histogram.mean,
        minimum=histogram.minimum,
        maximum=histogram.maximum,
        quantiles=histogram.quantiles(),
        exact=True,
        values=tuple(histogram.values.tolist()),
        counts=tuple(histogram.counts.tolist()),
    )


def _gaps(counts: Counts) -> Distribution:
    rounded = _exact(counts.gaps)
    mean = _share(counts.gap_seconds, rounded.count)
    return dataclasses.replace(rounded, mean=mean, exact=False)


def _popularity(counts: Counts, train_listens: np.ndarray) -> Popularity:
    listens = -np.sort(-counts.track_listens[counts.track_listens > 0])
    top = math.ceil(_TOP * len(listens))
    total = int(listens.sum())
    ranks = _even_ranks(len(listens))
    return Popularity(
        tracks=len(listens),
        top_tracks=top,
        top_share=_share(int(listens[:top].sum()), total),
        gini=gini(listens),
        ranks=tuple(ranks.tolist()),
        listens=tuple(listens[ranks - 1].tolist()),
        tracks_not_in_training=int(np.count_nonzero(train_listens == 0)),
        repeat_share=_share(total - counts.distinct_tracks_per_user.total, total),
    )


def _even_ranks(number: int) -> np.ndarray:
    """Ranks from 1 to `number`: the first and the last few, and fewer in between."""
    if not number:
        return np.zeros(0, np.int64)
    steps = 1 + int(math.log10(number) * _RANKS_PER_DECADE)
    ranks = np.rint(np.geomspace(1, number, steps + 1)).astype(np.int64)
    return np.union1d(ranks, number + 1 - ranks)


def _contexts(names: Sequence[str], sums: np.ndarray) -> tuple[Context, ...]:
    assert sums.shape == (len(names), len(COUNTED))
    contexts = []
    for name, (num_sessions, listens, kept, skipped) in zip(names, sums.tolist(), strict=True):
        rate = _share(skipped, kept)
        contexts.append(Context(name, num_sessions, listens, kept, skipped, rate))
    return tuple(contexts)


def _weeks(weeks_back: Histogram, last_timestamp: int) -> tuple[Week, ...]:
    sessions: Iterable[tuple[int, int]] = zip(
        weeks_back.values.tolist(), weeks_back.counts.tolist(), strict=True
    )
    of_week = dict(sessions)
    first = max(of_week, default=-1)
    return tuple(
        Week(last_timestamp + 1 - (week + 1) * SECONDS_PER_WEEK, of_week.get(week, 0))
        for week in range(first, -1, -1)
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
