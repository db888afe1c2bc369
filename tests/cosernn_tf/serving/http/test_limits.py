"""Limits, the token, and what a server says of itself before it is ready."""

import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from absl import logging as absl_logging

from cosernn_tf.errors import UserError
from cosernn_tf.serving.http.config import Limits, ServeConfig
from tests.cosernn_tf.serving.http.served import ask, served

HISTORY = "/v1/users/user-1/history"
TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def limited(open_recommender):
    """A server that takes little."""
    limits = Limits(body_bytes=2_000, waiting=2, batch=1, seconds=1.0)
    with served(open_recommender, ServeConfig(access_log=False, limits=limits)) as found:
        yield found


def test_large_bodies_are_refused_before_they_are_read(limited):
    answer = limited.post("/v1/listens", b" " * 10_000_000)
    assert answer.status == 413
    assert "more than 2,000 bytes: send the listens in several requests" in answer.error


def test_large_bodies_of_unknown_length_are_refused_too(limited):
    with socket.create_connection(("127.0.0.1", limited.port)) as connection:
        connection.sendall(
            b"POST /v1/listens HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(b"800\r\n" + b" " * 0x800 + b"\r\n")
        assert connection.recv(1_000).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_come_is_not_waited_for(limited):
    with socket.create_connection(("127.0.0.1", limited.port)) as connection:
        connection.sendall(
            b"POST /v1/listens HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert connection.recv(1_000).startswith(b"HTTP/1.1 408 ")


def test_who_waits_too_long_is_told_so_and_not_worked_for(limited):
    with limited.held():
        answer = limited.get(HISTORY)
    assert answer.status == 504
    assert "there was no answer within 1 seconds" in answer.error
    assert limited.get(HISTORY).status == 200
    assert limited.run(_no_jobs(limited)) == 0


async def _no_jobs(server) -> int:
    return server.generations.worker.waiting


def test_more_than_can_wait_are_told_to_come_again(limited):
    with ThreadPoolExecutor(3) as pool, limited.held():
        waiting = [pool.submit(limited.get, HISTORY) for _ in range(2)]
        limited.wait_for_waiting(2)
        answer = limited.get(HISTORY)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert "2 requests wait already" in answer.error
    assert [future.result().status for future in waiting] == [200, 200]


def test_users_beyond_the_memory_come_from_the_store(workspace, cosernn, tmp_path):
    from cosernn_tf.serving.opening import opener

    opened = opener(workspace, cosernn.path.name, store=str(tmp_path / "s"), max_users=2)
    paths = [
        f"/v1/users/user-{n}/recommendations?device=web&at=2019-06-03T08:00:00Z" for n in range(5)
    ]
    with served(opened) as server:
        first = [server.get(path).json for path in paths]
        assert [server.get(path).json for path in paths] == first
        assert len({str(answer["tracks"]) for answer in first}) == 5
        # The answers come before what is counted of them.
        server.run(server.generations.worker.call(lambda model: None))
        assert server.metric("cosernn_users_in_memory") == 2
        assert server.metric("cosernn_user_loads_total") == 10
        assert server.metric("cosernn_user_evictions_total") == 8
        for part in ("model", "search", "load"):
            assert server.metric(f'cosernn_part_seconds_total{{part="{part}"}}') > 0


# The token ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(open_recommender):
    with served(open_recommender, ServeConfig(token=TOKEN, access_log=False)) as found:
        yield found


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        TOKEN,
        f"Basic {TOKEN}",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer ü",
    ],
)
@pytest.mark.parametrize("path", [HISTORY, "/v1/map", "/metrics", "/v1/users", "/nothing"])
def test_without_the_token_there_is_no_answer(guarded, path, header):
    headers = {} if header is None else {"Authorization": header}
    answer = guarded.get(path, **headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer TOKEN" in answer.error


def test_with_it_there_is_one(guarded):
    answer = guarded.get(HISTORY, Authorization=f"Bearer {TOKEN}", Host="example.org")
    assert answer.status == 200
    assert guarded.listens().status == 401


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz", "/readyz"])
def test_what_tells_nothing_of_users_needs_none(guarded, path):
    assert guarded.get(path).status == 200


def test_without_a_token_other_names_of_this_machine_are_refused(server):
    answer = server.get(HISTORY, Host="attacker.example:80")
    assert answer.status == 421
    assert "use http://localhost" in answer.error
    for name in ("127.0.0.1:1", "LOCALHOST", "[::1]:8000"):
        assert server.get(HISTORY, Host=name).status == 200


def test_a_server_that_others_reach_needs_a_token_or_a_word():
    with pytest.raises(UserError, match="give one in COSERNN_TOKEN or --token_file, or say"):
        ServeConfig(host="0.0.0.0")
    assert not ServeConfig(host="0.0.0.0", token=TOKEN).is_local
    assert not ServeConfig(host="::", allow_anonymous=True).is_local
    with pytest.raises(UserError, match="shorter than 16 characters"):
        ServeConfig(token="secret")
    assert TOKEN not in repr(ServeConfig(token=TOKEN))


# What it says of itself --------------------------------------------------------------------------


def test_while_the_model_loads_it_lives_and_is_not_ready(open_recommender):
    go_on = threading.Event()

    def opened():
        assert go_on.wait(60)
        return open_recommender()

    with served(opened, wait=False) as server:
        assert server.get("/healthz").json == {"status": "alive"}
        for answer in (server.get("/readyz"), server.get(HISTORY), server.listens()):
            assert answer.status == 503
            assert answer.headers["retry-after"] == "5"
            assert "the model is still being loaded" in answer.error
        assert server.metric("cosernn_ready") == 0
        go_on.set()
        while server.get("/readyz").status != 200:
            time.sleep(0.01)
        assert server.get(HISTORY).status == 200
        assert server.metric("cosernn_ready") == 1


def test_logs_have_routes_and_no_ids(open_recommender):
    told: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logger = absl_logging.get_absl_logger()
    handler = Listener()
    logger.addHandler(handler)
    before, level = absl_logging.get_verbosity(), logger.level
    try:
        absl_logging.set_verbosity(absl_logging.INFO)
        with served(open_recommender, ServeConfig()) as server:
            server.get("/v1/users/hidden-1/recommendations?device=web")
            server.get("/v1/users/hidden-2/nothing")
            server.listens({"user_id": "hidden-3", "track_id": "t", "timestamp": 1_560_000_000})
            server.listens({"user_id": "hidden-4", "track_id": "t"})
            absl_logging.set_verbosity(absl_logging.DEBUG)
            server.get("/v1/users/shown/history")
    finally:
        absl_logging.set_verbosity(before)
        # That sets a level where there was none, and other tests would miss what is told.
        logger.setLevel(level)
        logger.removeHandler(handler)
    text = "\n".join(told)
    assert "GET /v1/users/{user_id}/recommendations 200" in text
    assert "POST /v1/listens 422" in text
    assert "hidden" not in text
    assert "/v1/users/shown/history" in text


@pytest.mark.parametrize("path", ["/", "/docs", "/page/page.js", HISTORY, "/nothing"])
def test_every_answer_has_the_headers_that_browsers_heed(server, path):
    answer = ask(server.port, "GET", path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert ("unsafe-inline" in policy) == (path == "/docs")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert ("no-store" in answer.headers.get("cache-control", "")) == (path == HISTORY)
    assert "server" not in answer.headers
