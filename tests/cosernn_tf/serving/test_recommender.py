"""Listens as they come against the batch model on the pipeline's sessions, for every model."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from cosernn_tf.retrieval.index import open_index
from cosernn_tf.runs import INDEX
from cosernn_tf.schema import DEVICES
from cosernn_tf.serving.listens import Context, Listen, Outcome, ordered
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.table import SessionTable
from cosernn_tf.trained_run import TrainedRun
from tests.cosernn_tf.serving.conftest import batch_predictions
from tests.cosernn_tf.serving.listening import of_sessions, random_listens, sequenced, shuffled
from tests.workspaces import STREAM_SOURCES


def recommender_of(run: TrainedRun, **options) -> Recommender:
    return Recommender(run, open_index(run.path / INDEX, run.embeddings), **options)


def context_of(run: TrainedRun, table: SessionTable, row: int, listens: list[Listen]) -> Context:
    """That in which a session of the table started."""
    offset = ordered(listens)[0].utc_offset_minutes or 0
    takes_source = "current_stream_source" in run.config.model.features
    return Context(
        datetime.fromtimestamp(int(table.session_start[row]), timezone(timedelta(minutes=offset))),
        DEVICES[table.device[row]],
        STREAM_SOURCES[table.stream_source[row]] if takes_source else None,
    )


@pytest.mark.parametrize("way", ["one by one", "in a batch", "in any order"])
def test_listens_as_they_come_give_the_batch_predictions(run, way):
    listens = random_listens(1, is_short=way == "in any order")
    table = sequenced(listens)
    expected = batch_predictions(run, table)
    recommender = recommender_of(run)
    own = of_sessions(listens, table)
    users = [user.decode() for user in table.user_id[table.user_of_session]]
    # The users take turns.
    for row in np.argsort(table.position, kind="stable").tolist():
        context = context_of(run, table, row, own[row])
        found = recommender.predict(users[row], context)
        np.testing.assert_allclose(found.embedding, expected.embeddings[row], atol=1e-5)
        assert found.earlier_sessions == table.position[row]
        if expected.attention is not None:
            assert found.attention is not None
            np.testing.assert_allclose(found.attention, expected.attention[row], atol=1e-5)
        if way == "in a batch":
            outcomes = recommender.observe_many(shuffled(own[row], row))
        else:
            order = own[row] if way == "one by one" else shuffled(own[row], row)
            outcomes = [recommender.observe(listen) for listen in order]
        assert set(outcomes) == {Outcome.ACCEPTED}
    assert table.num_sessions > 25
