"""What the endpoint answers is what the recommender says, however many ask at once."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.serving.listens import Context, Listen
from cosernn_tf.serving.opening import opener
from cosernn_tf.serving.store import StoreError
from tests.cosernn_tf.serving.http.served import Served, served
from tests.cosernn_tf.serving.redis_server import redis_server
from tests.workspaces import DAYS, FIRST_SECOND

AFTER = FIRST_SECOND + (DAYS + 1) * 86_400
"""All of the log is before it."""
AT = "2019-06-03T08:00:00+02:00"
USERS = [f"user-{number}" for number in range(12)]
STRANGE = [
    "..",
    "../../etc/passwd",
    "a/b",
    "a\0b",
    "a\nb",
    "\r\n",
    "ü🎵",
    "a b",
    "%41",
    "?x=1#y",
    "recommendations",
]


def path_of(user: str, what: str = "recommendations", **query: Any) -> str:
    text = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items())
    return f"/v1/users/{quote(user, safe='')}/{what}" + (f"?{text}" if text else "")


def listen(user: str, track: str, timestamp: int | str, **fields: Any) -> dict[str, Any]:
    return {"user_id": user, "track_id": track, "timestamp": timestamp, **fields}


# Recommendations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["user-3", "nobody"])
@pytest.mark.parametrize("device", ["mobile", "speaker"])
def test_it_recommends_what_the_recommender_does(server, direct, user, device):
    answer = server.get(path_of(user, device=device, at=AT, k=7))
    assert answer.status == 200
    expected = direct.recommend(user, Context(datetime.fromisoformat(AT), device), 7)
    assert answer.json == json.loads(json.dumps(expected.to_dict()))
    assert answer.json["earlier_sessions"] == (0 if user == "nobody" else 41)
    assert len(answer.json["tracks"]) == 7


def test_the_embedding_is_told_if_asked_for(server, direct):
    context = Context(datetime.fromisoformat(AT), "web")
    answer = server.get(path_of("user-2", device="web", at=AT, embedding="true"))
    assert answer.json["embedding"] == pytest.approx(
        direct.predict("user-2", context).embedding.tolist(), abs=1e-6
    )
    assert "embedding" not in server.get(path_of("user-2", device="web", at=AT)).json


def test_heard_tracks_are_left_out_if_asked_for(server):
    everything = server.get(path_of("user-4", device="web", at=AT, k=50)).json["tracks"]
    heard = {
        track["track_id"]
        for session in server.get(path_of("user-4", "history", last=200)).json["sessions"]
        for track in session["tracks"]
    }
    found = server.get(path_of("user-4", device="web", at=AT, k=50, exclude_heard="1")).json
    ids = [track["track_id"] for track in found["tracks"]]
    assert not heard & set(ids)
    expected = [track["track_id"] for track in everything if track["track_id"] not in heard]
    assert ids[: len(expected)] == expected
    assert [track["rank"] for track in found["tracks"]] == list(range(1, len(ids) + 1))


def test_now_is_the_default_time(server):
    answer = server.get(path_of("user-1", device="mobile")).json
    age = datetime.now().astimezone() - datetime.fromisoformat(answer["at"])
    assert 0 <= age.total_seconds() < 60


# Many at once ------------------------------------------------------------------------------------


def together(server: Served, paths: list[str]) -> list[Any]:
    """All of them waiting before the first is answered."""
    with ThreadPoolExecutor(len(paths)) as pool, server.held():
        futures = [pool.submit(server.get, path) for path in paths]
        server.wait_for_waiting(len(paths))
    return [future.result() for future in futures]


def test_those_who_wait_are_answered_by_one_batch_as_if_alone(server):
    paths = [
        path_of(user, device=device, at=AT, k=3 + number, exclude_heard=number % 2)
        for number, user in enumerate(USERS[:5])
        for device in ("mobile", "web")
    ]
    alone = [server.get(path).json for path in paths]
    name = 'cosernn_batch_size_{}{{kind="recommend"{}}}'
    before = [server.metric(name.format(part, "")) for part in ("count", "sum")]
    answers = together(server, paths)
    after = [server.metric(name.format(part, "")) for part in ("count", "sum")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 10]
    for answer, expected in zip(answers, alone, strict=True):
        found = answer.json
        assert [t["track_id"] for t in found["tracks"]] == [
            t["track_id"] for t in expected["tracks"]
        ]
        scores = [track["score"] for track in expected["tracks"]]
        assert [track["score"] for track in found["tracks"]] == pytest.approx(scores, abs=1e-5)


def test_one_bad_request_does_not_spoil_the_others_of_its_batch(server):
    good = path_of("user-1", device="web", at=AT)
    answers = together(server, [good, path_of("user-1", device="web", k=999), good])
    assert [answer.status for answer in answers] == [200, 422, 200]
    assert answers[1].error == "k=999 is more than the 181 tracks that have an embedding"


# Listens -----------------------------------------------------------------------------------------


def test_listens_change_what_is_recommended_as_the_recommender_has_it(server, direct):
    own = [
        listen("user-5", "track-7", AFTER, ms_played=200_000, device="mobile"),
        listen("user-5", "track-8", AFTER + 200, skipped=True, track_duration_ms=180_000),
        listen("user-5", "track-9", AFTER + 7_000, device="web", utc_offset_minutes=-90),
        listen("new", "nowhere", AFTER, stream_source="charts"),
    ]
    query = {"device": "mobile", "at": "2019-06-08T20:00:00Z"}
    before = server.get(path_of("user-5", **query)).json
    answer = server.listens(*own)
    assert answer.json == {"accepted": 4, "duplicates": 0, "late": 0, "unknown_tracks": 1}
    direct.observe_many([Listen(**one) for one in own])
    context = Context(datetime.fromisoformat(query["at"]), "mobile")
    for user in ("user-5", "new"):
        after = server.get(path_of(user, **query)).json
        expected = json.loads(json.dumps(direct.recommend(user, context).to_dict()))
        assert after == expected
    after = server.get(path_of("user-5", **query)).json
    assert after["tracks"] != before["tracks"]
    assert after["earlier_sessions"] == before["earlier_sessions"] + 2
    history = server.get(path_of("user-5", "history", last=2)).json["sessions"]
    assert [session["is_open"] for session in history] == [False, True]
    assert history[0]["tracks"] == [
        {"track_id": "track-7", "skipped": False},
        {"track_id": "track-8", "skipped": True},
    ]
    assert history[1]["device"] == "web"


def test_listens_are_counted_by_what_becomes_of_them(server):
    names = {
        outcome: f'cosernn_listens_total{{outcome="{outcome}"}}'
        for outcome in ("accepted", "duplicate", "late")
    }
    before = {outcome: server.metric(name) for outcome, name in names.items()}
    first = listen("user-6", "track-1", AFTER)
    assert server.listens(first, first).json["duplicates"] == 1
    again = server.listens(first, listen("user-6", "track-2", AFTER - 40 * 86_400))
    assert again.json == {"accepted": 0, "duplicates": 1, "late": 1, "unknown_tracks": 0}
    late_again = server.listens(listen("user-6", "track-2", AFTER - 40 * 86_400))
    assert late_again.json["duplicates"] == 1
    after = {outcome: server.metric(name) for outcome, name in names.items()}
    assert {outcome: after[outcome] - before[outcome] for outcome in names} == {
        "accepted": 1,
        "duplicate": 3,
        "late": 1,
    }


def test_no_listens_are_no_trouble(server):
    answer = server.listens()
    assert answer.json == {"accepted": 0, "duplicates": 0, "late": 0, "unknown_tracks": 0}


def test_times_are_read_as_in_a_log(server):
    for timestamp in (AFTER, "2019-06-02T02:00:00+02:00"):
        assert server.listens(listen("when", "track-1", timestamp)).status == 200
    (session,) = server.get(path_of("when", "history")).json["sessions"]
    assert session["start"] == AFTER
    assert session["num_tracks"] == 1


@pytest.mark.parametrize("user", STRANGE)
def test_ids_are_opaque(server, user):
    assert server.listens(listen(user, user, AFTER)).json["accepted"] == 1
    history = server.get(path_of(user, "history")).json
    assert history["user"] == user
    assert history["sessions"][0]["tracks"] == [{"track_id": user, "skipped": False}]
    answer = server.get(path_of(user, device="web", at=AT))
    assert answer.json["user"] == user
    assert answer.json["earlier_sessions"] == 1


def test_a_store_that_fails_is_told_and_nothing_is_half_taken_in(server, monkeypatch):
    one = listen("user-7", "track-3", AFTER)
    path = path_of("user-7", device="web", at="2019-06-08T20:00:00Z")
    before = server.get(path).json
    store = server.run(server.generations.worker.call(lambda model: model.store))

    def fail(updates: Any) -> None:
        raise StoreError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(store, "commit", fail)
        answer = server.listens(one)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert "the store of states fails" in answer.error
        assert server.get(path).json == before
    assert server.listens(one).json["accepted"] == 1
    assert server.get(path).json != before


def test_an_unforeseen_failure_is_a_sentence_and_the_server_goes_on(server, monkeypatch):
    model = server.run(server.generations.worker.call(lambda model: model))
    observe_many = model.observe_many

    def fails_for_one(listens: Any) -> Any:
        if any(listen.user_id == "broken" for listen in listens):
            raise UserError("secret")
        return observe_many(listens)

    with monkeypatch.context() as patch:
        patch.setattr(model, "observe_many", fails_for_one)
        with ThreadPoolExecutor(3) as pool, server.held():
            answers = [
                pool.submit(server.listens, listen(user, "track-1", AFTER))
                for user in ("whole", "broken", "well")
            ]
            server.wait_for_waiting(3)
        statuses = [answer.result().status for answer in answers]
    assert statuses == [200, 500, 200]
    assert "its log says where" in answers[1].result().error
    assert "secret" not in answers[1].result().error
    for user, count in (("whole", 1), ("broken", 0), ("well", 1)):
        assert len(server.get(path_of(user, "history")).json["sessions"]) == count


def test_redis_may_keep_the_states(workspace, cosernn, tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        opened = opener(workspace, cosernn.path.name, store=address, max_users=10)
        with served(opened) as one:
            assert one.listens(listen("u", "track-1", AFTER)).json["accepted"] == 1
        with served(opened) as another:
            assert another.listens(listen("u", "track-1", AFTER)).json["duplicates"] == 1
            answer = another.get(path_of("u", device="web", at="2019-06-08T20:00:00Z")).json
    assert answer["earlier_sessions"] == 1


# The rest ----------------------------------------------------------------------------------------


def test_the_map_is_a_plane_through_the_embeddings(server, cosernn):
    found = server.get("/v1/map").json
    vectors = cosernn.embeddings.vectors
    track_ids = cosernn.sessions.tracks["track_id"].to_pylist()
    embedded = [row for row in range(200) if vectors[row].any()]
    assert found["track_ids"] == [track_ids[row] for row in embedded]
    centred = vectors[embedded] - vectors[embedded].mean(axis=0)
    # The best plane, by another way.
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    for axis in range(2):
        place = [point[axis] for point in found["points"]]
        sign = 1 if place[0] * expected[0, axis] > 0 else -1
        assert place == pytest.approx((sign * expected[:, axis]).tolist(), abs=2e-4)
    assert found["explained"] == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum())


def test_a_few_users_are_told(server):
    users = server.get("/v1/users?count=3").json["users"]
    assert len(users) == 3
    assert set(users) <= set(USERS)


def test_metrics_are_what_prometheus_reads(server):
    from prometheus_client.parser import text_string_to_metric_families

    server.get(path_of("user-1", device="web"))
    found = {
        family.name: family
        for family in text_string_to_metric_families(server.get("/metrics").body.decode())
    }
    for name in (
        "cosernn_requests",
        "cosernn_request_seconds",
        "cosernn_batch_size",
        "cosernn_users_in_memory",
        "cosernn_model_info",
        "process_resident_memory_bytes",
    ):
        assert found[name].samples, name
    routes = {sample.labels["route"] for sample in found["cosernn_requests"].samples}
    assert "/v1/users/{user_id}/recommendations" in routes
    assert not any("user-" in route for route in routes)
