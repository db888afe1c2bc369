"""The command itself: signals, kills, and what it prints."""

import random
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving_kill import KillConfig, KillResult, Sender, compare, kill_under_load
from benchmarks.serving_process import Client, ServerProcess
from cosernn_tf.retrieval.index import build_index
from cosernn_tf.runs import INDEX
from cosernn_tf.serving.generation import generation_of
from cosernn_tf.serving.listens import Listen
from cosernn_tf.serving.opening import opener
from cosernn_tf.serving.sqlite_store import SqliteStore
from cosernn_tf.serving.store import UserUpdate
from cosernn_tf.trained_run import open_trained_run
from cosernn_tf.workspace import Workspace
from tests.cosernn_tf.models.oracle import randomize
from tests.cosernn_tf.serving.http.forked import Forks
from tests.cosernn_tf.serving.http.served import ask, served
from tests.entry_points import Result

USER = "hidden-user"
PATH = f"/v1/users/{USER}/recommendations?device=web&at=2019-06-20T08:00:00Z"
TOKEN = "correct-horse-battery-staple"
KILLS = 2


def error_of(output: Path) -> str:
    """The one line that a user sees."""
    return Result(2, "", output.read_text()).error


@pytest.fixture(scope="module")
def forks(tmp_path_factory) -> Iterator[Forks]:
    forks = Forks(tmp_path_factory.mktemp("forks"))
    yield forks
    forks.close()


def start(workspace: Workspace, name: str, folder: Path, forks: Forks) -> ServerProcess:
    return ServerProcess.start(
        workspace.root,
        name,
        store=str(folder / "state.sqlite"),
        output=folder / "output",
        launch=forks,
    )


def test_no_acknowledged_listen_is_lost_when_it_is_killed_under_load(
    workspace, cosernn, tmp_path, forks
):
    result = kill_under_load(
        KillConfig(
            workspace.root,
            cosernn.path.name,
            tmp_path,
            kills=KILLS,
            requests=40,
            users=12,
            senders=3,
            launch=forks,
        )
    )
    assert (result.lost, result.torn, result.different) == (0, 0, 0)
    assert result.kills == KILLS
    assert result.acknowledged >= KILLS * 40 * 3
    assert result.unacknowledged > 0
    assert result.compared == KILLS * 12


def test_what_is_lost_or_torn_or_otherwise_is_found(workspace, cosernn, tmp_path):
    """What the kills look for, where it is so."""
    path = tmp_path / "state.sqlite"
    listens = [Listen(f"u{n}", "track-5", 1_560_000_000 + n, device="mobile") for n in range(5)]
    store = SqliteStore.open(path, generation=generation_of(cosernn))
    store.commit([UserUpdate(listen.user_id, listens=(listen,)) for listen in listens[:3]])
    store.close()
    users = [f"u{n}" for n in range(5)]
    clock = dict.fromkeys(users, 1_560_000_100)
    sender = Sender(users, ["track-5"], random.Random(0), clock)
    sender.acknowledged = [(listens[0],), (listens[1], listens[3])]
    sender.unanswered = [(listens[2], listens[4])]
    opened = opener(workspace, cosernn.path.name, store=str(path), max_users=10)
    with served(opened) as server:
        # This server knows more of one user than is stored.
        model = server.run(server.generations.worker.call(lambda model: model))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model.store, "commit", lambda updates: None)
            assert (
                server.listens(
                    {"user_id": "u0", "track_id": "track-6", "timestamp": 1_560_000_050}
                ).status
                == 200
            )
        result = KillResult()
        client = Client(server.port)
        compare(client, [sender], cosernn, path, result)
        client.close()
    assert result.acknowledged == 3
    assert result.lost == 1
    assert (result.unacknowledged, result.kept_unacknowledged, result.torn) == (2, 1, 1)
    assert (result.compared, result.different) == (5, 1)


@pytest.fixture(scope="module")
def own(workspace, cosernn, tmp_path_factory) -> Workspace:
    """A workspace with a run that may be changed."""
    own = Workspace(tmp_path_factory.mktemp("own"))
    for name in ("sessions", "tracks"):
        (own.root / name).symlink_to(getattr(workspace, name).resolve())
    shutil.copytree(cosernn.path, own.run("live"))
    return own


def test_a_life_from_start_to_end_and_the_next(own, tmp_path, forks):
    """Ready, asked, reloaded by SIGHUP, alone with its store, and ended by SIGTERM."""
    with start(own, "live", tmp_path, forks) as server:
        client = server.client()
        body = {"listens": [{"user_id": USER, "track_id": "track-5", "timestamp": 1_560_000_000}]}
        assert client.post("/v1/listens", body) == (
            200,
            {"accepted": 1, "duplicates": 0, "late": 0, "unknown_tracks": 0},
        )
        status, before = client.get(PATH)
        assert status == 200
        assert before["earlier_sessions"] == 1

        trained = open_trained_run(own, "live")
        randomize(trained.model, seed=9)
        trained.model.save(trained.path / "model.keras")
        build_index(trained.embeddings, trained.embeddings.vectors[:5], trained.path / INDEX)
        server.send(signal.SIGHUP)
        while server.metrics().get('cosernn_reloads_total{outcome="done"}') != 1:
            assert server.process.poll() is None
            time.sleep(0.02)
        status, after = client.get(PATH)
        assert after["earlier_sessions"] == 1
        assert [t["score"] for t in after["tracks"]] != [t["score"] for t in before["tracks"]]

        store = f"--store={tmp_path / 'state.sqlite'}"
        flags = [f"--workspace={own.root}", "--run=live", "--port=0", store]
        other = forks(flags, tmp_path / "other")
        assert other.wait(60) == 2
        assert "another server uses the store" in error_of(tmp_path / "other")

        # What is in flight at the end is answered.
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            text = b'{"listens": []}'
            connection.sendall(
                b"POST /v1/listens HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
                b"\r\nContent-Length: %d\r\n\r\n" % len(text) + text[:5]
            )
            # Asked after it, answered after it was begun.
            assert client.get("/healthz")[0] == 200
            server.send(signal.SIGTERM)
            while "Stopping" not in server.output.read_text():
                time.sleep(0.02)
            connection.sendall(text[5:])
            assert connection.recv(1_000).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(60) == 0
        client.close()
    output = server.output.read_text()
    assert "GET /v1/users/{user_id}/recommendations 200" in output
    assert USER not in output
    assert "Traceback" not in output
    assert (tmp_path / "state.sqlite").stat().st_mode & 0o077 == 0

    # What was stored is there at the next start, and no state of the log's users is made again.
    forks.environment = {"COSERNN_TOKEN": TOKEN}
    with start(own, "live", tmp_path, forks) as server:
        client = server.client()
        assert client.get(PATH)[0] == 401
        client.close()
        answer = ask(server.port, "GET", PATH, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.json == after
        assert server.end(signal.SIGINT) == 0
    forks.environment = {}
    output = server.output.read_text()
    assert "states of users" not in output
    assert TOKEN not in output


def test_bad_flags_are_one_line(own, tmp_path, forks):
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    own_run = ("--workspace", own.root, "--run", "live")
    (tmp_path / "short").write_text("secret\n")
    cases: list[tuple[tuple[object, ...], str]] = [
        (("--host", "0.0.0.0"), "no token is set"),
        ((*own_run, "--port", port), f"nobody can listen at 127.0.0.1, port {port}"),
        ((*own_run, "--token_file", "/nowhere"), "--token_file=/nowhere cannot be read"),
        ((*own_run, "--token_file", tmp_path / "short"), "the token is shorter than 16 characters"),
        (("--workspace", own.root, "--run", "other"), "other"),
        ((*own_run, "--store", "/proc/nowhere/state.sqlite"), "name another --store"),
    ]
    for number, (arguments, sentence) in enumerate(cases):
        output = tmp_path / str(number)
        assert forks(list(map(str, arguments)), output).wait(60) == 2
        assert sentence in error_of(output)
    taken.close()
