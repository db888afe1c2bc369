"""One server of a small workspace for a module of tests."""

from collections.abc import Callable, Iterator

import pytest

from cosernn_tf.retrieval.index import open_index
from cosernn_tf.runs import INDEX
from cosernn_tf.serving.opening import opener
from cosernn_tf.serving.recommender import Recommender
from tests.cosernn_tf.serving.http.served import Served, served


@pytest.fixture(scope="module")
def open_recommender(workspace, cosernn, tmp_path_factory) -> Callable[[], Recommender]:
    """Opens it on a store of the module's own."""
    store = tmp_path_factory.mktemp("store") / "state.sqlite"
    return opener(workspace, cosernn.path.name, store=str(store), max_users=1_000)


@pytest.fixture(scope="module")
def server(open_recommender) -> Iterator[Served]:
    with served(open_recommender) as found:
        yield found


@pytest.fixture(scope="module")
def direct(cosernn) -> Recommender:
    """What a server is to answer as, without one; it knows what a test tells it."""
    found = Recommender(cosernn, open_index(cosernn.path / INDEX, cosernn.embeddings))
    found.bootstrap()
    return found
