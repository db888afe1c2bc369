"""Times a `Recommender` in this process: its calls, its memory, all users at once."""

import gc
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from absl import logging

from benchmarks.serving_workspace import track_name, user_name
from cosernn_tf.serving.answers import RecommendRequest
from cosernn_tf.serving.everyone import recommend_all
from cosernn_tf.serving.generation import generation_of
from cosernn_tf.serving.listens import Context, Listen
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.serving.sqlite_store import SqliteStore
from cosernn_tf.serving.store import MemoryStore
from cosernn_tf.workspace import Workspace

BATCH: Final = 64
_K: Final = 20
_AFTER_THE_LOG: Final = 1_559_500_000
"""UTC second."""
_NEXT_SESSION: Final = 3_000
"""Seconds."""
_LISTEN: Final = 200
_WARM_UP: Final = 50
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class InProcessConfig:
    """What to measure."""

    workspace: Path
    run: str
    num_users: int
    num_tracks: int
    folder: Path
    """For a store and a file of recommendations."""
    calls: int = 2_000
    """Timed of each kind; of batches a tenth."""
    seed: int = 1


def measure_in_process(config: InProcessConfig) -> dict[str, Any]:
    """Latencies in milliseconds, bytes a user, and users a second."""
    workspace = Workspace(config.workspace)
    recommender = Recommender.open(workspace, config.run, max_users=config.num_users)
    sessions = sum(shard.sessions for shard in recommender.run.sessions.manifest.shards)
    started = time.perf_counter()
    recommender.bootstrap()
    bootstrap_seconds = time.perf_counter() - started
    names = list(map(user_name, range(config.num_users)))
    context = Context(datetime.fromtimestamp(_AFTER_THE_LOG, UTC), "mobile")

    before = _resident_bytes()
    for start in range(0, len(names), 1_000):
        part = names[start : start + 1_000]
        recommender.predict_many(part, [context] * len(part))
    resident = (_resident_bytes() - before) / config.num_users

    timer = _Timer(config, names)
    calls = timer.answers(recommender, context)
    calls |= timer.listens(recommender, "memory")
    store = config.folder / "in-process.sqlite"
    for path in config.folder.glob(f"{store.name}*"):
        path.unlink()
    durable = Recommender(
        recommender.run,
        recommender.index,
        store=SqliteStore.open(store, generation=generation_of(recommender.run)),
        max_users=config.num_users,
    )
    calls |= timer.listens(durable, "SQLite")
    durable.store.close()

    written = recommend_all(recommender, [context], config.folder / "all-users.parquet", k=_K)
    return {
        "calls": calls,
        "bytes_per_user": {
            "records": recommender.bytes_per_user,
            "resident": round(resident),
            "stored": _mean_stored(recommender, names),
        },
        "bootstrap": {
            "sessions": sessions,
            "seconds": bootstrap_seconds,
            "sessions_per_second": sessions / bootstrap_seconds,
        },
        "all_users": {
            "users": written.users,
            "seconds": written.seconds,
            "users_per_second": written.users / written.seconds,
        },
    }


class _Timer:
    def __init__(self, config: InProcessConfig, names: Sequence[str]) -> None:
        self._config = config
        self._rng = np.random.default_rng(config.seed)
        self._names = names

    def answers(self, recommender: Recommender, context: Context) -> dict[str, dict[str, float]]:
        """Of predictions and recommendations."""
        asked = {
            "predict": lambda users: recommender.predict(users[0], context),
            "recommend": lambda users: recommender.recommend(users[0], context, _K),
            "recommend, exclude_heard": lambda users: recommender.recommend(
                users[0], context, _K, exclude_heard=True
            ),
        }
        batches = {
            f"predict, {BATCH} users": lambda users: recommender.predict_many(
                users, [context] * BATCH
            ),
            f"recommend, {BATCH} users": lambda users: recommender.recommend_many(
                [RecommendRequest(user, context, _K) for user in users]
            ),
        }
        return {
            **{name: self._timed(call, users=1) for name, call in asked.items()},
            **{name: self._timed(call, users=BATCH) for name, call in batches.items()},
        }

    def listens(self, recommender: Recommender, store: str) -> dict[str, dict[str, float]]:
        """Of listens that come in the order of time: one that starts a session, and the next."""
        clock = _AFTER_THE_LOG

        def observe(users: Sequence[str], seconds: int) -> None:
            nonlocal clock
            clock += seconds
            tracks = self._rng.integers(0, self._config.num_tracks, len(users)).tolist()
            recommender.observe_many(
                [
                    Listen(user, track_name(track), clock, ms_played=100_000)
                    for user, track in zip(users, tracks, strict=True)
                ]
            )

        found = {
            f"observe, the first of a session ({store})": self._timed(
                lambda users: observe(users, _NEXT_SESSION), users=1
            ),
            f"observe, {BATCH} users' first of a session ({store})": self._timed(
                lambda users: observe(users, _NEXT_SESSION), users=BATCH
            ),
        }
        # Users in a session of some listens.
        few = self._names[:100]
        for _ in range(5):
            observe(few, _LISTEN)
        name = f"observe, within a session ({store})"
        return {**found, name: self._timed(lambda users: observe(users, 1), users=1, among=few)}

    def _timed(
        self,
        call: Callable[[Sequence[str]], object],
        *,
        users: int,
        among: Sequence[str] | None = None,
    ) -> dict[str, float]:
        """Of calls with so many random users each, milliseconds."""
        among = self._names if among is None else among
        number = self._config.calls if users == 1 else max(1, self._config.calls // 10)
        seconds = np.empty(number)
        for count in range(-min(_WARM_UP, number), number):
            chosen = self._rng.choice(len(among), users, replace=False).tolist()
            names = [among[place] for place in chosen]
            started = time.perf_counter()
            call(names)
            seconds[max(count, 0)] = time.perf_counter() - started
        quantiles = 1_000 * np.percentile(seconds, [50, 90, 99])
        found = dict(zip(("p50_ms", "p90_ms", "p99_ms"), quantiles.tolist(), strict=True))
        logging.info("%d calls of %d users: %s", number, users, found)
        return {"calls": number, **found, "max_ms": float(1_000 * seconds.max())}


def _mean_stored(recommender: Recommender, names: Sequence[str]) -> int:
    """Bytes that the store has of a user's state, on average of some."""
    assert isinstance(recommender.store, MemoryStore)
    stored = recommender.store.load(names[:1_000])
    return round(float(np.mean([len(user.state or b"") for user in stored.values()])))


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def table_of(result: dict[str, Any]) -> list[list[str]]:
    """Rows of a table of what `measure_in_process` gives, the header first."""
    rows = [["call", "p50", "p90", "p99", "longest"]]
    for name, found in result["calls"].items():
        times = [found[f"{key}_ms"] for key in ("p50", "p90", "p99", "max")]
        rows.append([name, *(f"{milliseconds:.2f} ms" for milliseconds in times)])
    return rows


def notes_of(result: dict[str, Any]) -> str:
    """What is in no row."""
    of_user, bootstrap, all_users = (
        result[name] for name in ("bytes_per_user", "bootstrap", "all_users")
    )
    return (
        f"A user takes {of_user['records']:,} bytes of records in memory, "
        f"{of_user['resident']:,} in all, and {of_user['stored']:,} in a store. "
        f"States from the session sequences: {bootstrap['sessions_per_second']:,.0f} sessions/s "
        f"({bootstrap['seconds']:.0f} s). --all_users: {all_users['users_per_second']:,.0f} "
        f"users/s ({all_users['seconds']:.0f} s), from the session sequences on."
    )
