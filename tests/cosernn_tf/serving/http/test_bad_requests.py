"""Whatever is sent is answered, in a sentence that says what is wrong."""

import json
import time
from typing import Any

import pytest

from tests.cosernn_tf.serving.http.served import ask

LISTEN = {"user_id": "u1", "track_id": "t1", "timestamp": 1_560_000_000}
RECOMMEND = "/v1/users/user-1/recommendations?"


def with_fields(**fields: Any) -> list[dict[str, Any]]:
    """Three good listens, and one with these fields."""
    return [LISTEN, LISTEN, LISTEN, {**LISTEN, **fields}]


def without(name: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in LISTEN.items() if key != name}]


BODIES = [
    ("{", 400, "the body is no JSON"),
    ("", 422, "the body is missing: give it"),
    ('{"listens": [{"user_id": "u", "track_id": "t", "timestamp": NaN}]}', 400, "is no JSON"),
    ('{"listens": [{"user_id": "\\ud800", "track_id": "t", "timestamp": 1}]}', 400, "is no JSON"),
    (b'{"listens": "\xff"}', 400, "is no JSON"),
    ("[" * 100_000, 400, "is no JSON"),
    ('{"listens": [' + "1" * 500 + "]}", 400, "is no JSON"),
    ("[]", 422, "the body is no object: write it like"),
    ("null", 422, "the body is no object: write it like"),
    ("{}", 422, "listens is missing: give it"),
    ('{"listens": {}}', 422, "listens is no list: write it in square brackets"),
    ('{"listens": [7]}', 422, "listens[0] is no object: write it like"),
    ('{"listens": [], "more": 1}', 422, "more is unknown: leave it out"),
]
FIELDS = [
    (without("track_id"), "listens[0].track_id is missing: give it"),
    (with_fields(timestamp=None), "listens[3].timestamp is no whole number"),
    (with_fields(timestamp=1.5), "listens[3].timestamp is no whole number"),
    (with_fields(timestamp=True), "listens[3].timestamp is no whole number"),
    (with_fields(timestamp=[1]), "listens[3].timestamp is no whole number"),
    (with_fields(timestamp="yesterday"), "listens[3].timestamp: 'yesterday' is no date and time"),
    (with_fields(timestamp="2019-06-01T08:00:00"), "has no offset, which the user's day"),
    (with_fields(timestamp="2019-02-30T08:00:00Z"), "is no date and time"),
    (with_fields(timestamp="0001-01-01T00:00:00+23:00"), "listens[3].timestamp"),
    (with_fields(timestamp="9999-12-31T23:59:59-23:00"), "listens[3].timestamp"),
    (with_fields(timestamp=-1), "listens[3].timestamp is out of range: it must be at least 0"),
    (with_fields(timestamp=1_560_000_000_000), "out of range: it must be less than 4102444800"),
    (with_fields(timestamp=2**63), "listens[3].timestamp is out of range"),
    (with_fields(user_id=""), "listens[3].user_id is empty: give an id"),
    (with_fields(user_id=7), "listens[3].user_id is no text: write it in quotes"),
    (with_fields(track_id=None), "listens[3].track_id is no text"),
    (with_fields(track_id="x" * 513), "listens[3].track_id is longer than 512 characters"),
    (with_fields(ms_played=-1), "listens[3].ms_played is out of range: it must be at least 0"),
    (with_fields(ms_played=10**18), "listens[3].ms_played is out of range: it must be at most"),
    (with_fields(ms_played="1"), "listens[3].ms_played is no whole number"),
    (with_fields(skipped=1), "listens[3].skipped is neither true nor false"),
    (with_fields(device=1), "listens[3].device is no text"),
    (with_fields(utc_offset_minutes=1_081), "utc_offset_minutes is out of range"),
    (with_fields(utc_offset_minutes=1e400), "is no JSON"),
    (with_fields(skiped=True), "listens[3].skiped is unknown: leave it out"),
    ([LISTEN] * 1_001, "listens has more than 1000 items: send them in several requests"),
]
QUERIES = [
    ("", 422, "device is missing: give it"),
    ("device=toaster", 422, "device='toaster' is unknown: choose from unknown, mobile, desktop"),
    ("device=web&device=web", 422, "device is given twice: give it once"),
    ("device=web&k=0", 422, "k is out of range: it must be at least 1"),
    ("device=web&k=1001", 422, "k is out of range: it must be at most 1000"),
    ("device=web&k=1000", 422, "k=1000 is more than the 181 tracks"),
    ("device=web&k=ten", 422, "k is no whole number: write digits only"),
    ("device=web&k=NaN", 422, "k is no whole number"),
    ("device=web&k=" + "9" * 5_000, 422, "k"),
    ("device=web&exclude_heard=maybe", 422, "exclude_heard is neither true nor false"),
    ("device=web&limit=3", 422, "limit is unknown: leave it out"),
    ("device=web&at=noon", 422, "at: 'noon' is no date and time: write it like"),
    ("device=web&at=2019-06-03T08:00:00", 422, "at: '2019-06-03T08:00:00' has no offset"),
    ("device=web&at=2019-06-03T08:00:00+02:00", 422, "write a + in a URL as %2B"),
    ("device=web&at=1969-12-31T23:59:59Z", 422, "is out of range: give a time from 1970 to 2099"),
    ("device=web&at=0001-01-01T00:00:00%2B23:59", 422, "out of range: give a time from 1970"),
    ("device=web&at=2100-01-01T00:00:00Z", 422, "is out of range: give a time from 1970 to 2099"),
    ("device=web&at=", 422, "at: '' is no date and time"),
    ("device=web&stream_source=charts", 422, "the stream source 'charts' has no use"),
    ("device=%ff", 400, "the query is no UTF-8: percent-encode"),
]
PATHS = [
    ("GET", "/v1/users//recommendations?device=web", 422, "user_id is empty"),
    ("GET", f"/v1/users/{'x' * 513}/history", 422, "user_id is longer than 512 characters"),
    ("GET", "/v1/users/a%ff/history", 400, "the path is no UTF-8: percent-encode"),
    ("GET", "/v1/users/a/history?last=0", 422, "last is out of range: it must be at least 1"),
    ("GET", "/v1/users/a/history?last=201", 422, "last is out of range: it must be at most 200"),
    ("GET", "/v1/users/a", 404, "there is nothing at this path: see /docs"),
    ("GET", "/../../etc/passwd", 404, "there is nothing at this path"),
    ("GET", "/page/../../setup.py", 404, "there is nothing at this path"),
    ("GET", "/page/%2e%2e/page.css", 404, "there is nothing at this path"),
    ("GET", "//healthz", 404, "there is nothing at this path"),
    ("DELETE", "/v1/users/a/history", 405, "this path does not take DELETE"),
    ("GET", "/v1/listens", 405, "this path does not take GET"),
    ("POST", "/v1/admin/reload", 403, "a reload by HTTP needs a server with a token"),
]


@pytest.fixture(scope="module", autouse=True)
def _(server):
    yield
    # Whatever was sent, it still answers, nothing was stored, and nothing of it was our failure.
    assert server.get(RECOMMEND + "device=web").status == 200
    assert server.get("/v1/users/u1/history").json["sessions"] == []
    assert 'status="500"' not in server.get("/metrics").body.decode()


def check(answer, status: int, sentence: str) -> None:
    assert (answer.status, sentence in answer.error) == (status, True), answer
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.error) < 400


@pytest.mark.parametrize(("body", "status", "sentence"), BODIES)
def test_bodies(server, body, status, sentence):
    check(server.post("/v1/listens", body), status, sentence)


@pytest.mark.parametrize(("listens", "sentence"), FIELDS)
def test_fields_of_listens(server, listens, sentence):
    status = 400 if sentence == "is no JSON" else 422
    check(server.post("/v1/listens", json.dumps({"listens": listens})), status, sentence)


def test_a_listen_of_the_future(server):
    hour = 3_600
    ahead = int(time.time()) + 25 * hour
    check(server.listens(LISTEN, {**LISTEN, "timestamp": ahead}), 422, "listens[1].timestamp=")
    in_time = {**LISTEN, "user_id": "tomorrow", "timestamp": ahead - 2 * hour}
    assert server.listens(in_time).json["accepted"] == 1


@pytest.mark.parametrize(("query", "status", "sentence"), QUERIES)
def test_queries(server, query, status, sentence):
    check(server.get(RECOMMEND + query), status, sentence)


@pytest.mark.parametrize(("method", "path", "status", "sentence"), PATHS)
def test_paths(server, method, path, status, sentence):
    check(ask(server.port, method, path), status, sentence)


def test_a_body_that_is_not_said_to_be_json(server):
    # What a page of elsewhere can send without being asked whether it may.
    answer = server.post("/v1/listens", "{}", **{"Content-Type": "text/plain"})
    check(answer, 415, "send Content-Type: application/json")
