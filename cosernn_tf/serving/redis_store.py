"""A store in a Redis server, for who has one: a commit is one MULTI/EXEC.

How durable it is, the server decides: with `appendonly yes` and `appendfsync always` nothing that
was acknowledged is lost, with `everysec` a second of it, without `appendonly` all since the last
snapshot. One server process of ours writes to a database of Redis at a time.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from cosernn_tf.errors import UserError
from cosernn_tf.serving.listens import FIELDS, Key, Listen, values
from cosernn_tf.serving.store import StoredUser, StoreError, UserUpdate

STORE_VERSION: Final = 1

_PREFIX: Final = b"cosernn:"
_VERSION: Final = _PREFIX + b"version"
_COMPLETE: Final = _PREFIX + b"complete"
"""Set of generations that are."""
_STATE: Final = _PREFIX + b"state:"
_SECONDS: Final = 10.0
_FORGOTTEN_AT_ONCE: Final = 1_000
"""Keys that are looked at in one round trip."""


class RedisStore:
    """See `store.StateStore`; generations share a database.

    Of a user, `listens` is a hash by key, `times` a sorted set of these keys by timestamp, and
    `state`, of each generation, a hash of `state` and `open_from`.
    """

    def __init__(self, client: Any, generation: str) -> None:
        self._client = client
        self._generation = generation.encode()

    @classmethod
    def open(cls, url: str, *, generation: str) -> "RedisStore":
        """Connects to `redis://host:port/database`, `rediss://…` or `unix://path?db=0`.

        Raises:
            UserError: There is no such server, it holds something else under our keys, or the
                package redis is not installed.
        """
        try:
            import redis
        except ImportError as error:
            raise UserError(
                "--store=redis://… needs the package redis: pip install 'cosernn_tf[serve]'"
            ) from error
        try:
            client = redis.Redis.from_url(
                url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS
            )
            client.setnx(_VERSION, STORE_VERSION)
            version = client.get(_VERSION)
        except (redis.RedisError, ValueError) as error:
            raise UserError(f"--store: Redis does not answer ({error}): is it started?") from error
        if version != str(STORE_VERSION).encode():
            raise UserError(
                f"--store: this database of Redis has version {version!r} of our keys, and this is "
                f"version {STORE_VERSION}: use another database"
            )
        return cls(client, generation)

    @contextmanager
    def _pipeline(self, *, transaction: bool) -> Iterator[Any]:
        import redis

        try:
            with self._client.pipeline(transaction=transaction) as pipeline:
                yield pipeline
        except redis.RedisError as error:
            # Before these words redis-py quotes the command, and with it a user's id.
            _, _, what = str(error).rpartition("of pipeline caused error: ")
            raise StoreError(f"Redis: {what}") from None

    def _asked(self, ask: Any) -> list[Any]:
        """What several questions are answered, in one round trip."""
        with self._pipeline(transaction=False) as pipeline:
            ask(pipeline)
            answers: list[Any] = pipeline.execute()
        return answers

    def _state(self, user: str) -> bytes:
        return _STATE + self._generation + b":" + user.encode()

    def load(self, users: Sequence[str]) -> dict[str, StoredUser]:
        def states(pipeline: Any) -> None:
            for user in users:
                pipeline.hmget(self._state(user), "state", "open_from")

        kept = dict(zip(users, self._asked(states), strict=True))

        def times(pipeline: Any) -> None:
            for user, (_, open_from) in kept.items():
                pipeline.zrangebyscore(_times(user), int(open_from or 0), "+inf")

        open_keys = dict(zip(kept, self._asked(times), strict=True))
        found: dict[str, list[Listen]] = {user: [] for user in kept}
        for listen, is_late in self._listens(
            [(user, key) for user, keys in open_keys.items() for key in keys]
        ):
            if not is_late:
                found[listen.user_id].append(listen)
        return {
            user: StoredUser(state, tuple(found[user]))
            for user, (state, _) in kept.items()
            if state is not None or found[user]
        }

    def _listens(self, keys: Sequence[tuple[str, bytes]]) -> list[tuple[Listen, bool]]:
        """Of users and keys, those that are there; with whether each is late."""

        def ask(pipeline: Any) -> None:
            for user, key in keys:
                pipeline.hget(_of_user(user), key)

        return [_from_json(data) for data in self._asked(ask) if data is not None]

    def commit(self, updates: Sequence[UserUpdate]) -> None:
        import orjson

        with self._pipeline(transaction=True) as pipeline:
            for update in updates:
                for listens, is_late in ((update.listens, False), (update.late, True)):
                    for listen in listens:
                        key = _key(listen.track_id, listen.timestamp)
                        row = orjson.dumps([is_late, *values(listen)])
                        pipeline.hset(_of_user(listen.user_id), key, row)
                        pipeline.zadd(_times(listen.user_id), {key: listen.timestamp})
                changed: dict[str, Any] = {}
                if update.state is not None:
                    changed["state"] = update.state
                if update.open_from is not None:
                    changed["open_from"] = update.open_from
                if changed:
                    pipeline.hset(self._state(update.user), mapping=changed)
            pipeline.execute()

    def known(self, keys: Sequence[Key]) -> list[bool]:
        def ask(pipeline: Any) -> None:
            for user, track, timestamp in keys:
                pipeline.hexists(_of_user(user), _key(track, timestamp))

        return [bool(found) for found in self._asked(ask)]

    def listens(self, user: str) -> list[Listen]:
        (rows,) = self._asked(lambda pipeline: pipeline.hvals(_of_user(user)))
        return [listen for listen, is_late in map(_from_json, rows) if not is_late]

    def is_complete(self) -> bool:
        (found,) = self._asked(lambda pipeline: pipeline.sismember(_COMPLETE, self._generation))
        return bool(found)

    def complete(self) -> None:
        with self._pipeline(transaction=True) as pipeline:
            pipeline.sadd(_COMPLETE, self._generation)
            pipeline.execute()

    def keep_only(self, generations: Collection[str]) -> None:
        kept = {name.encode() for name in generations}
        cursor = None
        while cursor != 0:
            ((cursor, keys),) = self._asked(
                lambda ask, at=cursor or 0: ask.scan(at, _STATE + b"*", _FORGOTTEN_AT_ONCE)
            )
            old = [key for key in keys if key[len(_STATE) :].partition(b":")[0] not in kept]
            if old:
                self._asked(lambda ask, keys=old: ask.unlink(*keys))
        (complete,) = self._asked(lambda ask: ask.smembers(_COMPLETE))
        if complete - kept:
            self._asked(lambda ask: ask.srem(_COMPLETE, *(complete - kept)))

    def close(self) -> None:
        self._client.close()


def _of_user(user: str) -> bytes:
    return _PREFIX + b"listens:" + user.encode()


def _times(user: str) -> bytes:
    return _PREFIX + b"times:" + user.encode()


def _key(track: str, timestamp: int) -> bytes:
    return b"%d:" % timestamp + track.encode()


def _from_json(data: bytes) -> tuple[Listen, bool]:
    import orjson

    is_late, *row = orjson.loads(data)
    return Listen(**dict(zip(FIELDS, row, strict=True))), is_late
