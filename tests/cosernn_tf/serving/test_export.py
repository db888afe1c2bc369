"""The signature `step` of exported models, called without this package."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cosernn_tf.config import MODEL_NAMES, ModelConfig
from cosernn_tf.features import embed_sessions
from cosernn_tf.models import create
from cosernn_tf.models.base import PREDICTION
from cosernn_tf.models.stepping import state_of
from cosernn_tf.schema import MODEL_INPUTS, PATHWAYS
from cosernn_tf.training.run import export
from cosernn_tf.windows import make_batch, sequence_data
from tests.cosernn_tf.models.conftest import DATA, call, whole_users
from tests.workspaces import random_table

PAGE = (Path(__file__).parents[3] / "WORKSPACE.md").read_text(encoding="utf-8")
PROGRAM = Path(__file__).with_name("exported.py")
NAMES = ("cosernn", "encore")
"""One that has a state of its own, and one that keeps sessions."""


def test_sessions_one_by_one_give_the_batch_predictions(open_run, tmp_path):
    table = random_table(3, num_users=3, sessions_per_user=6)
    windows = whole_users(table)
    runs = {name: open_run(name) for name in NAMES}
    vectors = runs["cosernn"].embeddings.vectors
    batch = make_batch(sequence_data(table, embed_sessions(table, vectors)), windows)
    for name, run in runs.items():
        export(run.model, tmp_path / name)
    # Strings that NumPy saves without pickling.
    inputs = {
        spec.name: batch.inputs[spec.name].astype("S")
        if spec.dtype == "string"
        else batch.inputs[spec.name]
        for spec in MODEL_INPUTS
    }
    np.savez(tmp_path / "inputs.npz", allow_pickle=False, **inputs)
    done = subprocess.run(
        [sys.executable, "-I", PROGRAM, "inputs.npz", *NAMES],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name, run in runs.items():
        expected = call(run.model, batch)[PREDICTION].numpy()
        found = np.load(tmp_path / f"{name}.npz")
        for row, length in enumerate(windows.lengths):
            ours, theirs = found["prediction"][row, :length], expected[row, :length]
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert found["sessions"].tolist() == [windows.lengths.max()] * 3


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_page_has_every_part_of_a_state(name):
    table = PAGE.split("| part of the state |")[1].split("\n\n")[0].splitlines()
    config = ModelConfig(name, lstm_units=7, pathways=PATHWAYS)
    for part, spec in state_of(create(config, DATA).build()).items():
        (row,) = (line for line in table if re.match(rf"\| [^|]*`{part}`", line))
        assert spec.dtype in row
        shapes = re.findall(r"\(batch([^)]*)\)", row)
        sizes = {"lstm_units": 7, "40 * pathways": 40 * len(PATHWAYS)}
        found = [
            tuple(sizes.get(size) or int(size) for size in shape.split(", ")[1:])
            for shape in shapes
        ]
        assert spec.shape in found, part
        assert name in row or "all models" in row
