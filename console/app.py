"""The web application: routes, error answers and the headers that every answer carries. One factory, no globals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from console import api, pages
from console.config import ConsoleSettings
from console.fewshot import api as fewshot_api
from console.history import api as history_api
from console.history.views import HistoryViews
from console.views import Views
from storage.database import Database
from storage.errors import (
    CursorInvalid,
    DatabaseUnavailable,
    IllegalTransition,
    ItemRefused,
    ObjectMissing,
    OncueError,
    QuestionInvalid,
    RecordMissing,
    WriteConflict,
)
from storage.objects import ObjectStore

_HERE = Path(__file__).resolve().parent
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Pages hold patient data: nothing of them may stay in a cache.
    "Cache-Control": "no-store",
}
_ONLY_READ = frozenset({"GET", "HEAD", "OPTIONS"})
_STATUS: dict[type[OncueError], int] = {
    RecordMissing: 404,
    ObjectMissing: 404,
    CursorInvalid: 400,
    IllegalTransition: 409,
    ItemRefused: 409,
    QuestionInvalid: 422,
    DatabaseUnavailable: 503,
    WriteConflict: 503,
}


def create_app(
    database: Database, objects: ObjectStore, settings: ConsoleSettings, *, destinations: tuple[str, ...] = ()
) -> FastAPI:
    """Build the application on an open database and object store.

    Most routes only read. A request can have a parametric map written and sent to one of ``destinations``, and the
    few-shot workflow takes requests to fit, to evaluate and to promote an adapter.
    """
    # The interactive documentation loads scripts from elsewhere, so it is off; the schema itself is there.
    app = FastAPI(title="oncue", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    views = Views(database, objects, destinations, settings.worklist_hours)
    app.include_router(api.router(views))
    app.include_router(fewshot_api.router(database))
    history = HistoryViews(database)
    app.include_router(history_api.router(history))
    app.include_router(pages.router(views, history))
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    app.middleware("http")(_from_here_alone)
    app.middleware("http")(_with_headers)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.allowed_hosts), www_redirect=False)
    app.add_exception_handler(OncueError, _answer_error)
    return app


async def _from_here_alone(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse what a page of another site has a browser send: a button there must change nothing here."""
    origin = request.headers.get("origin")
    is_foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if is_foreign and request.method not in _ONLY_READ:
        return JSONResponse({"code": "foreign_origin", "message": "sent by a page of another site"}, status_code=403)
    return await call_next(request)


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(_HEADERS)
    return response


async def _answer_error(request: Request, error: Exception) -> Response:
    """Answer one of our errors as JSON or as a page, with its code and its message."""
    if not isinstance(error, OncueError):
        raise error
    status = _STATUS.get(type(error), 500)
    if request.url.path.startswith("/api"):
        return JSONResponse({"code": error.code, "message": str(error)}, status_code=status)
    return pages.error_page(status, error.code, str(error))
