"""A workspace with all that a report can show, made by the real jobs but for the training.

What "models" predict is the session's target with noise, less of it the better they are, and comes
into the evaluation by `--predictions`; their run directories are written by hand.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosernn_tf.dataset import read_shards
from cosernn_tf.evaluation.config import (
    METRICS_FILE,
    SCORES_FILE,
    EvaluationConfig,
    PredictionFile,
)
from cosernn_tf.evaluation.run import evaluate_runs
from cosernn_tf.evaluation.scores import ATTENTION_OFFSET
from cosernn_tf.features import embed_sessions
from cosernn_tf.schema import DEVICES
from cosernn_tf.tracks import load_track_embeddings
from cosernn_tf.workspace import Workspace, open_sessions
from experiments.table_report import figures_of, to_csv
from experiments.table_runs import COMMAND, CSV, EVALUATION, chosen_rows
from experiments.tables import TABLES
from tests import workspaces

EVIL = "<script>alert(1)<script>"
"""As a run may be called."""
EVIL_DEVICE = "<img src=x onerror=alert(2)> & \"'</td></svg>"
NOISE = {
    "cosernn-seed1": 1.0,
    "cosernn-seed2": 1.1,
    "jodie-seed1": 2.5,
    "jodie-seed2": 2.6,
    "table5_encore-seed1": 0.5,
    EVIL: 4.0,
}
"""How far each run is from the target."""
EPOCHS = 6
CONFIG = EvaluationConfig(bootstrap_resamples=2_999, bootstrap_seed=3, catalogue=True)

MACHINE = {
    "time": "2026-11-27T01:41:17+00:00",
    "cpu": "A chip <b>",
    "cores": 2,
    "memory_bytes": 2**34,
    "kernel": "6.1",
    "python": "3.11.7",
    "packages": {"keras": "3.15.1", "numpy": "2.4.6", "tensorflow": "2.20.0"},
    "commit": "0123456789ab",
    "changed": True,
    "load": 0.5,
}


def write_full_workspace(root: Path, monkeypatch) -> Workspace:
    """With sessions, tracks, runs, an evaluation, two tables and an analysis."""
    devices = (*DEVICES[:3], EVIL_DEVICE, *DEVICES[4:])
    monkeypatch.setattr(workspaces, "DEVICES", devices)
    table = workspaces.random_table(1, num_users=24, sessions_per_user=90)
    workspace = workspaces.write_workspace(root, table=table)
    files = write_predictions(workspace, root / "given", list(NOISE))
    evaluate_runs(workspace, [], config=CONFIG, predictions=files)
    add_attention(workspace.evaluation / SCORES_FILE)
    for place, run in enumerate(NOISE):
        write_run(workspace.run(run), seed=place)
    for number, names in ((2, ["last_any", "cosernn", "jodie", "oracle_full"]), (5, None)):
        write_table(workspace, number, names)
    return workspace


def write_predictions(
    workspace: Workspace, folder: Path, runs: Sequence[str]
) -> list[PredictionFile]:
    """Of all sessions of the test split that have a target."""
    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    folder.mkdir()
    users: list[str] = []
    starts: list[int] = []
    targets: list[np.ndarray] = []
    for table in read_shards(sessions):
        embeddings = embed_sessions(table, tracks.vectors)
        wanted = np.flatnonzero(
            (table.session_start >= sessions.manifest.split.test_start) & embeddings.has_played
        )
        users += [table.user_id[row].decode() for row in table.user_of_session[wanted]]
        starts += table.session_start[wanted].tolist()
        targets += list(embeddings.played[wanted])
    files = []
    for place, run in enumerate(runs):
        rng = np.random.default_rng(place)
        noise = rng.normal(size=(len(targets), targets[0].size)) / np.sqrt(targets[0].size)
        vectors = np.array(targets) + NOISE[run] * noise
        path = folder / f"{place}.parquet"
        columns = {"user_id": users, "session_start": starts, "prediction": list(vectors)}
        pq.write_table(pa.table(columns), path)
        files.append(PredictionFile(run, path))
    return files


def add_attention(path: Path) -> None:
    """To the runs of CoSeRNN, which had some if they had been trained."""
    scores = pq.read_table(path)
    is_cosernn = np.char.startswith(scores["model"].to_numpy().astype(str), "cosernn")
    offset = np.random.default_rng(5).random(len(scores))
    place = scores.schema.get_field_index(ATTENTION_OFFSET)
    column = pa.array(offset, mask=~is_cosernn)
    pq.write_table(scores.set_column(place, ATTENTION_OFFSET, column), path)


def write_run(folder: Path, *, seed: int) -> None:
    """A run directory as `cosernn_tf.train` leaves it, but for the model."""
    folder.mkdir(parents=True)
    has_attention = "cosernn" in folder.name
    history: list[dict[str, Any]] = [
        {
            "epoch": epoch,
            "train_loss": 1.0 / epoch,
            "train_cosine": 1.0 - 1.0 / epoch,
            "train_attention": 0.4 if has_attention else None,
            "validation_cosine": 0.5 - 0.02 * abs(epoch - 4) + 0.001 * seed,
            "validation_score": 0.5 - 0.02 * abs(epoch - 4),
            "validation_attention": 0.3 + 0.05 * epoch if has_attention else None,
            "sessions_per_second": 1_000.0 * epoch,
            "seconds": 30.0,
            "validation_ranking": {},
        }
        for epoch in range(1, EPOCHS + 1)
    ]
    config = {
        "config": {"seed": seed, "best_by": "ranking" if "encore" in folder.name else "cosine"},
        "sessions_sha256": "ab" * 32,
        "embeddings_sha256": "cd" * 32,
    }
    for name, content in (
        ("history.json", history),
        ("config.json", config),
        ("provenance.json", MACHINE),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "flags.txt").write_text(f"--model=mine\n--seed={seed}\n--note=</pre><script>\n")
    (folder / "_SUCCESS").touch()


def write_table(workspace: Workspace, number: int, names: list[str] | None) -> None:
    """As `experiments.table` does, from the runs that there are."""
    table = TABLES[number] if names is None else chosen_rows(TABLES[number], names)
    content = json.loads((workspace.evaluation / METRICS_FILE).read_text(encoding="utf-8"))
    runs = {
        row.name: [run for run in NOISE if run.startswith(f"{row.name}-seed")]
        for row in table.rows
        if row.flagfile
    }
    known = [row.name for row in table.rows if not row.flagfile or runs[row.name]]
    table = chosen_rows(table, known)
    folder = workspace.table(number)
    (folder / EVALUATION).mkdir(parents=True)
    (folder / EVALUATION / METRICS_FILE).write_text(json.dumps(content), encoding="utf-8")
    figures = figures_of(table, {name: runs[name] for name in known if name in runs}, content)
    (folder / CSV).write_text(to_csv(table, figures), encoding="utf-8")
    (folder / COMMAND).write_text(f"python -m experiments.table --table={number} --seeds=1,2\n")
