"""What a trained model costs, and how it learnt: from its run directories, without TensorFlow."""

import io
import statistics
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import h5py

from cosernn_tf.provenance import in_one_line
from cosernn_tf.runs import CONFIG, FLAGFILE, HISTORY, INDEX, PROVENANCE
from cosernn_tf.whole_files import file_sha256
from cosernn_tf.workspace import Workspace
from experiments.reporting.document import Source
from experiments.reporting.inputs import read_json
from experiments.steps import command_line

MODEL_FILE: Final = "model.keras"
_WEIGHTS: Final = "model.weights.h5"
_OPTIMIZER: Final = "optimizer"
_INDEX_FILE: Final = "index.json"


@dataclass(frozen=True)
class Run:
    """A run directory, as far as it is there."""

    name: str
    folder: Path
    history: tuple[Mapping[str, Any], ...]
    """Of every epoch."""
    config: Mapping[str, Any]
    """Of `config.json`: configuration and checksums of the data."""
    flags: str
    machine: Mapping[str, Any] | None
    """Of `provenance.json`."""
    index: Mapping[str, Any] | None
    """Of `index.json`."""
    parameters: int | None

    @property
    def minutes(self) -> float:
        return float(sum(epoch["seconds"] for epoch in self.history)) / 60

    @property
    def sessions_per_second(self) -> float:
        """Of the median epoch."""
        speeds = [float(epoch["sessions_per_second"]) for epoch in self.history]
        return statistics.median(speeds)

    @property
    def best(self) -> Mapping[str, Any]:
        """The epoch that was kept."""
        return max(self.history, key=lambda epoch: epoch["validation_score"])

    @property
    def best_by(self) -> str | None:
        """What the epoch was chosen by; None of an older version."""
        value: str | None = self.config.get("config", {}).get("best_by")
        return value

    @cached_property
    def source(self) -> Source:
        arguments = [
            f"--workspace={self.folder.parent.parent}",
            f"--flagfile={self.folder / FLAGFILE}",
            f"--run={self.name}",
        ]
        command = command_line("cosernn_tf.train", arguments)
        path = self.folder / HISTORY
        return Source(path, command, file_sha256(path))


@dataclass(frozen=True)
class Cost:
    """Of a model over its seeds."""

    runs: tuple[Run, ...]

    @property
    def minutes(self) -> float:
        """Of training one seed."""
        return statistics.fmean(run.minutes for run in self.runs)

    @property
    def epochs(self) -> float:
        return statistics.fmean(len(run.history) for run in self.runs)

    @property
    def sessions_per_second(self) -> float:
        return statistics.fmean(run.sessions_per_second for run in self.runs)

    @property
    def parameters(self) -> int | None:
        return self.runs[0].parameters

    @property
    def latency_ms(self) -> float | None:
        """Median of one search of the index, measured when it was built."""
        found = [run.index["latency_median_ms"] for run in self.runs if run.index]
        return statistics.fmean(found) if found else None

    @property
    def machines(self) -> tuple[str, ...]:
        """Processor and cores, each once."""
        known = [run.machine for run in self.runs if run.machine]
        return tuple(dict.fromkeys(f"{m['cpu']}, {m['cores']} cores" for m in known))

    @property
    def load(self) -> float | None:
        """The largest, a core, at the end of a run: beyond 1, others were at work."""
        known = [run.machine for run in self.runs if run.machine]
        return max((m["load"] / m["cores"] for m in known), default=None)


def read_run(folder: Path) -> Run | None:
    """None if it has no history, as what was evaluated by its predictions alone."""
    if not (folder / HISTORY).is_file():
        return None
    return Run(
        name=folder.name,
        folder=folder,
        history=tuple(read_json(folder / HISTORY)),
        config=_optional(folder / CONFIG) or {},
        flags=_text(folder / FLAGFILE),
        machine=_optional(folder / PROVENANCE),
        index=_optional(folder / INDEX / _INDEX_FILE),
        parameters=count_parameters(folder / MODEL_FILE),
    )


def costs_of(
    workspace: Workspace,
    groups: Mapping[str, Sequence[str]],
    *,
    evaluated: Mapping[str, Any] | None = None,
) -> dict[str, Cost]:
    """What models cost.

    Args:
        workspace: With their runs.
        groups: Runs, by the name of the group.
        evaluated: `provenance` of `metrics.json`: runs that were trained anew since, with other
            flags or embeddings, are left out.

    Returns:
        By group, of the runs that have a history; groups without any are left out.
    """
    found = {}
    for name, runs in groups.items():
        known = [run for run in (read_run(workspace.run(run)) for run in runs) if run is not None]
        known = [run for run in known if run.history and _was_evaluated(run, evaluated or {})]
        if known:
            found[name] = Cost(tuple(known))
    return found


def _was_evaluated(run: Run, provenance: Mapping[str, Any]) -> bool:
    """Whether it has the flags and data of that name's run in an evaluation, if there was one."""
    config = provenance.get("runs", {}).get(run.name)
    if config is None:
        return True
    then = {"config": config, "embeddings_sha256": provenance["embeddings_sha256"]}
    return _agree(then, run.config)


def _agree(one: Any, other: Any) -> bool:
    """Whether they are equal in what both have: an older file lacks what came later."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(_agree(one[name], other[name]) for name in one.keys() & other.keys())
    return bool(one == other)


def count_parameters(model: Path) -> int | None:
    """Numbers in the file of a Keras model; None if there is no such file."""
    if not model.is_file():
        return None
    with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read(_WEIGHTS))) as file:
        return sum(
            size for name, part in file.items() if name != _OPTIMIZER for size in _sizes(part)
        )


def _sizes(part: Any) -> Iterator[int]:
    if isinstance(part, h5py.Dataset):
        yield int(part.size)
    else:
        for member in part.values():
            yield from _sizes(member)


def _optional(path: Path) -> Any:
    return read_json(path) if path.is_file() else None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def machine_line(machine: Mapping[str, Any] | None) -> str:
    """Machine, versions and commit; older files have not all of it."""
    if machine is None:
        return "unknown: made by an older version"
    return f"{machine['time']}: {in_one_line(dict(machine))}"
