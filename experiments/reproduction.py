"""All tables of a log, one command after the other, and where each figure comes from."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from beam_pipelines.synthetic.writing import LISTENS
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.config import METRICS_FILE
from cosernn_tf.runs import CONFIG, HISTORY
from cosernn_tf.runs import PROVENANCE as OF_A_RUN
from cosernn_tf.staging import staged
from cosernn_tf.workspace import SUCCESS, Workspace, open_sessions
from experiments.results_check import check
from experiments.steps import list_flag, run_step
from experiments.table_runs import CSV, EVALUATION, MARKDOWN
from experiments.tables import TABLES

PROVENANCE: Final = "provenance.json"

_WITHOUT: Final = "_without"
_MACHINE: Final = (
    "time",
    "cpu",
    "cores",
    "memory_bytes",
    "python",
    "packages",
    "commit",
    "changed",
)


@dataclass(frozen=True)
class Reproduction:
    """What to make of a log."""

    log: str
    """Its name."""
    listens: str | None
    """None: the embedded log."""
    synthesize: tuple[str, ...]
    """Flags of the embedded log, without the dashes."""
    tables: tuple[int, ...]
    rows: tuple[str, ...] | None
    """Of each table that has them; None: all."""
    seeds: tuple[str, ...]
    base: str
    """The flagfile of training."""
    without: tuple[str, ...]
    """Users whose scores are left out of each table's second version."""
    training_flags: tuple[str, ...]

    def rows_of(self, table: int) -> list[str]:
        """Names of the rows to make."""
        rows = [row.name for row in TABLES[table].rows]
        return rows if self.rows is None else [row for row in rows if row in self.rows]


def reproduce(
    workspace: Workspace, plan: Reproduction, *, output: Path, tolerance: float | None
) -> None:
    """Makes the tables; writes `output/<log>/`, or compares with it.

    Args:
        workspace: Where to work.
        plan: What to make.
        output: Directory of the results of all logs.
        tolerance: None: write. Else what may differ of a mean, as a share of it.

    Raises:
        UserError: A command failed and has said why, or a figure differs by more.
    """
    _make_sessions(workspace, plan)
    made = dict(_tables(workspace, plan))
    stored = output / plan.log
    if tolerance is not None:
        check({name: folder / CSV for name, folder in made.items()}, stored, tolerance=tolerance)
        print(f"All figures of {', '.join(made)} are within {tolerance:.0%} of {stored}")
        return
    with staged(stored, marker=PROVENANCE) as staging:
        for name, folder in made.items():
            for file in (MARKDOWN, CSV):
                (staging / f"{name}{Path(file).suffix}").write_bytes((folder / file).read_bytes())
        text = json.dumps(_provenance(workspace, plan, made), indent=2) + "\n"
        (staging / PROVENANCE).write_text(text, encoding="utf-8")
    print(f"Written to {stored}")


def _make_sessions(workspace: Workspace, plan: Reproduction) -> None:
    at = f"--workspace={workspace.root}"
    if plan.listens is None:
        # One that is there is left as it is, or, of other flags, refused.
        arguments = [at, *(f"--{flag}" for flag in plan.synthesize)]
        run_step("The log", "beam_pipelines.synthesize", arguments)
    if (workspace.sessions / SUCCESS).is_file():
        _require_same_log(workspace, plan)
        return
    listens = [f"--listens={plan.listens}"] if plan.listens else []
    run_step("Sessions", "beam_pipelines.sessionize", [at, "--runner=DirectRunner", *listens])


def _require_same_log(workspace: Workspace, plan: Reproduction) -> None:
    """Raises `UserError` if the sessions that are there are of other files, by their names."""
    found = open_sessions(workspace.sessions).manifest.options.get("listens") or []
    names = [Path(path).name for path in found]
    wanted = plan.listens.split(",") if plan.listens else [str(workspace.log / LISTENS)]
    if names != [Path(path).name for path in wanted]:
        raise UserError(
            f"{workspace.sessions} was made from {', '.join(found) or 'unknown files'}, and not "
            f"from {', '.join(wanted)}: choose another --workspace, or give that log as --listens"
        )


def _tables(workspace: Workspace, plan: Reproduction) -> Iterator[tuple[str, Path]]:
    """Makes them one by one: the name of each, and its directory."""
    for number in plan.tables:
        rows = plan.rows_of(number)
        arguments = [
            f"--workspace={workspace.root}",
            f"--table={number}",
            f"--seeds={','.join(plan.seeds)}",
            f"--rows={','.join(rows)}",
            f"--base={plan.base}",
            *plan.training_flags,
        ]
        folder = workspace.table(number)
        run_step(f"Table {number}", "experiments.table", arguments)
        yield folder.name, folder
        if plan.without:
            folder = folder.with_name(folder.name + _WITHOUT)
            run_step(
                f"Table {number}, without {', '.join(plan.without)}",
                "experiments.table",
                [*arguments, list_flag("exclude_users", plan.without), f"--output={folder}"],
            )
            yield folder.name, folder


def _provenance(workspace: Workspace, plan: Reproduction, made: dict[str, Path]) -> dict[str, Any]:
    """What the tables were made from, how, when and where; paths of this machine left out."""
    sessions = open_sessions(workspace.sessions)
    evaluations = {
        name: json.loads((folder / EVALUATION / METRICS_FILE).read_text(encoding="utf-8"))
        for name, folder in made.items()
    }
    of_all = [content["provenance"] for content in evaluations.values()]
    runs = {run for provenance in of_all for run in provenance["runs"]}
    return {
        "plan": {
            **dataclasses.asdict(plan),
            "listens": plan.listens and Path(plan.listens).name,
            "base": Path(plan.base).name,
        },
        "sessions": {
            "sha256": sessions.sha256,
            "counters": dict(sessions.manifest.counters),
            "first_timestamp": sessions.manifest.first_timestamp,
            "last_timestamp": sessions.manifest.last_timestamp,
            "split": dataclasses.asdict(sessions.manifest.split),
        },
        "embeddings_sha256": of_all[0]["embeddings_sha256"],
        "evaluations": {
            name: {"sessions": content["sessions"], "users": content["users"]}
            | _where(content["provenance"]["machine"])
            for name, content in evaluations.items()
        },
        "runs": {run: _of_run(workspace.run(run)) for run in sorted(runs)},
    }


def _of_run(run: Path) -> dict[str, Any]:
    """A run's flags, its cost, and where it was trained."""
    history = json.loads((run / HISTORY).read_text(encoding="utf-8"))
    best = max(history, key=lambda epoch: epoch["validation_score"])
    return {
        "config": json.loads((run / CONFIG).read_text(encoding="utf-8"))["config"],
        "epochs": len(history),
        "best_epoch": best["epoch"],
        "validation_cosine": best["validation_cosine"],
        "minutes": sum(epoch["seconds"] for epoch in history) / 60,
        **_where(json.loads((run / OF_A_RUN).read_text(encoding="utf-8"))),
    }


def _where(machine: dict[str, Any]) -> dict[str, Any]:
    return {key: machine[key] for key in _MACHINE}
