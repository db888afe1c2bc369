"""The process: the event loop, its signals, and what is done at the start and at the end."""

import asyncio
import fcntl
import math
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn
import uvloop
from absl import logging
from starlette.types import ASGIApp

from cosernn_tf.errors import UserError
from cosernn_tf.serving.http.app import create_app
from cosernn_tf.serving.http.config import ServeConfig
from cosernn_tf.serving.http.generations import Generations
from cosernn_tf.serving.http.metrics import Metrics
from cosernn_tf.serving.http.worker import UnavailableError
from cosernn_tf.serving.recommender import Recommender

_KEEP_ALIVE_SECONDS: Final = 75
_BACKLOG: Final = 1024


def serve(open_recommender: Callable[[], Recommender], config: ServeConfig) -> None:
    """Serves until SIGTERM or SIGINT, and lets what is in flight be answered then.

    Args:
        open_recommender: Opens run, index and store as they are; called again for a reload, which
            SIGHUP asks for, too.
        config: Of the endpoint.

    Raises:
        UserError: The address is taken, or the first model cannot be opened.
    """
    listener = _bound(config)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(open_recommender, config, listener))
    finally:
        listener.close()


def _bound(config: ServeConfig) -> socket.socket:
    """A socket that is bound before anything heavy loads."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"nobody can listen at {config.host}, port {config.port} ({error.strerror}): choose "
            "another --host or --port"
        ) from error
    return listener


def uvicorn_config(app: ASGIApp, config: ServeConfig) -> uvicorn.Config:
    """What the server is told of HTTP."""
    return uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(config.limits.seconds) + 1,
        http="httptools",
    )


class _Server(uvicorn.Server):
    """Without uvicorn's own signals: ours are set for the whole life of the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(
    open_recommender: Callable[[], Recommender], config: ServeConfig, listener: socket.socket
) -> None:
    metrics = Metrics()
    generations = Generations(open_recommender, config, metrics)
    server = _Server(uvicorn_config(create_app(generations, config, metrics), config))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        logging.info("Stopping: what is in flight is answered")
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.ensure_future(_reload(generations))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    print(f"Listening at {url} (the API: {url}docs); loading the model", flush=True)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    starting = asyncio.ensure_future(generations.start())
    await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done() and starting.exception() is None:
        print(f"Ready: {url}", flush=True)
    server.should_exit = server.should_exit or (starting.done() and bool(starting.exception()))
    await serving
    if starting.done():
        await starting
    # The thread that opens it cannot be stopped: the process ends without it.
    starting.cancel()
    await generations.close()


async def _reload(generations: Generations) -> None:
    try:
        await generations.reload()
    except (UserError, UnavailableError) as error:
        logging.error("No reload: %s", error)


@contextmanager
def only_server(lock: Path) -> Iterator[None]:
    """Holds a file, so that one process at a time writes to a store.

    Raises:
        UserError: Another one holds it, or it cannot be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise UserError(f"{lock} cannot be written ({error}): name another --store") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another server uses the store beside {lock}: stop it, or name another --store"
            ) from error
        yield
