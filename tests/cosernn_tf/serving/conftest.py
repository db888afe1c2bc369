"""A small workspace, with an untrained run of every model."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cosernn_tf.config import MODEL_NAMES, ModelConfig
from cosernn_tf.features import embed_sessions
from cosernn_tf.prediction import Predictions, Predictor
from cosernn_tf.retrieval.index import build_index, open_index
from cosernn_tf.runs import INDEX
from cosernn_tf.schema import FEATURES, SESSION_GAP_SECONDS
from cosernn_tf.serving import recommender
from cosernn_tf.serving.carrier import Carrier
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.serving.settle import Catalogue, Settler
from cosernn_tf.serving.step_model import StepModel
from cosernn_tf.serving.store import StateStore
from cosernn_tf.serving.users import Users
from cosernn_tf.table import SessionTable
from cosernn_tf.trained_run import TrainedRun
from cosernn_tf.windows import Windows, sequence_data
from cosernn_tf.workspace import Workspace
from tests.cosernn_tf.models.oracle import randomize
from tests.cosernn_tf.retrieval.runs import write_run
from tests.workspaces import STREAM_SOURCES, write_workspace

OpenRun = Callable[[str], TrainedRun]

_step_model = functools.cache(StepModel)
"""Of a model, which is equal to itself only: to trace it takes longer than what is tested of it."""


@pytest.fixture(scope="session", autouse=True)
def _one_trace_of_a_model() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recommender, "StepModel", _step_model)
        yield


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


def users_of(run: TrainedRun, store: StateStore, *, max_users: int = 100) -> Users:
    """Without a recommender around them."""
    carrier = Carrier(_step_model(run.model))
    catalogue = Catalogue(
        {f"track-{row}": row for row in range(len(run.embeddings.vectors))},
        run.embeddings.vectors.__getitem__,
        {name: row for row, name in enumerate(STREAM_SOURCES)},
    )
    settler = Settler(carrier, catalogue, gap_seconds=SESSION_GAP_SECONDS)
    return Users(carrier, settler, store, max_users=max_users)


def recommender_of(run: TrainedRun, **options) -> Recommender:
    return Recommender(run, open_index(run.path / INDEX, run.embeddings), **options)
