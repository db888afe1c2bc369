"""Runs as JSON, with where they were made, and as a Markdown table to paste."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.measure import Measurement
from cosernn_tf.provenance import in_one_line
from cosernn_tf.whole_files import write_json

_HEADER: Final = (
    "log",
    "program",
    "runs",
    "wall, s",
    "listens/s",
    "CPU, s",
    "peak memory, MB",
    "spilled, bytes a listen",
)
_MEGA: Final = 10**6


@dataclass(frozen=True)
class Run:
    """A contender's run on a log."""

    number: int
    """Of the round; all of a round are run one after the other."""
    contender: str
    log: str
    num_listens: int
    measurement: Measurement
    output_bytes: int
    counts: dict[str, int] | None
    """`contenders.COUNTS`, if it says so."""

    @property
    def spilled_bytes(self) -> int:
        """Written, but not part of the output."""
        return max(self.measurement.written_bytes - self.output_bytes, 0)


def write_runs(path: Path, machine: dict[str, Any], runs: Sequence[Run]) -> None:
    """Replaces the file as a whole: an interrupted benchmark leaves what it has measured."""
    content = {"machine": machine, "runs": [dataclasses.asdict(run) for run in runs]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)


def to_markdown(
    machine: dict[str, Any],
    runs: Sequence[Run],
    *,
    base: str | None,
    is_base: Callable[[Run, Run], bool],
) -> str:
    """The machine, and a row a log and contender: medians, of the wall the range, too.

    Args:
        machine: See `describe_machine`.
        runs: All of them.
        base: What the ratio is to, for the header; None for no ratios.
        is_base: Whether the second run of a round is what the first is compared with. A ratio is
            taken within each round, so that what slows the machine for a while slows both.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.log, run.contender), []).append(run)
    header = [*_HEADER[:4], *([f"wall, times {base}"] if base else []), *_HEADER[4:]]
    rows = [header, ["---", "---", *["---:"] * (len(header) - 2)]]
    for own in groups.values():
        ratios = [
            run.measurement.wall_seconds / other.measurement.wall_seconds
            for run in own
            for other in runs
            if base and other.number == run.number and is_base(run, other)
        ]
        rows.append(_row(own, ratios))
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{in_one_line(machine)}\n\n{table}\n"


def _row(runs: Sequence[Run], ratios: Sequence[float]) -> list[str]:
    walls = [run.measurement.wall_seconds for run in runs]
    spread = f" ({min(walls):.1f}–{max(walls):.1f})" if len(walls) > 1 else ""
    num_listens = runs[0].num_listens
    return [
        runs[0].log,
        runs[0].contender,
        str(len(runs)),
        f"{median(walls):.1f}{spread}",
        *([f"{median(ratios):.2f}"] if ratios else []),
        f"{num_listens / median(walls):,.0f}",
        f"{median(run.measurement.cpu_seconds for run in runs):.1f}",
        # The most that it ever took: memory is a bound, not a mean.
        f"{max(run.measurement.peak_bytes for run in runs) / _MEGA:,.0f}",
        f"{median(run.spilled_bytes for run in runs) / num_listens:.1f}",
    ]
