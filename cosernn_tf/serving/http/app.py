"""The routes."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, Final

import orjson
from absl import logging
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from cosernn_tf import __version__
from cosernn_tf.errors import UserError
from cosernn_tf.serving.answers import RecommendRequest
from cosernn_tf.serving.http import answers, metrics
from cosernn_tf.serving.http.config import ServeConfig
from cosernn_tf.serving.http.gate import RELOAD, Gate
from cosernn_tf.serving.http.generations import Generations
from cosernn_tf.serving.http.requests import (
    BadRequestError,
    HistoryQuery,
    ListensBody,
    RecommendQuery,
    UsersQuery,
    check_device,
    check_not_ahead,
    sentence_of,
    start_of,
)
from cosernn_tf.serving.http.routing import Route, UserId
from cosernn_tf.serving.http.static import add_static_files
from cosernn_tf.serving.http.worker import UnavailableError
from cosernn_tf.serving.listens import Context, Outcome

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": answers.Error, "description": "No JSON, or no UTF-8."},
    401: {"model": answers.Error, "description": "The token is missing or wrong."},
    408: {"model": answers.Error, "description": "The body did not come in time."},
    413: {"model": answers.Error, "description": "The body is too large."},
    415: {"model": answers.Error, "description": "The body is not declared as JSON."},
    421: {"model": answers.Error, "description": "Asked by the name of another host."},
    422: {"model": answers.Error, "description": "Something in the request is wrong."},
    503: {"model": answers.Error, "description": "Not now: see Retry-After."},
    504: {"model": answers.Error, "description": "No answer within the time limit."},
}


_RELOAD_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    403: {"model": answers.Error, "description": "This server has no token."},
    409: {"model": answers.Error, "description": "It cannot be opened; the model before goes on."},
}


def create_app(generations: Generations, config: ServeConfig, measured: metrics.Metrics) -> ASGIApp:
    """The application, of which `generations` answers what is asked of a model."""
    app = FastAPI(
        title="cosernn_tf",
        version=__version__,
        summary="Tracks for the session that is about to start.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=_Json,
        # What is to be known of it, /metrics says; nothing is sent anywhere.
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
        responses=_REFUSALS,
    )
    app.router.route_class = Route
    _add_errors(app)
    # Routes are tried in this order.
    _add_users(app, generations, config)
    _add_listens(app, generations, measured)
    _add_health(app, generations, measured)
    _add_reload(app, generations, config)
    add_static_files(app, page=config.page)
    return Gate(app, config, measured)


class _Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return _Json({"error": message}, status, headers)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        first, *_ = errors = error.errors()
        if first["type"] == "json_invalid":
            return _error(400, f"the body is no JSON ({first['ctx']['error']}): send JSON in UTF-8")
        return _error(422, sentence_of(errors))

    @app.exception_handler(BadRequestError)
    async def _(request: Request, error: BadRequestError) -> Response:
        return _error(error.status, str(error))

    @app.exception_handler(UnavailableError)
    async def _(request: Request, error: UnavailableError) -> Response:
        return _error(503, str(error), {"Retry-After": str(error.retry_after)})

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        message = {
            404: "there is nothing at this path: see /docs for what there is",
            405: f"this path does not take {request.method[:16]}: see /docs for what it takes",
        }.get(error.status_code, error.detail)
        return _error(error.status_code, message, error.headers)

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> Response:
        return _error(500, "the server has failed, and its log says where: please report it")


def _add_health(app: FastAPI, generations: Generations, measured: metrics.Metrics) -> None:
    @app.get("/healthz", tags=["health"])
    async def healthz() -> answers.Status:
        """Whether the process lives."""
        return answers.Status(status="alive")

    @app.get("/readyz", tags=["health"])
    async def readyz() -> answers.Status:
        """Whether recommendations are answered."""
        _ = generations.current
        return answers.Status(status="ready")

    @app.get("/metrics", tags=["health"], response_class=Response)
    async def prometheus() -> Response:
        """For Prometheus, as text."""
        return Response(measured.text(), media_type=metrics.CONTENT_TYPE)


def _add_listens(app: FastAPI, generations: Generations, measured: metrics.Metrics) -> None:
    @app.post("/v1/listens", tags=["listens"], response_model=answers.Observed)
    async def observe(body: ListensBody) -> Response:
        """Stores listens, all or none of them; they are durable when this is answered.

        Sent again, they count as duplicates. A listen of a session that is closed is late: it is
        kept for the next sessionise job, and not part of the user's state.
        """
        check_not_ahead(body.listens)
        listens = [listen.to_listen() for listen in body.listens]
        outcomes = await generations.worker.observe(listens)
        knows = generations.current.knows_track
        unknown = sum(not knows(listen.track_id) for listen in listens)
        counts = {outcome: outcomes.count(outcome) for outcome in Outcome}
        for outcome, count in counts.items():
            measured.listens.labels(outcome.value).inc(count)
        measured.unknown_tracks.inc(unknown)
        return _Json(
            {
                "accepted": counts[Outcome.ACCEPTED],
                "duplicates": counts[Outcome.DUPLICATE],
                "late": counts[Outcome.LATE],
                "unknown_tracks": unknown,
            }
        )


def _add_users(app: FastAPI, generations: Generations, config: ServeConfig) -> None:
    @app.get(
        "/v1/users/{user_id:any}/recommendations",
        tags=["users"],
        response_model=answers.Recommended,
    )
    async def recommend(user_id: UserId, query: Annotated[RecommendQuery, Query()]) -> Response:
        """The tracks nearest to what the user will listen to in the session that starts."""
        check_device(query.device)
        context = Context(start_of(query.at), query.device, query.stream_source)
        answer = await generations.worker.recommend(
            RecommendRequest(user_id, context, query.k, query.exclude_heard)
        )
        if not query.embedding:
            return _Json(answer)
        predicted = await generations.worker.call(lambda model: model.predict(user_id, context))
        return _Json({**answer.to_dict(), "embedding": predicted.embedding.tolist()})

    @app.get("/v1/users/{user_id:any}/history", tags=["users"], response_model=answers.History)
    async def history(user_id: UserId, query: Annotated[HistoryQuery, Query()]) -> Response:
        """The user's last sessions, the open one included."""
        model, listens = await generations.worker.call(
            lambda model: (model, model.store.listens(user_id))
        )
        # It reads the file that the user is in: nobody else is to wait for that.
        try:
            sessions = await asyncio.to_thread(model.history, user_id, query.last, listens=listens)
        except UserError as error:
            logging.error("No history of anybody before a reload: %s", error)
            raise UnavailableError(
                "the files of the session sequences are others than those that the model was "
                "opened with: reload it"
            ) from error
        return _Json({"user": user_id, "sessions": sessions})

    @app.get("/v1/map", tags=["page"], response_model=answers.TrackMap)
    async def track_map() -> Response:
        """The track space in two dimensions, and a sample of the tracks in it."""
        return Response(generations.current.map, media_type="application/json")

    if config.page:

        @app.get("/v1/users", tags=["page"], response_model=answers.Users)
        async def users(query: Annotated[UsersQuery, Query()]) -> Response:
            """A few of the users of the log."""
            return _Json({"users": generations.current.users[: query.count]})


def _add_reload(app: FastAPI, generations: Generations, config: ServeConfig) -> None:
    @app.post(RELOAD, tags=["admin"], response_model=answers.Reloaded, responses=_RELOAD_REFUSALS)
    async def reload() -> Response:
        """Opens the run and its index again; it answers when they have taken over.

        Until then, and if they cannot be opened, the model before answers. Needs a token.
        """
        if config.token is None:
            raise BadRequestError(
                "a reload by HTTP needs a server with a token: set COSERNN_TOKEN, or send the "
                "process SIGHUP",
                status=403,
            )
        try:
            generation, seconds = await asyncio.shield(asyncio.ensure_future(generations.reload()))
        except UserError as error:
            raise BadRequestError(f"the model before goes on: {error}", status=409) from error
        logging.info("Reloaded in %.1f s", seconds)
        return _Json({"run": generation.run, "generation": generation.name, "seconds": seconds})
