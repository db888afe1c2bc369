"""How the routes read a request: as FastAPI has them, but for JSON, queries and ids."""

from typing import Annotated, Any, Final, get_type_hints
from urllib.parse import parse_qsl

import orjson
from fastapi import Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.convertors import Convertor, register_url_convertor

from cosernn_tf.serving.http.requests import MAX_ID_LENGTH, BadRequestError

UserId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=MAX_ID_LENGTH,
        description="As in the log, percent-encoded; one that nobody knows is a new user.",
    ),
]
_USER_ID: Final[TypeAdapter[str]] = TypeAdapter(UserId)


class _AnyText(Convertor[str]):
    """Of a path: slashes, as Starlette's own `path` takes them, and line ends, too."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any", _AnyText())


class _JsonRequest(Request):
    async def json(self) -> Any:
        # Refuses NaN, infinity and lone surrogates, which Python's own parser takes.
        return orjson.loads(await self.body())


class Route(APIRoute):
    """Reads JSON by orjson, and refuses a query parameter that is given twice.

    An endpoint may take a `user_id` of the path and a `query`, a model: FastAPI only describes it
    then. It would look at one field of the model after the other, at each request, which takes it
    longer than all else that an answer needs of the event loop.
    """

    def get_route_handler(self) -> Any:
        handler = super().get_route_handler()
        types = get_type_hints(self.endpoint)
        model = types.get("query")
        assert model is None or types.keys() <= {"user_id", "query", "return"}

        async def handle(request: Request) -> Response:
            query = _query_of(request)
            if model is None:
                return await handler(_JsonRequest(request.scope, request.receive))
            arguments = dict(request.path_params)
            if "user_id" in arguments:
                _read(_USER_ID.validate_python, arguments["user_id"], "path", "user_id")
            arguments["query"] = _read(model.model_validate, query, "query")
            answer: Response = await self.endpoint(**arguments)
            return answer

        return handle


def _query_of(request: Request) -> dict[str, str]:
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = dict(pairs)
    if len(query) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequestError(f"{twice[:64]} is given twice: give it once")
    return query


def _read(validate: Any, value: Any, *place: str) -> Any:
    """What pydantic makes of a value; its errors as FastAPI has them, with where they are."""
    try:
        return validate(value)
    except ValidationError as error:
        raise RequestValidationError(
            [{**one, "loc": (*place, *one["loc"])} for one in error.errors()]
        ) from error
