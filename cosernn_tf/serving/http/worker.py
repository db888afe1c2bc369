"""The one thread that asks the model, for all requests that wait.

It never waits for a batch to fill: it takes what is there, up to a maximum, and what comes
meanwhile is the next batch. Under light load a batch is one request, under heavy load batches grow.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from absl import logging

from cosernn_tf.errors import UserError
from cosernn_tf.serving.answers import Recommendation, RecommendRequest
from cosernn_tf.serving.http.metrics import Metrics
from cosernn_tf.serving.http.requests import BadRequestError
from cosernn_tf.serving.listens import Listen, Outcome
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.serving.store import StoreError


class UnavailableError(Exception):
    """There is no answer now; the same request may have one in some seconds."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _Kind(StrEnum):
    OBSERVE = "observe"
    RECOMMEND = "recommend"
    OTHER = "other"


_ORDER: Final = (_Kind.OBSERVE, _Kind.RECOMMEND, _Kind.OTHER)
"""Within a batch. A recommendation may so rest on a listen that came a moment after it."""


@dataclass
class _Job:
    kind: _Kind
    asked: Any
    """Listens, a `RecommendRequest`, or a function of the recommender."""
    answer: "asyncio.Future[Any]"
    since: float = field(default_factory=time.monotonic)


class Worker:
    """Answers requests with a recommender, which it alone touches."""

    def __init__(
        self, recommender: Recommender, *, batch: int, waiting: int, metrics: Metrics
    ) -> None:
        self._recommender = recommender
        self._batch = batch
        self._max_waiting = waiting
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="recommender", daemon=True)
        self._thread.start()

    # From the event loop --------------------------------------------------------------------------

    async def observe(self, listens: Sequence[Listen]) -> list[Outcome]:
        """What became of the listens; they are durable then.

        Raises:
            UnavailableError: Too many requests wait, or the store fails.
        """
        outcomes: list[Outcome] = await self._ask(_Kind.OBSERVE, listens)
        return outcomes

    async def recommend(self, request: RecommendRequest) -> Recommendation:
        """The answer for one user.

        Raises:
            BadRequestError: The model cannot answer it.
            UnavailableError: Too many requests wait, or the store fails.
        """
        answer: Recommendation = await self._ask(_Kind.RECOMMEND, request)
        return answer

    async def call(self, function: Callable[[Recommender], Any]) -> Any:
        """What the function returns, called in the thread, between two batches' answers."""
        return await self._ask(_Kind.OTHER, function)

    async def exchange(self, recommender: Recommender) -> Recommender:
        """From the next batch on, another recommender answers.

        Args:
            recommender: With nobody in memory yet: users are read from the store as it is then.

        Returns:
            The one before.
        """

        def exchanged(before: Recommender) -> Recommender:
            self._recommender = recommender
            return before

        before: Recommender = await self._ask(_Kind.OTHER, exchanged, is_limited=False)
        return before

    async def close(self) -> Recommender:
        """Answers what waits, ends the thread, and returns the recommender."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)
        return self._recommender

    @property
    def waiting(self) -> int:
        """Requests that no batch has taken yet."""
        return len(self._jobs)

    async def _ask(self, kind: _Kind, asked: Any, *, is_limited: bool = True) -> Any:
        job = _Job(kind, asked, self._loop.create_future())
        with self._changed:
            if self._is_closing:
                raise UnavailableError("the server is stopping: ask another one")
            if is_limited and len(self._jobs) >= self._max_waiting:
                raise UnavailableError(
                    f"{self._max_waiting} requests wait already: try again in a second"
                )
            self._jobs.append(job)
            self._changed.notify()
        return await job.answer

    # In the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while jobs := self._taken():
            now = time.monotonic()
            for job in jobs:
                self._metrics.waited.observe(now - job.since)
            for kind in _ORDER:
                if own := [job for job in jobs if job.kind is kind]:
                    answers = self._answers(kind, own)
                    self._loop.call_soon_threadsafe(_deliver, own, answers)
            self._metrics.watch(self._recommender)

    def _taken(self) -> list[_Job]:
        """The next batch; none at the end."""
        with self._changed:
            while True:
                while not self._jobs and not self._is_closing:
                    self._changed.wait()
                count = min(self._batch, len(self._jobs))
                jobs = [self._jobs.popleft() for _ in range(count)]
                # Nobody waits any more for those that took too long.
                wanted = [job for job in jobs if not job.answer.cancelled()]
                if wanted or not jobs:
                    return wanted

    def _answers(self, kind: _Kind, jobs: Sequence[_Job]) -> list[Any]:
        """An answer or an exception for each."""
        start = time.monotonic()
        refusals = [self._refusal(kind, job.asked) for job in jobs]
        good = [job for job, refusal in zip(jobs, refusals, strict=True) if refusal is None]
        # What is called may change something, as an exchange does: one by one, each once.
        size = 1 if kind is _Kind.OTHER else self._batch
        parts = [good[first : first + size] for first in range(0, len(good), size)]
        answers = iter([answer for part in parts for answer in self._tried(kind, part)])
        if kind is not _Kind.OTHER:
            self._metrics.batch(kind.value, len(jobs), time.monotonic() - start)
        return [next(answers) if refusal is None else refusal for refusal in refusals]

    def _refusal(self, kind: _Kind, asked: Any) -> BadRequestError | None:
        """What is wrong with a request, that only the recommender knows."""
        if kind is _Kind.RECOMMEND:
            try:
                self._recommender.check(asked)
            except UserError as error:
                return BadRequestError(str(error))
        return None

    def _tried(self, kind: _Kind, jobs: Sequence[_Job]) -> list[Any]:
        try:
            return self._of_batch(kind, [job.asked for job in jobs])
        except StoreError as error:
            logging.error("The store of states fails: %s", error)
            failure: Exception = UnavailableError(
                "the store of states fails (see the server's log): try again"
            )
            return [failure] * len(jobs)
        except Exception as error:
            if len(jobs) == 1:
                return [error]
            # One of them is at fault: the others are not to suffer for it.
            return [answer for job in jobs for answer in self._tried(kind, [job])]

    def _of_batch(self, kind: _Kind, asked: Sequence[Any]) -> list[Any]:
        if kind is _Kind.RECOMMEND:
            return list(self._recommender.recommend_many(asked))
        if kind is _Kind.OTHER:
            return [function(self._recommender) for function in asked]
        outcomes = self._recommender.observe_many([one for listens in asked for one in listens])
        answers = []
        first = 0
        for listens in asked:
            answers.append(outcomes[first : first + len(listens)])
            first += len(listens)
        return answers


def _deliver(jobs: Sequence[_Job], answers: Sequence[Any]) -> None:
    """In the event loop, for all of a batch at once."""
    for job, answer in zip(jobs, answers, strict=True):
        if job.answer.done():
            continue
        if isinstance(answer, Exception):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)
