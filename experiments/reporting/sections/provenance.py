"""Where all of it comes from: data, evaluation, runs, and the source of every figure."""

import datetime
from collections.abc import Mapping
from typing import Any

from experiments.reporting.costs import Run, machine_line
from experiments.reporting.document import (
    Block,
    Column,
    Facts,
    Kind,
    Listings,
    Section,
    Sources,
    Table,
)
from experiments.reporting.formats import counted, listed
from experiments.reporting.report_data import Evaluated, ReportData


def provenance_section(data: ReportData) -> Section:
    facts = [_data_facts(data)]
    blocks: list[Block] = []
    if data.evaluated is not None:
        facts += _evaluation_facts(data.evaluated)
        if data.evaluated.costs:
            facts.append(_environment_facts(data.evaluated))
            blocks += [_runs(data.evaluated), _flags(data.evaluated)]
    paragraph = (
        "Every table and figure is made from the files named here, by the commands beside them. "
        "Checksums are SHA-256 of the files when the report was made."
    )
    return Section(
        "provenance",
        "Provenance",
        (paragraph,),
        (Facts(tuple(facts)), *blocks, Sources()),
    )


def _data_facts(data: ReportData) -> tuple[str, tuple[str, ...]]:
    sessions = data.inputs.sessions
    manifest = sessions.manifest
    counters = manifest.counters
    lines = [
        f"{sessions.path}, checksum {sessions.sha256}",
        f"Listens from {_day(manifest.first_timestamp)} to {_day(manifest.last_timestamp)}; "
        f"validation split from {_time(manifest.split.validation_start)}, test split from "
        f"{_time(manifest.split.test_start)}.",
    ]
    if counters:
        known = {
            "listens": counters.get("kept"),
            "sessions": counters.get("sessions"),
            "users": counters.get("users"),
            "tracks": counters.get("tracks"),
        }
        counts = [f"{count:,} {what}" for what, count in known.items() if count is not None]
        if counts:
            lines.append(f"{listed(counts)}.")
    return "Session sequences", tuple(lines)


def _evaluation_facts(evaluated: Evaluated) -> list[tuple[str, tuple[str, ...]]]:
    content = evaluated.evaluation.content
    provenance = content["provenance"]
    options = ", ".join(
        f"{name}: {_shown(value)}" for name, value in provenance["evaluation"].items()
    )
    facts = [
        ("Track embeddings", (f"Checksum {provenance['embeddings_sha256']}",)),
        (
            "Evaluation",
            (
                f"{evaluated.evaluation.folder}, of sessions with checksum "
                f"{provenance['sessions_sha256']}",
                f"{options}.",
                f"{machine_line(provenance.get('machine'))}",
            ),
        ),
    ]
    given: Mapping[str, Any] = provenance.get("predictions", {})
    if given:
        lines = tuple(
            f"{name}: {entry['file']}, {counted(entry['rows'], 'row')}, SHA-256 {entry['sha256']}"
            for name, entry in given.items()
        )
        facts.append(("Predictions from elsewhere", lines))
    return facts


def _all_runs(evaluated: Evaluated) -> list[tuple[str, Run]]:
    """With the title of their model."""
    return [
        (evaluated.comparison.by_name[model].title, run)
        for model, cost in evaluated.costs.items()
        for run in cost.runs
    ]


def _environment(run: Run) -> str:
    """Machine, versions and commit that a run was trained with."""
    machine = run.machine
    if machine is None:
        return "unknown: trained by an older version"
    versions = {"Python": machine["python"], **machine["packages"]}
    commit = machine["commit"] + " with changes" * bool(machine["changed"])
    memory = machine["memory_bytes"]
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores",
        "memory unknown" if memory is None else f"{memory / 2**30:.0f} GiB",
        f"Linux {machine['kernel']}",
        *(f"{name} {version}" for name, version in versions.items()),
        f"commit {commit}",
    ]
    return ", ".join(parts)


def _environments(evaluated: Evaluated) -> dict[str, str]:
    """A short name of each."""
    found = dict.fromkeys(_environment(run) for _, run in _all_runs(evaluated))
    return {environment: f"E{number}" for number, environment in enumerate(found, start=1)}


def _environment_facts(evaluated: Evaluated) -> tuple[str, tuple[str, ...]]:
    environments = _environments(evaluated)
    return (
        "Where runs were trained",
        tuple(f"{name}: {environment}." for environment, name in environments.items()),
    )


def _runs(evaluated: Evaluated) -> Table:
    environments = _environments(evaluated)
    rows = [
        (
            run.name,
            title,
            run.config.get("config", {}).get("seed"),
            len(run.history),
            run.best["epoch"],
            run.best["validation_cosine"],
            run.minutes,
            None if run.machine is None else run.machine["time"],
            None if run.machine is None else run.machine["load"],
            environments[_environment(run)],
            (run.config.get("sessions_sha256") or "")[:12],
            (run.config.get("embeddings_sha256") or "")[:12],
        )
        for title, run in _all_runs(evaluated)
    ]
    return Table(
        "runs",
        "Runs",
        (
            Column("run", "Run"),
            Column("model", "Model"),
            Column("seed", "Seed", Kind.COUNT),
            Column("epochs", "Epochs", Kind.COUNT),
            Column("kept", "Kept", Kind.COUNT),
            Column("validation_cosine", "Validation cosine", Kind.NUMBER),
            Column("minutes", "Minutes", Kind.NUMBER, decimals=1),
            Column("time", "Trained"),
            Column("load", "Load", Kind.NUMBER, decimals=1),
            Column("environment", "Where"),
            Column("sessions_sha256", "Sessions"),
            Column("embeddings_sha256", "Embeddings"),
        ),
        tuple(rows),
        tuple(run.source for _, run in _all_runs(evaluated)),
        notes=(
            "Sessions and embeddings: the first 12 characters of the checksums. Load: of the last "
            "minute, when training ended.",
        ),
        is_folded=True,
    )


def _flags(evaluated: Evaluated) -> Listings:
    runs = _all_runs(evaluated)
    return Listings(
        f"Flags of {counted(len(runs), 'run')}",
        tuple((run.name, run.flags) for _, run in runs),
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _time(timestamp: int) -> str:
    return datetime.datetime.fromtimestamp(timestamp, datetime.UTC).isoformat(timespec="minutes")


def _day(timestamp: int) -> str:
    return datetime.datetime.fromtimestamp(timestamp, datetime.UTC).date().isoformat()
