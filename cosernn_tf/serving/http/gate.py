"""What stands before the routes: who may ask, how much, how long; and what is told of it."""

import asyncio
import hmac
import re
import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

import orjson
from absl import logging
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cosernn_tf.serving.http.config import ServeConfig, is_loopback
from cosernn_tf.serving.http.metrics import Metrics

RELOAD: Final = "/v1/admin/reload"

_OPEN: Final = re.compile(r"/(healthz|readyz|docs(/.*)?|openapi\.json|page/.*)?")
"""Paths that tell nothing of users, and so need no token."""

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_DRAINED_BYTES: Final = 64_000_000
_NO_STORE: Final = (b"cache-control", b"no-store")
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI styles its elements one by one.
_POLICY_OF_DOCS: Final = _POLICY.replace(b"style-src 'self'", b"style-src 'self' 'unsafe-inline'")


class _RefusedError(HTTPException):
    """Of a kind that FastAPI lets through when it is raised while a body is read."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, message, headers)


class Gate:
    """ASGI middleware: token, limits, headers, metrics and the access log."""

    def __init__(self, app: ASGIApp, config: ServeConfig, metrics: Metrics) -> None:
        self._app = app
        self._config = config
        self._metrics = metrics
        self._token = config.token.encode() if config.token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.monotonic()
        answer = _Answer(scope, send)
        body = _Body(receive, scope["headers"], self._config.limits.body_bytes)
        try:
            self._check(scope, has_body=not body.is_whole)
            # A reload takes as long as it takes.
            seconds = None if scope["path"] == RELOAD else self._config.limits.seconds
            async with asyncio.timeout(seconds):
                await body.check()
                await self._app(scope, body, answer)
        except _RefusedError as refused:
            await answer.refuse(refused)
        except TimeoutError:
            await answer.refuse(self._too_slow(is_whole=body.is_whole))
        finally:
            self._tell(scope, answer, time.monotonic() - start)

    def _check(self, scope: Scope, *, has_body: bool) -> None:
        headers = dict(scope["headers"])
        for part in ("raw_path", "query_string"):
            try:
                unquote_to_bytes(scope[part]).decode()
            except UnicodeDecodeError as error:
                where = "path" if part == "raw_path" else "query"
                raise _RefusedError(
                    400, f"the {where} is no UTF-8: percent-encode the bytes of UTF-8"
                ) from error
        if _OPEN.fullmatch(scope["path"]):
            return
        if self._token is not None:
            self._check_token(headers.get(b"authorization", b""))
        elif self._config.is_local and not is_loopback(_host(headers.get(b"host", b""))):
            # A page from elsewhere may have its own name point to this machine.
            raise _RefusedError(
                421, "this server is asked by names of its own machine only: use http://localhost"
            )
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if has_body and kind != b"application/json":
            raise _RefusedError(415, "the body is no JSON: send Content-Type: application/json")

    def _check_token(self, header: bytes) -> None:
        scheme, _, given = header.partition(b" ")
        assert self._token is not None
        # Compared in any case, so that time tells nothing.
        is_right = hmac.compare_digest(given.strip(), self._token)
        if scheme.lower() != b"bearer" or not is_right:
            raise _RefusedError(
                401,
                "the token is missing or wrong: send the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )

    def _too_slow(self, *, is_whole: bool) -> _RefusedError:
        seconds = f"{self._config.limits.seconds:g} seconds"
        if not is_whole:
            return _RefusedError(408, f"the body did not come within {seconds}: send it at once")
        return _RefusedError(
            504,
            f"there was no answer within {seconds}: try again (listens may have been stored; "
            "sent again, they count as duplicates)",
        )

    def _tell(self, scope: Scope, answer: "_Answer", seconds: float) -> None:
        # Never the path itself: it has ids.
        route = getattr(scope.get("route"), "path_format", None) or "none"
        method = scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other"
        self._metrics.requests.labels(route, method, answer.status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if self._config.access_log:
            logging.info("%s %s %d %.1f ms", method, route, answer.status, 1000 * seconds)
        if logging.vlog_is_on(1):
            logging.vlog(1, "%r %r", scope["raw_path"], scope["query_string"])


class _Body:
    """Receives a body, up to so many bytes."""

    def __init__(
        self, receive: Receive, headers: Iterable[tuple[bytes, bytes]], limit: int
    ) -> None:
        named = dict(headers)
        self._receive = receive
        self._length = int(named.get(b"content-length", b"0"))
        self._limit = limit
        self._received = 0
        self.is_whole = self._length == 0 and b"transfer-encoding" not in named
        """All of it has come."""

    async def check(self) -> None:
        """Refuses one that says that it is too large."""
        if self._length > self._limit:
            # Who still sends does not read an answer: what is not too much is thrown away first.
            while self._length <= _DRAINED_BYTES and not self.is_whole:
                message = await self._receive()
                self.is_whole = not message.get("more_body", False)
            raise self._too_large()

    def _too_large(self) -> _RefusedError:
        return _RefusedError(
            413,
            f"the body has more than {self._limit:,} bytes: send the listens in several requests",
            {"Connection": "close"},
        )

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self.is_whole = not message.get("more_body", False)
            if self._received > self._limit:
                raise self._too_large()
        return message


class _Answer:
    """Sends an answer with headers of its own, and remembers its status."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._headers = list(_HEADERS)
        path = scope["path"]
        if path.startswith("/docs"):
            self._headers.append((b"content-security-policy", _POLICY_OF_DOCS))
        else:
            self._headers.append((b"content-security-policy", _POLICY))
        if path.startswith("/v1/users") or path == "/v1/listens":
            self._headers.append(_NO_STORE)
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)

    async def refuse(self, refused: _RefusedError) -> None:
        if self.status:  # the answer has begun: it can only be cut
            raise refused
        body = orjson.dumps({"error": refused.detail})
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        headers |= refused.headers or {}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self({"type": "http.response.start", "status": refused.status_code, "headers": raw})
        await self({"type": "http.response.body", "body": body})


def _host(header: bytes) -> str:
    """The name in a Host header, without its port or brackets."""
    text = header.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]
