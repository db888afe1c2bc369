"""Opens a run, its index and a store as they are now, to answer requests."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from cosernn_tf.retrieval.index import open_index
from cosernn_tf.runs import INDEX
from cosernn_tf.serving.generation import generation_of
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.serving.redis_store import RedisStore
from cosernn_tf.serving.sqlite_store import SqliteStore
from cosernn_tf.serving.store import StateStore
from cosernn_tf.trained_run import open_trained_run
from cosernn_tf.workspace import Workspace

REDIS_SCHEMES: Final = ("redis://", "rediss://", "unix://")


def is_redis(store: str) -> bool:
    """Whether a store is named by an address of Redis, and not by a file."""
    return store.startswith(REDIS_SCHEMES)


def open_store(store: str, *, generation: str) -> StateStore:
    """Opens what `--store` names.

    Args:
        store: A file of SQLite, which is made if it is not there, or an address of Redis.
        generation: See `store`.

    Raises:
        UserError: It cannot be used.
    """
    if is_redis(store):
        return RedisStore.open(store, generation=generation)
    return SqliteStore.open(Path(store), generation=generation)


def opener(
    workspace: Workspace, run: str, *, store: str, max_users: int
) -> Callable[[], Recommender]:
    """A function that opens all of it, each time as it is then.

    Args:
        workspace: Where the run is.
        run: Its name.
        store: As `open_store` takes it.
        max_users: In memory.

    Raises:
        UserError: By the function: something is missing, or does not belong together.
    """

    def opened() -> Recommender:
        trained = open_trained_run(workspace, run)
        index = open_index(trained.path / INDEX, trained.embeddings)
        states = open_store(store, generation=generation_of(trained))
        return Recommender(trained, index, store=states, max_users=max_users)

    return opened
