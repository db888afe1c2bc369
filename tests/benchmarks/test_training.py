"""The benchmark of training on a tiny log, as a process, and what it compares."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks.gemm import Product, products
from benchmarks.training_contenders import contenders
from cosernn_tf.config import ModelConfig
from cosernn_tf.features import embed_sessions
from cosernn_tf.models.data_spec import DataSpec, LogStatistics
from cosernn_tf.models.recurrence import has_gpu
from cosernn_tf.schema import DEVICES
from cosernn_tf.windows import Windows, sequence_data
from tests.entry_points import Result, run
from tests.workspaces import STREAM_SOURCES, random_embeddings, random_table

ROOT = Path(__file__).parents[2]
CONFIG = ModelConfig(lstm_units=6, dense_units=5)
DATA = DataSpec(len(STREAM_SOURCES), LogStatistics(1.7, 0.6), LogStatistics(9.5, 1.3))


def benchmark(workspace: Path, *arguments: str) -> Result:
    return run("benchmarks.training", [f"--workspace={workspace}", *arguments], folder=ROOT)


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("workspace")


def test_speed_compares_all_in_turn(workspace):
    sizes = ("--lstm_units=8", "--batch_size=4", "--max_sessions=30", "--batches=2")
    result = benchmark(workspace, "--num_listens=20000", "--repeats=2", *sizes)
    assert result.code == 0, result.stderr
    kept = json.loads((workspace / "benchmarks/training-speed.json").read_text())
    names = ["ours", "padded", "reference", "matrix products of ours",
             "at the rate of a large product"]  # fmt: skip
    assert list(kept["seconds"]) == names
    for seconds in kept["seconds"].values():
        assert len(seconds) == 2
        assert min(seconds) > 0
    assert 0 < kept["sessions"] < kept["sessions_with_padding"] == 2 * 4 * 30
    assert kept["ratios"]["ours"] == 1.0
    assert {"cpu", "commit", "packages", "load"} <= set(kept["machine"])
    _, _, *rows = rows_of(result.stdout)
    assert [row[0] for row in rows] == names
    for name, _, ratio, _ in rows:
        assert float(ratio) == pytest.approx(kept["ratios"][name], abs=0.01)


def test_a_gpu_is_measured_where_there_is_one(workspace):
    sizes = ("--lstm_units=8", "--batch_size=4", "--max_sessions=30", "--batches=2")
    flags = ("--num_listens=20000", "--repeats=2", "--mode=gpu", "--precision=mixed_bfloat16")
    result = benchmark(workspace, *flags, *sizes)
    if not has_gpu():
        assert result.code == 2
        assert "--mode=gpu needs a GPU, and TensorFlow sees none" in result.error
        return
    assert result.code == 0, result.stderr
    kept = json.loads((workspace / "benchmarks/training-gpu.json").read_text())
    assert list(kept["seconds"]) == ["ours", "padded", "reference"]
    assert kept["gpus"]
    assert kept["options"]["precision"] == "mixed_bfloat16"


def test_memory_is_that_of_ten_times_the_users(workspace):
    result = benchmark(workspace, "--mode=memory", "--num_listens=2000", "--sessions_per_block=100")
    assert result.code == 0, result.stderr
    first, second = json.loads((workspace / "benchmarks/training-memory.json").read_text())["runs"]
    assert second["users"] == pytest.approx(10 * first["users"], rel=0.3)
    assert second["sessions"] > 5 * first["sessions"]
    assert min(run["peak_bytes"] for run in (first, second)) > 10**8
    _, _, *rows = rows_of(result.stdout)
    assert [row[0] for row in rows] == [f"{run['users']:,}" for run in (first, second)]


def test_ours_and_padded_take_the_same_step():
    table = random_table(3, num_users=6, sessions_per_user=(9, 3, 12, 1, 7, 20))
    data = sequence_data(table, embed_sessions(table, random_embeddings()), CONFIG.inputs)
    starts, ends = table.row_splits[:-1], table.row_splits[1:]
    windows = Windows(np.arange(table.num_users), starts, starts, ends)
    keras.utils.set_random_seed(1)
    most = int(windows.lengths.max()) + 3
    assert windows.lengths.min() < 5
    models, steps = contenders(CONFIG, DATA, max_sessions=most)
    models["padded"].set_weights(models["ours"].get_weights())
    before = models["ours"].get_weights()
    for step in steps.values():
        step(data, windows)
    moved = 0.0
    for ours, padded, start in zip(
        models["ours"].get_weights(), models["padded"].get_weights(), before, strict=True
    ):
        # Adam's first step is the sign of the gradient, whatever its size: where this is nothing
        # but rounding it may be either.
        close = np.isclose(ours, padded, atol=1e-5)
        assert close.mean() > 0.97
        moved += float(np.abs(ours - start).sum())
    assert moved > 0.1


def test_products_of_the_model_by_hand():
    models, _ = contenders(CONFIG, DATA, max_sessions=25)
    found = list(products(models["ours"], rows=100, steps=10))
    features = 7 + 24 + len(DEVICES) + 40 + 1 + len(STREAM_SOURCES) + 1
    expected = [
        Product(100, features, 5, 2, has_input_gradient=False),
        Product(100, 5, 5, 2),
        *2 * [Product(100, 5, 24, 1), Product(100, 6, 24, 1, turns=10)],
        Product(100, 12, 5, 1),
        Product(100, 5, 5, 1),
        Product(100, 5, 40, 1),
        Product(100, 5, 2, 1),
    ]
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert Product(100, 6, 24, 1, turns=10).flops == 3 * 2 * 100 * 6 * 24
    assert Product(100, 6, 24, 2, has_input_gradient=False).flops == 2 * 2 * 2 * 100 * 6 * 24


def test_help_says_what_is_measured():
    shown = run("benchmarks.training", ["--help"], folder=ROOT).stdout
    for word in ("speed", "memory", "reference", "--lstm_units", "--max_sessions"):
        assert word in shown


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--num_listens=0", "--num_listens=0 must be at least 1"),
        ("--batches=0", "--batches=0 must be at least 1"),
        ("--max_sessions=1", "--max_sessions=1 must be at least 2"),
        ("--mode=fast", "--mode=fast"),
        ("--precision=half", "--precision=half is unknown"),
        ("--precision=mixed_float16", "--precision=mixed_float16 is for --mode=gpu"),
    ],
)
def test_bad_flags_are_refused_at_once(tmp_path, flag, text):
    result = benchmark(tmp_path, flag)
    assert result.code == 2
    assert text in result.error
    assert list(tmp_path.iterdir()) == []
