"""The web application: routes, error answers and the headers that every answer carries. One factory, no globals."""

from __future__ import annotations

import http
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from console import api, pages, request_errors, sign_in
from console.access.asked_host import path_of
from console.access.authentication import Authentication
from console.access.guard import ONLY_READ, AccessGuard, AccessPolicy
from console.access.passing import AlwaysSaid, CheckedFirst
from console.config import ConsoleSettings
from console.destinations import pages as destination_pages
from console.dicomweb import retrieving, searching, storing
from console.dicomweb.origins import ViewerOrigins
from console.dicomweb.resources import Resources
from console.dicomweb.store_inlet import StoreInlet
from console.fewshot import api as fewshot_api
from console.history import api as history_api
from console.history.views import HistoryViews
from console.request_errors import RequestRefused
from console.schemas.errors import ErrorForm
from console.urgent import api as triage_api
from console.urgent.views import UrgentViews
from console.views import Views
from console.workitems import api as workitems_api
from console.workitems.views import WorkitemViews
from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import BodyBroken
from storage.access_errors import AccessRefused, ForeignOrigin, TokenMissing, TooManyAttempts
from storage.database import Database
from storage.deletion_errors import ObjectDeleted
from storage.errors import (
    CursorInvalid,
    DatabaseUnavailable,
    IllegalTransition,
    ObjectMissing,
    OncueError,
    QuestionInvalid,
    RecordMissing,
    WriteConflict,
)
from storage.fewshot.errors import ItemRefused
from storage.objects import ObjectStore

_HERE = Path(__file__).resolve().parent
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer" a browser sends the forms of our own pages with the origin "null", as another site's.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Pages hold patient data: nothing of them may stay in a cache.
    "Cache-Control": "no-store",
}
_STATUS: dict[type[OncueError], int] = {
    AccessRefused: 401,
    ForeignOrigin: 403,
    TooManyAttempts: 429,
    RecordMissing: 404,
    ObjectDeleted: 410,
    ObjectMissing: 404,
    CursorInvalid: 400,
    IllegalTransition: 409,
    ItemRefused: 409,
    QuestionInvalid: 422,
    BodyBroken: 400,
    DatabaseUnavailable: 503,
    WriteConflict: 503,
}


def create_app(
    database: Database,
    objects: ObjectStore,
    settings: ConsoleSettings,
    *,
    destinations: tuple[str, ...] = (),
    gateway: GatewaySettings | None = None,
) -> FastAPI:
    """Build the application on an open database and object store.

    Most routes only read. A request with a token can have a parametric map written and sent to one of
    ``destinations``, the few-shot workflow takes requests to fit, to evaluate and to promote an adapter, and images can
    be stored, within the bounds of ``gateway``.
    """
    # The interactive documentation loads scripts from elsewhere, so it is off; the schema itself is there.
    inlet = StoreInlet(database, objects, gateway or GatewaySettings())
    app = FastAPI(
        title="oncue",
        lifespan=_until_the_end(inlet),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses={"4XX": {"model": ErrorForm, "description": "What is wrong with the request"}},
    )
    views = Views(database, objects, destinations, settings.worklist_hours)
    app.include_router(api.router(views))
    app.include_router(fewshot_api.router(database))
    history = HistoryViews(database)
    app.include_router(history_api.router(history))
    app.include_router(destination_pages.router(views))
    app.include_router(searching.router(database))
    app.include_router(retrieving.router(Resources.of(database, objects)))
    app.include_router(workitems_api.router(WorkitemViews(database)))
    app.state.stop_storing = inlet.stop_soon
    app.include_router(storing.router(inlet, storing.StoreTerms(settings.stored_lane, settings.stored_megabytes << 20)))
    urgent = UrgentViews(database)
    app.include_router(triage_api.router(urgent))
    app.include_router(pages.router(views, history, urgent))
    authentication = Authentication(database, session_lifetime=timedelta(hours=settings.session_hours))
    app.include_router(sign_in.router(authentication))
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    policy = AccessPolicy(is_reading_open=not settings.asks_readers)
    app.add_middleware(CheckedFirst, check=AccessGuard(authentication, policy, answer=_answer_refusal))
    app.add_middleware(CheckedFirst, check=_from_here_alone)
    app.add_middleware(AlwaysSaid, headers=_HEADERS)
    app.add_middleware(ViewerOrigins, origins=frozenset(settings.dicomweb_origins))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.allowed_hosts), www_redirect=False)
    app.add_exception_handler(OncueError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_error)
    return app


def _until_the_end(inlet: StoreInlet) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return what has the inlet end with the server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(inlet.stop)

    return lifespan


async def _from_here_alone(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse what a page of another site has a browser send: a button there must change nothing here."""
    origin = request.headers.get("origin")
    is_foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if is_foreign and request.method not in ONLY_READ:
        return JSONResponse({"code": "foreign_origin", "message": "sent by a page of another site"}, status_code=403)
    return await call_next(request)


async def _answer_error(request: Request, error: Exception) -> Response:
    """Answer one of our errors, or of the framework's, as JSON or as a page, with its code and its message."""
    if isinstance(error, HTTPException):
        error = request_errors.of_routing(error)
    elif isinstance(error, RequestValidationError):
        error = request_errors.of_validation(error)
    if not isinstance(error, OncueError):
        raise error
    return _answer(request, error)


def _answer_refusal(request: Request, error: OncueError) -> Response:
    """Answer what the guard refused: a page that only somebody with a token may read leads to the sign-in."""
    if isinstance(error, TokenMissing) and request.method in ONLY_READ and not _is_for_programs(request):
        return sign_in.way_in(request)
    return _answer(request, error)


def _answer(request: Request, error: OncueError) -> Response:
    status = _status(error)
    if _is_for_programs(request):
        answer: Response = JSONResponse({"code": error.code, "message": str(error)}, status_code=status)
    else:
        answer = pages.error_page(request, status, error)
    if status == http.HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="oncue"'
    if isinstance(error, TooManyAttempts):
        answer.headers["Retry-After"] = str(error.seconds)
    if isinstance(error, RequestRefused):
        answer.headers.update(error.headers)
    return answer


def _status(error: OncueError) -> int:
    if isinstance(error, RequestRefused):
        return error.http_status
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def _is_for_programs(request: Request) -> bool:
    return path_of(request).startswith(("/api", "/dicom-web"))
