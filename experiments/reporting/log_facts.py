"""What the log is, and what it does not tell: from manifest, analysis and track embeddings."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cosernn_tf.schema import EMBEDDING_DIM, SECONDS_PER_DAY, UNKNOWN
from experiments.reporting.formats import counted, listed, percent
from experiments.reporting.inputs import Inputs

_ABOUT: Final = (
    "What is compared: models that predict, as a session begins, a vector near the tracks that its "
    "user will play, from earlier sessions and the context; what to recommend are the tracks "
    "nearest to it. The task is that of the paper (Hansen et al., RecSys 2020). Underlined words "
    "lead to their definitions."
)

_OFFSETS: Final = "utc_offset_minutes"
"""Named by the analysis' note on a log without them."""


@dataclass(frozen=True)
class LogFacts:
    """None: nothing in the workspace says it."""

    skipped: float | None
    """Share of the kept listens."""
    are_skips_told: bool
    """False: the log has no skips, or they were taken for none."""
    devices: Sequence[tuple[str, float]] | None
    """With their shares of the sessions, the most frequent first; empty: the log has none."""
    has_local_time: bool | None


def log_facts(inputs: Inputs) -> LogFacts:
    counters = inputs.sessions.manifest.counters
    are_skips_told = counters.get("skipped_assumed_played", 0) < counters.get("kept", 1)
    if inputs.analysis is None:
        return LogFacts(None, are_skips_told, None, None)
    analysis = inputs.analysis.content
    coverage = analysis["coverage"]
    rows = analysis["tables"].get("context_shares", {}).get("rows", [])
    devices = [
        (row["context"], row["session_share"])
        for row in rows
        if row["dimension"] == "device" and row["session_share"]
    ]
    devices.sort(key=lambda device: -device[1])
    is_known = any(name != UNKNOWN for name, _ in devices)
    return LogFacts(
        skipped=coverage["listens_skipped"] / coverage["listens"] if coverage["listens"] else None,
        are_skips_told=are_skips_told and coverage["listens_skipped"] > 0,
        devices=devices if is_known else [],
        has_local_time=not any(_OFFSETS in note for note in analysis["notes"]),
    )


def log_sentences(inputs: Inputs, facts: LogFacts) -> list[str]:
    """What is compared, the log in a short paragraph, and its embeddings in another."""
    manifest = inputs.sessions.manifest
    counters = manifest.counters
    first, last = manifest.first_timestamp, manifest.last_timestamp
    text = "The data: a synthetic log, " if inputs.is_synthetic else "The data: a log, "
    if inputs.is_synthetic:
        text += "written by a generator and not by people, "
    text += f"from {_day(first)} to {_day(last)} ({_days(first, last)})"
    counts = [
        counted(counters[name], what)
        for name, what in (
            ("users", "user"),
            ("kept", "listen"),
            ("tracks", "track"),
            ("sessions", "session"),
        )
        if counters.get(name)
    ]
    text += f", with {listed(counts)}." if counts else "."
    found = [_ABOUT, f"{text} {' '.join(_contexts(facts))}".strip()]
    if inputs.embeddings is not None:
        found.append(_embeddings(inputs.embeddings))
    return found


def _contexts(facts: LogFacts) -> list[str]:
    """Skips, devices and local time, known or not."""
    known = []
    if not facts.are_skips_told:
        known.append("Skips: not told, all listens count as played.")
    elif facts.skipped is not None:
        known.append(f"Skips: {percent(facts.skipped)} of the listens that are kept.")
    if facts.devices is not None:
        shown = [f"{name} {percent(share)}" for name, share in facts.devices]
        known.append(f"Devices: {listed(shown)} of the sessions." if shown else "Devices: none.")
    if facts.has_local_time is not None:
        known.append(
            "Local times: known." if facts.has_local_time else "Local times: unknown, UTC instead."
        )
    return known


def _embeddings(description: Mapping[str, Any]) -> str:
    source = description.get("sentences")
    text = f"Track embeddings: {EMBEDDING_DIM} numbers a track, {description.get('method')}"
    if source:
        text += f" on {source}"
    tracks, embedded = description.get("tracks"), description.get("tracks_embedded")
    return f"{text}; {embedded:,} of {counted(tracks, 'track')} have one." if tracks else f"{text}."


def not_told(facts: LogFacts) -> list[str]:
    """For what limits the answer."""
    lacking = {
        "what was skipped": not facts.are_skips_told,
        "devices": facts.devices is not None and not facts.devices,
        "local times": facts.has_local_time is False,
    }
    names = [name for name, is_lacking in lacking.items() if is_lacking]
    if not names:
        return []
    return [f"The log does not tell {listed(names, last='or')}, which models are meant to use."]


def _days(first: int, last: int) -> str:
    return counted(last // SECONDS_PER_DAY - first // SECONDS_PER_DAY + 1, "day")


def _day(timestamp: int) -> str:
    return datetime.datetime.fromtimestamp(timestamp, datetime.UTC).date().isoformat()
