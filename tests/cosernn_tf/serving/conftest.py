"""A small workspace, with an untrained run of every model."""

from collections.abc import Callable

import numpy as np
import pytest

from cosernn_tf.config import MODEL_NAMES, ModelConfig
from cosernn_tf.features import embed_sessions
from cosernn_tf.prediction import Predictions, Predictor
from cosernn_tf.retrieval.index import build_index
from cosernn_tf.runs import INDEX
from cosernn_tf.schema import FEATURES
from cosernn_tf.table import SessionTable
from cosernn_tf.trained_run import TrainedRun
from cosernn_tf.windows import Windows, sequence_data
from cosernn_tf.workspace import Workspace
from tests.cosernn_tf.models.oracle import randomize
from tests.cosernn_tf.retrieval.runs import write_run
from tests.workspaces import write_workspace

OpenRun = Callable[[str], TrainedRun]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Workspace:
    return write_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="session")
def open_run(workspace) -> OpenRun:
    """Runs by the name of their model, with an index and weights that are not small."""
    runs: dict[str, TrainedRun] = {}

    def opened(name: str) -> TrainedRun:
        if name not in runs:
            features = FEATURES if name == "rrn" else FEATURES[:-1]
            model = ModelConfig(name, lstm_units=8, dense_units=6, features=features)
            run = write_run(workspace, name, model=model)
            randomize(run.model, seed=0)
            run.model.save(run.path / "model.keras")
            build_index(run.embeddings, run.embeddings.vectors[:5], run.path / INDEX)
            runs[name] = run
        return runs[name]

    return opened


@pytest.fixture(params=MODEL_NAMES)
def run(request, open_run) -> TrainedRun:
    return open_run(request.param)


@pytest.fixture(scope="session")
def cosernn(open_run) -> TrainedRun:
    return open_run("cosernn")


def batch_predictions(run: TrainedRun, table: SessionTable) -> Predictions:
    """Of every session of the table, by windows as long as the sequences."""
    data = sequence_data(table, embed_sessions(table, run.embeddings.vectors))
    starts, ends = table.row_splits[:-1], table.row_splits[1:]
    return Predictor(run.model)(data, Windows(np.arange(len(starts)), starts, starts, ends))
