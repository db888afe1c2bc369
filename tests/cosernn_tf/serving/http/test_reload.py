"""A model is exchanged for another under load: no request fails, and no listen is lost."""

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.retrieval.index import build_index, open_index
from cosernn_tf.runs import INDEX
from cosernn_tf.serving.generation import generation_of
from cosernn_tf.serving.http.config import Limits, ServeConfig
from cosernn_tf.serving.http.generations import Generations
from cosernn_tf.serving.http.metrics import Metrics
from cosernn_tf.serving.http.worker import UnavailableError
from cosernn_tf.serving.listens import Context, Listen
from cosernn_tf.serving.opening import opener
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.serving.sqlite_store import SqliteStore
from cosernn_tf.serving.store import StoreError
from cosernn_tf.trained_run import open_trained_run
from cosernn_tf.workspace import Workspace
from tests.cosernn_tf.models.oracle import randomize
from tests.cosernn_tf.serving.http.served import Answer, Served, served
from tests.cosernn_tf.serving.http.test_api import AFTER, listen, path_of

TOKEN = "correct-horse-battery-staple"
HEADER = {"Authorization": f"Bearer {TOKEN}"}
STILL = path_of("user-1", device="web", at="2019-06-20T08:00:00Z", k=5)
"""Of a user who listens to nothing more."""
AT = datetime.fromisoformat("2019-06-20T08:00:00+00:00")
WRITERS, READERS = 2, 3


@pytest.fixture
def own(workspace, cosernn, tmp_path) -> Workspace:
    """A workspace with a run that may be changed."""
    own = Workspace(tmp_path / "workspace")
    own.root.mkdir()
    for name in ("sessions", "tracks"):
        (own.root / name).symlink_to(getattr(workspace, name).resolve())
    shutil.copytree(cosernn.path, own.run("live"))
    return own


def train_again(workspace: Workspace, seed: int) -> None:
    """Other weights, and their index."""
    run = open_trained_run(workspace, "live")
    randomize(run.model, seed=seed)
    run.model.save(run.path / "model.keras")
    build_index(run.embeddings, run.embeddings.vectors[:5], run.path / INDEX)


def direct(workspace: Workspace) -> Recommender:
    run = open_trained_run(workspace, "live")
    found = Recommender(run, open_index(run.path / INDEX, run.embeddings))
    found.bootstrap()
    return found


@pytest.fixture
def server(own, tmp_path) -> Iterator[Served]:
    opened = opener(own, "live", store=str(tmp_path / "state.sqlite"), max_users=100)
    with served(opened, ServeConfig(token=TOKEN, access_log=False)) as found:
        yield found


def scores(answer: Any) -> list[float]:
    return [track["score"] for track in answer["tracks"]]


def test_the_exchange_fails_no_request_and_loses_no_listen(server, own):
    old = server.get(STILL, **HEADER).json
    train_again(own, seed=7)
    is_over = threading.Event()
    acknowledged: list[Listen] = []

    def write(number: int) -> list[Answer]:
        answers: list[Answer] = []
        while not is_over.is_set():
            user = f"writer-{number}"
            one = listen(user, f"track-{len(answers) % 50}", AFTER + 2_000 * len(answers))
            answers.append(server.post("/v1/listens", {"listens": [one]}, **HEADER))
            acknowledged.append(Listen(**one))
        return answers

    def read(_: int) -> list[Answer]:
        answers = []
        while not is_over.is_set():
            answers.append(server.get(STILL, **HEADER))
        return answers

    with ThreadPoolExecutor(WRITERS + READERS) as pool:
        writing = [pool.submit(write, number) for number in range(WRITERS)]
        reading = [pool.submit(read, number) for number in range(READERS)]
        while len(acknowledged) < 20:
            pass
        reloaded = server.post("/v1/admin/reload", {}, **HEADER)
        before = len(acknowledged)
        while len(acknowledged) < before + 20:
            time.sleep(0.001)
        is_over.set()
    assert reloaded.status == 200
    assert reloaded.json["run"] == "live"
    new = server.get(STILL, **HEADER).json
    assert scores(new) != pytest.approx(scores(old), abs=1e-3)
    for future in reading:
        answers = future.result()
        assert {answer.status for answer in answers} == {200}
        is_new = [scores(answer.json) == pytest.approx(scores(new), abs=1e-5) for answer in answers]
        is_old = [scores(answer.json) == pytest.approx(scores(old), abs=1e-5) for answer in answers]
        # The model before, then the one after: never the one before again, and nothing else.
        assert is_old == [not one for one in is_new]
        assert is_new == sorted(is_new)
        assert is_new[-1]
    assert {answer.status for future in writing for answer in future.result()} == {200}
    # The new model knows all that was acknowledged to the old one, and nothing twice.
    expected = direct(own)
    expected.observe_many(acknowledged)
    for number in range(WRITERS):
        user = f"writer-{number}"
        answer = server.get(path_of(user, device="web", at=AT.isoformat(), k=5), **HEADER).json
        wanted = expected.recommend(user, Context(AT, "web"), 5)
        assert answer["earlier_sessions"] == wanted.earlier_sessions
        assert answer["earlier_sessions"] > 5
        assert scores(answer) == pytest.approx([t.score for t in wanted.tracks], abs=1e-5)
        assert [t["track_id"] for t in answer["tracks"]] == [t.track_id for t in wanted.tracks]


def test_what_cannot_be_opened_leaves_the_model_before(server, own):
    before = server.get(STILL, **HEADER).json
    index = own.run("live") / INDEX
    index.rename(index.with_name("elsewhere"))
    answer = server.post("/v1/admin/reload", {}, **HEADER)
    assert answer.status == 409
    assert answer.error.startswith("the model before goes on: ")
    assert str(index) in answer.error
    assert server.get(STILL, **HEADER).json == before
    assert server.get("/readyz").status == 200
    index.with_name("elsewhere").rename(index)
    assert server.post("/v1/admin/reload", {}, **HEADER).status == 200
    assert server.get(STILL, **HEADER).json == before  # the same model again


def test_a_model_may_come_back(server, own, tmp_path):
    """Its states are still in the store, and are older than what was listened to meanwhile."""
    query = {"device": "web", "at": AT.isoformat()}
    path = path_of("user-2", **query)
    kept = tmp_path / "kept"
    shutil.copytree(own.run("live"), kept)
    came_back = generation_of(open_trained_run(own, "live"))
    server.get(path, **HEADER)
    first = [listen("user-2", f"track-{n}", AFTER + 2_000 * n) for n in range(3)]
    server.post("/v1/listens", {"listens": first}, **HEADER)
    train_again(own, seed=8)
    assert server.post("/v1/admin/reload", {}, **HEADER).status == 200
    second = [listen("user-2", f"track-{n}", AFTER + 2_000 * n) for n in range(3, 6)]
    server.post("/v1/listens", {"listens": second}, **HEADER)
    shutil.rmtree(own.run("live"))
    shutil.copytree(kept, own.run("live"))
    assert server.post("/v1/admin/reload", {}, **HEADER).status == 200
    expected = direct(own)
    expected.observe_many([Listen(**one) for one in [*first, *second]])
    wanted = expected.recommend("user-2", Context(AT, "web"))
    answer = server.get(path, **HEADER).json
    assert answer["earlier_sessions"] == wanted.earlier_sessions
    assert scores(answer) == pytest.approx([track.score for track in wanted.tracks], abs=1e-5)
    # With a third model, only it and the one before it have states.
    train_again(own, seed=9)
    third = server.post("/v1/admin/reload", {}, **HEADER).json["generation"]
    with sqlite3.connect(tmp_path / "state.sqlite") as store:
        kept = store.execute(
            "SELECT name FROM generations WHERE number IN (SELECT generation FROM users)"
        )
        names = {name for (name,) in kept}
    assert names == {came_back, third}


def test_two_reloads_at_once(server):
    with ThreadPoolExecutor(2) as pool, server.held():
        first = pool.submit(server.post, "/v1/admin/reload", {}, **HEADER)
        server.wait_for_waiting(1)
        second = server.post("/v1/admin/reload", {}, **HEADER)
    assert second.status == 503
    assert "a reload is under way" in second.error
    assert first.result().status == 200


def test_a_reload_comes_in_where_no_more_requests_may_wait(own, tmp_path):
    opened = opener(own, "live", store=str(tmp_path / "state.sqlite"), max_users=100)
    config = ServeConfig(token=TOKEN, access_log=False, limits=Limits(waiting=1))
    with served(opened, config) as server, ThreadPoolExecutor(2) as pool:
        with server.held():
            waiting = pool.submit(server.get, STILL, **HEADER)
            server.wait_for_waiting(1)
            reload = pool.submit(server.post, "/v1/admin/reload", {}, **HEADER)
            server.wait_for_waiting(2)
        assert [waiting.result().status, reload.result().status] == [200, 200]


def test_what_fails_beside_an_exchange_leaves_it_done(server, own):
    """Done once, and told so: the store of who answers would be closed otherwise."""
    generations = server.generations
    train_again(own, seed=7)

    def fail(_: Recommender) -> None:
        raise StoreError("no answer")

    with ThreadPoolExecutor(1) as pool:
        with server.held():
            reload = pool.submit(server.post, "/v1/admin/reload", {}, **HEADER)
            server.wait_for_waiting(1)
            failing = asyncio.run_coroutine_threadsafe(generations.worker.call(fail), server.loop)
            server.wait_for_waiting(2)
        assert reload.result().json["generation"] == generation_of(open_trained_run(own, "live"))
    with pytest.raises(UnavailableError):
        failing.result(60)
    assert server.get(STILL, **HEADER).status == 200


def files_open_below(folder: Path) -> int:
    """Of a store of states."""
    links = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
    return sum(link.startswith(f"{folder}/state.sqlite") for link in links)


def test_a_store_that_fails_leaves_the_model_before_and_nothing_open(
    server, own, tmp_path, monkeypatch
):
    train_again(own, seed=7)
    before = server.get(STILL, **HEADER).json
    open_files = files_open_below(tmp_path)

    def fail(*_: Any) -> None:
        raise StoreError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "commit", fail)
        answers = [server.post("/v1/admin/reload", {}, **HEADER) for _ in range(3)]
    assert {answer.status for answer in answers} == {409}
    assert "the store of states fails: no space" in answers[0].error
    # Of a file that another connection has locked, SQLite keeps one for the next that opens it.
    assert files_open_below(tmp_path) <= open_files + 1
    assert server.get(STILL, **HEADER).json == before


def test_a_model_that_is_trained_again_meanwhile_takes_no_states_away(
    server, own, tmp_path, monkeypatch
):
    train_again(own, seed=7)
    reloaded = generation_of(open_trained_run(own, "live"))
    warm_up = Recommender.warm_up

    def and_train(recommender: Recommender, batch: int) -> None:
        warm_up(recommender, batch)
        train_again(own, seed=8)

    with monkeypatch.context() as patch:
        patch.setattr(Recommender, "warm_up", and_train)
        assert server.post("/v1/admin/reload", {}, **HEADER).json["generation"] == reloaded
    assert server.get(STILL, **HEADER).json["earlier_sessions"] == 24
    with sqlite3.connect(tmp_path / "state.sqlite") as store:
        names = {name for (name,) in store.execute("SELECT name FROM generations")}
    assert reloaded in names


def test_no_history_is_told_from_other_sessions_than_the_models(server, own):
    path = path_of("user-1", "history")
    assert server.get(path, **HEADER).status == 200
    (own.root / "sessions").rename(own.root / "elsewhere")
    answer = server.get(path, **HEADER)
    assert answer.status == 503
    assert "reload" in answer.error
    (own.root / "elsewhere").rename(own.root / "sessions")
    assert server.get(path, **HEADER).status == 200


def test_who_stops_does_not_wait_for_the_model_to_open():
    go_on, is_open = threading.Event(), threading.Event()

    def opened() -> Recommender:
        go_on.wait(20)
        is_open.set()
        raise UserError("late")

    async def start_and_stop() -> None:
        generations = Generations(opened, ServeConfig(), Metrics())
        starting = asyncio.ensure_future(generations.start())
        await asyncio.sleep(0)
        starting.cancel()
        await generations.close()

    asyncio.run(start_and_stop())
    assert not is_open.is_set()
    go_on.set()
