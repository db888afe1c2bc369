"""The benchmark of evaluation on tiny logs, and the loop that it compares with."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import evaluation_runner
from benchmarks.evaluation_loop import score_by_loop
from benchmarks.evaluation_runner import EvaluationBenchmarkConfig, Mode, benchmark
from benchmarks.measure import Measurement
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.scores import score_sessions
from cosernn_tf.features import embed_sessions, normalize
from tests.entry_points import run
from tests.workspaces import random_embeddings, random_table, write_workspace

ROOT = Path(__file__).parents[2]
NAMES = [
    "forward pass of the run",
    "whole evaluation",
    "with --catalogue",
    "scoring of the run",
    "the same by a loop over sessions",
]


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_speed_compares_all_on_a_log_that_it_makes(tmp_path):
    config = EvaluationBenchmarkConfig(
        tmp_path, num_users=12, num_tracks=2_000, lstm_units=4, sample=30, repeats=2
    )
    text = benchmark(config)
    kept = json.loads((tmp_path / "evaluation-speed.json").read_text())
    assert list(kept["seconds"]) == NAMES
    for seconds in kept["seconds"].values():
        assert len(seconds) == 2
        assert min(seconds) > 0
    assert kept["seconds"][NAMES[0]][0] < kept["seconds"][NAMES[1]][0]
    assert kept["sessions"] > kept["sampled"] == 30
    assert len(kept["models"]) == 8
    assert kept["different_scores"] <= 1e-3
    assert {"cpu", "commit", "packages", "load"} <= set(kept["machine"])
    _, _, *rows = rows_of(text)
    assert [row[0] for row in rows] == NAMES
    for row in (1, 2):
        assert rows[row][-1] == f"{kept['ratios'][NAMES[row]]:.2f} times the forward pass"
    assert rows[4][-1] == f"{kept['ratios'][NAMES[4]]:.1f} times that without one"
    assert 1_000 < kept["tracks"] <= 2_000


def test_memory_is_that_of_ten_times_the_users_and_of_smaller_blocks(tmp_path, monkeypatch):
    commands = []

    def measured(command, *, folder, log):
        commands.append(command)
        return Measurement(1.0, 1.0, 10**9 * len(commands), 1)

    monkeypatch.setattr(evaluation_runner, "measure", measured)
    for users in (3, 30):
        workspace = write_workspace(
            tmp_path / f"evaluated-{users}-200-1", table=random_table(num_users=users)
        )
        workspace.log.mkdir()
        (workspace.log / "_SUCCESS").touch()
    config = EvaluationBenchmarkConfig(
        tmp_path, mode=Mode.MEMORY, num_users=30, num_tracks=200, lstm_units=4,
        sessions_per_block=500,
    )  # fmt: skip
    text = benchmark(config)
    blocks = [f"--sessions_per_block={number}" for number in (500, 500, 50)]
    for command, block, users in zip(commands, blocks, (3, 30, 30), strict=True):
        assert command[1:3] == ("-m", "cosernn_tf.evaluate")
        name = "untrained-4-400"
        assert set(command[3:]) == {
            f"--workspace={tmp_path}/evaluated-{users}-200-1", f"--runs={name}", block,
        }  # fmt: skip
        assert (tmp_path / f"evaluated-{users}-200-1/runs/{name}/model.keras").is_file()
    _, _, *rows = rows_of(text)
    assert [[row[0], *row[2:]] for row in rows] == [
        ["3", "500", "1,000", "1.00"],
        ["30", "500", "2,000", "2.00"],
        ["30", "50", "3,000", "3.00"],
    ]


def test_the_loop_gives_the_scores_of_the_evaluation():
    table, tracks = random_table(num_users=8, sessions_per_user=110), random_embeddings()
    embeddings = embed_sessions(table, tracks)
    targets = np.flatnonzero((table.position % 3 == 1) & embeddings.has_played)
    vectors = np.random.default_rng(1).normal(size=embeddings.all.shape).astype(np.float32)
    predictions = {"random": normalize(vectors), "full": embeddings.played}
    mask = np.zeros(table.num_sessions, bool)
    mask[targets] = True
    scores = score_sessions(
        table, embeddings, tracks, sessions_mask=mask, predictions=predictions, training_end=0
    )
    of_loop = score_by_loop(table, embeddings, tracks, targets=targets, predictions=predictions)
    for number, model in enumerate(predictions):
        for metric, values in of_loop[model].items():
            ours = scores[metric].to_numpy()[number * len(targets) : (number + 1) * len(targets)]
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(values), metric)
            assert np.isfinite(values).sum() > 20, metric
            assert np.mean(~np.isclose(ours, values, atol=1e-5, equal_nan=True)) < 0.002, metric


def test_scores_that_differ_are_refused(tmp_path, monkeypatch):
    config = EvaluationBenchmarkConfig(
        tmp_path, num_users=30, num_tracks=200, lstm_units=4, sample=50, repeats=1
    )
    workspace = write_workspace(tmp_path / "evaluated-30-200-1", table=random_table(num_users=30))
    workspace.log.mkdir()
    (workspace.log / "_SUCCESS").touch()
    monkeypatch.setattr("benchmarks.evaluation_loop._latest", lambda listened, *_: listened[:, 0])
    with pytest.raises(UserError, match=r"% of the loop's scores are not those of the evaluation"):
        benchmark(config)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--sample=0", "--sample=0 must be at least 1"),
        ("--max_sessions=1", "--max_sessions=1 must be at least 2"),
        ("--num_users=0", "--num_users=0 must be at least 1"),
        ("--mode=fast", "--mode=fast"),
    ],
)
def test_bad_flags_are_refused_at_once(tmp_path, flag, text):
    result = run("benchmarks.evaluation", [f"--workspace={tmp_path}", flag], folder=ROOT)
    assert result.code == 2
    assert text in result.error
    assert list(tmp_path.iterdir()) == []
