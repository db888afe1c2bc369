"""Kills a server under load again and again, and looks for what it had acknowledged."""

import dataclasses
import random
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.serving_process import Client, Launch, ServerProcess, spawn
from cosernn_tf.retrieval.index import open_index
from cosernn_tf.runs import INDEX
from cosernn_tf.serving.generation import generation_of
from cosernn_tf.serving.listens import Context, Listen
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.serving.sqlite_store import SqliteStore
from cosernn_tf.trained_run import TrainedRun, open_trained_run
from cosernn_tf.workspace import Workspace

_LISTENS_PER_REQUEST: Final = 3
_TOLERANCE: Final = 1e-5
_POLL_SECONDS: Final = 0.002


@dataclass(frozen=True)
class KillConfig:
    """What is done to the server."""

    workspace: Path
    run: str
    folder: Path
    """For the store and logs; what is there goes on."""
    kills: int = 10
    senders: int = 4
    users: int = 40
    """Of whom each sender has a part."""
    requests: int = 60
    """That are acknowledged, at least, between two kills."""
    seed: int = 1
    launch: Launch = spawn
    """How servers are started."""


@dataclass
class KillResult:
    """What was found after each kill; all but the first three are to be zero."""

    kills: int = 0
    acknowledged: int = 0
    """Listens in all."""
    unacknowledged: int = 0
    """Listens that were sent, and of which the client has no answer."""
    kept_unacknowledged: int = 0
    """Of those, that are stored: the answer was lost, not the listens."""
    lost: int = 0
    """Acknowledged listens that are not stored."""
    torn: int = 0
    """Requests of which some listens are stored, and some are not."""
    different: int = 0
    """Users whose embedding, as the server gives it after the kill, is not that of a replay of the
    stored listens by a recommender of its own."""
    compared: int = 0
    """Users that were compared."""

    def to_dict(self) -> dict[str, int]:
        return dataclasses.asdict(self)


@dataclass
class Sender:
    """Sends the listens of some users, in their order, until it gets no answer."""

    users: Sequence[str]
    tracks: Sequence[str]
    rng: random.Random
    clock: dict[str, int]
    """UTC second at which each user goes on."""
    acknowledged: list[tuple[Listen, ...]] = field(default_factory=list)
    unanswered: list[tuple[Listen, ...]] = field(default_factory=list)

    def __call__(self, port: int, count: "_Count") -> None:
        client = Client(port)
        while True:
            listens = self._next()
            body = {"listens": [_fields(listen) for listen in listens]}
            try:
                status, answer = client.post("/v1/listens", body)
            except OSError:
                self.unanswered.append(listens)
                return
            finally:
                if self.unanswered:
                    client.close()
            if status != 200 or answer["accepted"] != len(listens):
                raise AssertionError(f"{status}: {answer}")
            self.acknowledged.append(listens)
            count.add()

    def _next(self) -> tuple[Listen, ...]:
        listens = []
        for user in self.rng.sample(list(self.users), _LISTENS_PER_REQUEST):
            # A third of the listens begins a session.
            start = self.clock[user] + self.rng.choice([0, 60, 3_600])
            played = self.rng.choice([10_000, 180_000])
            listens.append(
                Listen(user, self.rng.choice(self.tracks), start, ms_played=played, device="mobile")
            )
            self.clock[user] = start + played // 1000 + 1
        return tuple(listens)


class _Count:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0

    def add(self) -> None:
        with self._lock:
            self.value += 1


def kill_under_load(config: KillConfig) -> KillResult:
    """Starts the server, sends listens, kills it, compares, and begins again with its store."""
    trained = open_trained_run(Workspace(config.workspace), config.run)
    store = config.folder / "kill.sqlite"
    config.folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(config.seed)
    users = [f"kill-{number}" for number in range(config.users)]
    tracks = trained.sessions.tracks["track_id"].slice(0, 1_000).to_pylist()
    first = trained.sessions.manifest.last_timestamp + 86_400
    senders = [
        Sender(
            users=users[number :: config.senders],
            tracks=tracks,
            rng=random.Random(rng.random()),
            clock=dict.fromkeys(users, first),
        )
        for number in range(config.senders)
    ]
    result = KillResult()
    server = _started(config, store, 0)
    try:
        for number in range(config.kills):
            _load_and_kill(server, senders, config, rng)
            result.kills += 1
            server = _started(config, store, number + 1)
            client = server.client()
            compare(client, senders, trained, store, result)
            client.close()
    finally:
        server.__exit__()
    return result


def _started(config: KillConfig, store: Path, number: int) -> ServerProcess:
    return ServerProcess.start(
        config.workspace,
        config.run,
        store=str(store),
        output=config.folder / f"server-{number}.log",
        flags=["--noaccess_log"],
        launch=config.launch,
    )


def _load_and_kill(
    server: ServerProcess, senders: Sequence[Sender], config: KillConfig, rng: random.Random
) -> None:
    count = _Count()
    with ThreadPoolExecutor(len(senders)) as pool:
        sending = [pool.submit(sender, server.port, count) for sender in senders]
        while count.value < config.requests and not any(one.done() for one in sending):
            time.sleep(_POLL_SECONDS)
        # At any point of what the server does.
        time.sleep(rng.random() / 50)
        server.end(signal.SIGKILL)
    for one in sending:
        one.result()


def compare(
    client: Client,
    senders: Sequence[Sender],
    trained: TrainedRun,
    path: Path,
    result: KillResult,
) -> None:
    """Looks into the store, and asks the server that has started on it.

    Args:
        client: Of that server.
        senders: That have sent what is to be there.
        trained: The run that answers.
        path: Of the store.
        result: What is found is added to it.
    """
    store = SqliteStore.open(path, generation=generation_of(trained))
    users = [user for sender in senders for user in sender.users]
    stored = {user: store.listens(user) for user in users}
    store.close()
    keys = {listen.key for listens in stored.values() for listen in listens}
    result.acknowledged = result.lost = result.torn = 0
    result.unacknowledged = result.kept_unacknowledged = 0
    for sender in senders:
        for listens in sender.acknowledged:
            result.acknowledged += len(listens)
            result.lost += sum(listen.key not in keys for listen in listens)
        for listens in sender.unanswered:
            kept = sum(listen.key in keys for listen in listens)
            result.unacknowledged += len(listens)
            result.kept_unacknowledged += kept
            result.torn += kept not in (0, len(listens))
    # A recommender that has seen no kill: all that is stored, at once.
    replay = Recommender(trained, open_index(trained.path / INDEX, trained.embeddings))
    replay.observe_many([listen for listens in stored.values() for listen in listens])
    at = datetime.fromtimestamp(max(max(sender.clock.values()) for sender in senders) + 86_400, UTC)
    for user in users:
        status, answer = client.get(
            f"/v1/users/{user}/recommendations?device=mobile&k=1&embedding=true"
            f"&at={at.isoformat().replace('+', '%2B')}"
        )
        wanted = replay.predict(user, Context(at, "mobile"))
        same = (
            status == 200
            and answer["earlier_sessions"] == wanted.earlier_sessions
            and bool(np.allclose(answer["embedding"], wanted.embedding, atol=_TOLERANCE))
        )
        result.compared += 1
        result.different += not same


def _fields(listen: Listen) -> dict[str, Any]:
    return {
        name: value
        for name in ("user_id", "track_id", "timestamp", "ms_played", "device")
        if (value := getattr(listen, name)) is not None
    }
