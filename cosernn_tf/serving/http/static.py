"""The page for people and the API's description, from files; nothing comes from elsewhere."""

import mimetypes
from importlib import resources
from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import Response

_PAGE: Final = ("page.css", "page.js", "map.js", "icon.svg")
_SWAGGER: Final = ("swagger-ui-bundle.js", "swagger-ui.css")
"""Of Swagger UI, which the package fastapi-offline ships."""
_HEADERS: Final = {"Cache-Control": "no-cache"}


def add_static_files(app: FastAPI, *, page: bool) -> None:
    """Adds `/docs` and, if it is wanted, the page at `/`."""
    own = resources.files("cosernn_tf.serving") / "page"
    swagger = resources.files("fastapi_offline") / "static"
    _add(app, "/docs", own / "docs.html")
    _add(app, "/docs/docs.js", own / "docs.js")
    for name in _SWAGGER:
        _add(app, f"/docs/{name}", swagger / name)
    for name in _PAGE:
        _add(app, f"/page/{name}", own / name)
    if page:
        _add(app, "/", own / "page.html")


def _add(app: FastAPI, path: str, file: Any) -> None:
    """Serves a file, read once."""
    content = file.read_bytes()
    media_type = mimetypes.guess_type(file.name)[0]

    @app.get(path, include_in_schema=False)
    async def _() -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)
