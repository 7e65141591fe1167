"""The probe of the routes: whether their file is right, and whether somebody serves each of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlalchemy.orm import Session

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from console.routes.routes_file import read_routes
from storage import processes
from storage.database import utc_now
from storage.errors import RecordMissing
from storage.fewshot import promotions, tasks
from storage.processes import Served
from storage.routes.route import Route

_SHORT = 12
_LABEL = "label"
"""The analyser that workers have who classify."""


def probe_routes(installation: Installation) -> Iterator[ExaminedPart]:
    """Read the routes in force, and look for each whether its pool, its analyser and its task are there.

    Where no worker is at work at all, only the tasks are looked at: that no worker is there is said elsewhere.
    """
    file = read_routes(installation)
    routes = file.routes
    count = len(routes.routes)
    yield ExaminedPart(
        "routes", PartHealth.FINE, f"{count} in {file.path} ({file.origin}), sha256 {routes.sha256[:_SHORT]}"
    )
    with installation.read() as session:
        served = processes.served(session, now=utc_now())
        for route in routes.routes:
            yield from _unserved(route, served) if served else ()
            yield from _without_task(route, session)


def _unserved(route: Route, served: Collection[Served]) -> Iterator[ExaminedPart]:
    """Say whether workers at work serve a route; its jobs wait until one does."""
    if Served(route.pool, route.analyser) in served:
        return
    known = sorted(one.analyser for one in served if one.pool == route.pool)
    if not known:
        pools = ", ".join(sorted({one.pool for one in served}))
        detail = (
            f"no worker of pool {route.pool} is at work, only of {pools}: its jobs wait; "
            "start a worker with worker.pool set to it, or name another pool in the route"
        )
        yield ExaminedPart(f"route {route.name}", PartHealth.REMARK, detail)
        return
    adding = "add it by `oncue models add`, or to worker.analysers, and to worker.serves where that is set"
    remedy = "set worker.classify" if route.analyser == _LABEL else adding
    detail = (
        f"no worker of pool {route.pool} has analyser {route.analyser}, only {', '.join(known)}: its jobs wait; "
        f"{remedy}, or name another one in the route"
    )
    yield ExaminedPart(f"route {route.name}", PartHealth.BROKEN, detail)


def _without_task(route: Route, session: Session) -> Iterator[ExaminedPart]:
    """Say whether the few-shot task that a route names is on record and has an adapter that predicts."""
    if route.task is None:
        return
    try:
        promoted = promotions.current(session, tasks.find(session, route.task))
    except RecordMissing:
        detail = f"there is no task {route.task}: make it by `oncue classification task create`, or name another one"
        yield ExaminedPart(f"route {route.name}", PartHealth.BROKEN, detail)
        return
    if promoted is None:
        detail = f"task {route.task} has no adapter that predicts yet: fit one, then `oncue classification promote`"
        yield ExaminedPart(f"route {route.name}", PartHealth.REMARK, detail)
