"""A server in a thread of the test, on a free port, and a client without manners."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop

from cosernn_tf.serving.http.app import create_app
from cosernn_tf.serving.http.config import ServeConfig
from cosernn_tf.serving.http.generations import Generations
from cosernn_tf.serving.http.metrics import Metrics
from cosernn_tf.serving.http.server import uvicorn_config
from cosernn_tf.serving.recommender import Recommender


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence, of which there is just one, and nothing else."""
        content = self.json
        assert content.keys() == {"error"}, content
        return str(content["error"])


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Sends a request as it is given: nothing is escaped or put right."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": f"localhost:{port}", **(headers or {})}.items():
            connection.putheader(name, value)
        data = body.encode() if isinstance(body, str) else body
        if data is not None:
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    port: int
    generations: Generations
    loop: asyncio.AbstractEventLoop

    def get(self, path: str, **headers: str) -> Answer:
        return ask(self.port, "GET", path, headers=headers)

    def post(self, path: str, content: Any, **headers: str) -> Answer:
        body = content if isinstance(content, (bytes, str)) else json.dumps(content)
        return ask(self.port, "POST", path, body, {"Content-Type": "application/json", **headers})

    def listens(self, *listens: Mapping[str, Any]) -> Answer:
        return self.post("/v1/listens", {"listens": listens})

    def metric(self, sample: str) -> float:
        """A sample, with its labels in order of the text format; 0 if it is not there."""
        for line in self.get("/metrics").body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0

    def run(self, coroutine: Any) -> Any:
        """Runs it in the loop of the server."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    @contextmanager
    def held(self) -> Iterator[None]:
        """The model's thread does nothing within; what is asked waits."""
        entered, left = threading.Event(), threading.Event()

        def hold(_: Recommender) -> None:
            entered.set()
            assert left.wait(60)

        future = asyncio.run_coroutine_threadsafe(self.generations.worker.call(hold), self.loop)
        assert entered.wait(60)
        try:
            yield
        finally:
            left.set()
            future.result(60)

    def wait_for_waiting(self, number: int) -> None:
        """Returns once so many requests wait for the model."""

        async def wait() -> None:
            while self.generations.worker.waiting < number:
                await asyncio.sleep(0.001)

        self.run(asyncio.wait_for(wait(), 60))


@contextmanager
def served(
    open_recommender: Callable[[], Recommender],
    config: ServeConfig | None = None,
    *,
    wait: bool = True,
) -> Iterator[Served]:
    """A server; unless told, it is ready."""
    config = config or ServeConfig(access_log=False)
    listener = socket.create_server(("127.0.0.1", 0))
    ready = threading.Event()
    found: list[Any] = []

    async def serve() -> None:
        metrics = Metrics()
        generations = Generations(open_recommender, config, metrics)
        server = uvicorn.Server(uvicorn_config(create_app(generations, config, metrics), config))
        starting = asyncio.ensure_future(generations.start())
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        if wait:
            await asyncio.wait([starting])
        found.extend((server, generations, asyncio.get_running_loop()))
        ready.set()
        await serving
        starting.cancel()
        await asyncio.wait([starting])
        await generations.close()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(120)
    server, generations, loop = found
    try:
        yield Served(listener.getsockname()[1], generations, loop)
    finally:
        server.should_exit = True
        thread.join(120)
        listener.close()
