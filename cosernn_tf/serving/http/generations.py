"""Which model answers: opened in the background, and exchanged without a failed request."""

import asyncio
import gc
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson
import pyarrow as pa
from absl import logging

from cosernn_tf.dataset import read_shards
from cosernn_tf.errors import UserError
from cosernn_tf.serving.generation import generation_of
from cosernn_tf.serving.http.config import ServeConfig
from cosernn_tf.serving.http.metrics import Metrics
from cosernn_tf.serving.http.requests import MAX_USERS
from cosernn_tf.serving.http.worker import UnavailableError, Worker
from cosernn_tf.serving.map import map_of_tracks
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.serving.store import StateStore, StoreError

_LOADING_SECONDS = 5
"""After which to ask again while the first model loads."""


@dataclass(frozen=True)
class Generation:
    """A model that answers, and what does not change while it does."""

    run: str
    name: str
    """Of what its states belong to, `generation.generation_of`."""
    map: bytes
    """The answer of `/v1/map`."""
    users: tuple[str, ...]
    """A few of the log, for the page."""
    knows_track: Callable[[str], bool]


class Generations:
    """The worker, once there is one, and the generation that it answers with."""

    def __init__(
        self, open_recommender: Callable[[], Recommender], config: ServeConfig, metrics: Metrics
    ) -> None:
        self._open = open_recommender
        self._config = config
        self._metrics = metrics
        self._worker: Worker | None = None
        self._current: Generation | None = None
        self._exchanging = asyncio.Lock()
        self._opening = ThreadPoolExecutor(1, thread_name_prefix="opening")
        """Not asyncio's own, whose threads are waited for at the end, however long they take."""

    @property
    def worker(self) -> Worker:
        """Who answers.

        Raises:
            UnavailableError: Nobody yet.
        """
        if self._worker is None:
            raise _loading()
        return self._worker

    @property
    def current(self) -> Generation:
        """See `worker`."""
        if self._current is None:
            raise _loading()
        return self._current

    async def start(self) -> None:
        """Opens the first model; until then nothing is answered.

        Raises:
            UserError: It cannot be opened.
        """
        start = time.monotonic()
        recommender, current = await self._opened()
        limits = self._config.limits
        self._worker = Worker(
            recommender, batch=limits.batch, waiting=limits.waiting, metrics=self._metrics
        )
        _set_aside_what_stays()
        self._answer_with(current, start)

    async def reload(self) -> tuple[Generation, float]:
        """Opens run and index again, and has them answer from the next batch on.

        States of users are made of the session sequences while the model before answers and
        observes. Stored listens since then are settled by the new one when their user is asked for:
        of what was acknowledged, nothing has to be replayed or can be missed.

        Returns:
            What answers now, and the seconds that it took.

        Raises:
            UserError: They cannot be opened; the model before goes on.
            UnavailableError: The first is not there yet, or another reload is under way.
        """
        worker = self.worker
        if self._exchanging.locked():
            raise UnavailableError("a reload is under way: wait for it", retry_after=10)
        async with self._exchanging:
            start = time.monotonic()
            try:
                recommender, current = await self._opened()
                before = await worker.exchange(recommender)
            except BaseException as error:
                self._metrics.reloads.labels("failed").inc()
                logging.error("The reload failed, the model before goes on: %s", error)
                raise
            self._metrics.reloads.labels("done").inc()
            former = self.current.name
            self._answer_with(current, start)
            # One may go back to the model before. Nobody else uses its store any more.
            await asyncio.to_thread(_keep_only, before.store, {former, current.name})
            del before, recommender
            _set_aside_what_stays()
            return current, time.monotonic() - start

    async def _opened(self) -> tuple[Recommender, Generation]:
        """Opened and warm, with a state of every user in the store."""
        return await asyncio.get_running_loop().run_in_executor(self._opening, self._prepared)

    def _prepared(self) -> tuple[Recommender, Generation]:
        recommender = self._open()
        try:
            recommender.bootstrap()
            recommender.warm_up(self._config.limits.batch)
            return recommender, _described(recommender)
        except BaseException as error:
            recommender.store.close()
            if isinstance(error, StoreError):
                raise UserError(f"the store of states fails: {error}") from error
            raise

    def _answer_with(self, current: Generation, start: float) -> None:
        self._current = current
        self._metrics.is_ready.set(1)
        self._metrics.model.info({"run": current.run, "generation": current.name})
        logging.info(
            "Run %r answers, after %.1f s (generation %.12s)",
            current.run,
            time.monotonic() - start,
            current.name,
        )

    async def close(self) -> None:
        """Lets all that waits be answered."""
        self._metrics.is_ready.set(0)
        self._opening.shutdown(wait=False, cancel_futures=True)
        if self._worker is not None:
            (await self._worker.close()).store.close()


def _keep_only(store: StateStore, generations: set[str]) -> None:
    """Deletes the states of other generations, and closes the store."""
    try:
        store.keep_only(generations)
    except StoreError as error:
        logging.warning("States of models before are still in the store: %s", error)
    store.close()


def _described(recommender: Recommender) -> Generation:
    trained = recommender.run
    found = map_of_tracks(trained.embeddings)
    track_ids = trained.sessions.tracks["track_id"].take(pa.array(found.rows)).to_pylist()
    content = {
        "mean": found.mean.tolist(),
        "components": found.components.tolist(),
        "explained": found.explained,
        "track_ids": track_ids,
        "points": found.points.round(4).tolist(),
    }
    table = next(read_shards(trained.sessions))
    return Generation(
        run=trained.path.name,
        name=generation_of(trained),
        map=orjson.dumps(content),
        users=tuple(user.decode() for user in table.user_id[:MAX_USERS]),
        knows_track=recommender.knows_track,
    )


def _set_aside_what_stays() -> None:
    """Takes the objects of TensorFlow and of the model out of what is looked through for garbage.

    There are so many that nobody is answered for some tenths of a second when they are. That
    happens here once, and not again and again under load.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _loading() -> UnavailableError:
    return UnavailableError(
        "the model is still being loaded: ask again in some seconds, or wait for /readyz",
        retry_after=_LOADING_SECONDS,
    )
