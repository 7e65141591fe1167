"""How studies were routed, by which file: written when a study closes, read by workers, lists and replays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, new_rows
from storage.errors import RecordMissing
from storage.models import StudyRow
from storage.routes.file import Routes, load_routes, parse_routes
from storage.routes.route import Route
from storage.routes.routing import Routing
from storage.routing_tables import RouteFileRow, RoutingRow

_AT_ONCE = 500
"""Most studies that one statement reads about: databases take only so many variables in one."""


@dataclass(frozen=True, slots=True)
class RoutedStudy:
    """The routing of one study revision as it is on record; ``reasons`` has a line for each route that is not met."""

    study_id: int
    study_instance_uid: str
    revision: int
    routes_sha256: str
    applies: bool
    wanted: tuple[tuple[str, tuple[str, ...]], ...]
    """Each route that applies, and the Series Instance UIDs that it wants."""
    reasons: tuple[str, ...]
    contradictory: tuple[str, ...]
    routed_at: datetime
    unasked: bool = False
    """Whether no route was asked about it, as of a study that was fetched as a prior; the reason says why."""


def record(session: Session, study: StudyRow, routing: Routing, routes: Routes, *, now: datetime) -> None:
    """Write how a study revision was routed, and keep the file that said so."""
    _keep(session, routes, now=now)
    session.merge(
        RoutingRow(
            study_id=study.id,
            revision=study.revision,
            routes_sha256=routing.routes_sha256,
            applies=routing.applies,
            record=routing.record(),
            reasons=json.dumps(list(routing.reasons())),
            routed_at=now,
        )
    )
    audit.record(
        session,
        "study:routed" if routing.applies else "study:not-applicable",
        f"study/{study.study_instance_uid}",
        actor="assembly",
        now=now,
        details={
            "revision": study.revision,
            "routes": routing.routes_sha256,
            "wanted": ",".join(answer.route.name for answer in routing.chosen),
            "contradictory": len(routing.contradictory),
        },
        study=audit.concerned(study),
    )


def route_named(session: Session, name: str, routes_sha256: str | None) -> Route:
    """Return a route as the file with a digest has it; None is the file that ships, for jobs of before routes.

    RecordMissing where that file is not on record or holds no such route.
    """
    if routes_sha256 is None:
        return load_routes().named(name)
    content = session.scalar(select(RouteFileRow.content).where(RouteFileRow.sha256 == routes_sha256))
    if content is None:
        raise RecordMissing(f"the routes file {routes_sha256[:12]} is not on record")
    return parse_routes(content.encode(), name=f"routes {routes_sha256[:12]}").named(name)


def latest(session: Session, study_ids: Sequence[int]) -> dict[int, RoutedStudy]:
    """Return the newest routing of each of some studies; those that have none are not in it."""
    found: dict[int, RoutedStudy] = {}
    for first in range(0, len(study_ids), _AT_ONCE):
        query = (
            select(RoutingRow, StudyRow.study_instance_uid)
            .join(StudyRow, StudyRow.id == RoutingRow.study_id)
            .where(RoutingRow.study_id.in_(study_ids[first : first + _AT_ONCE]))
            .order_by(RoutingRow.revision)
        )
        found |= {row.study_id: _routed(row, uid) for row, uid in session.execute(query)}
    return found


def since(session: Session, moment: datetime) -> tuple[RoutedStudy, ...]:
    """Return the routings of studies that closed since a moment, the newest revision of each, oldest first."""
    ids = session.scalars(select(RoutingRow.study_id).where(RoutingRow.routed_at >= moment).distinct()).all()
    return tuple(sorted(latest(session, ids).values(), key=lambda item: (item.routed_at, item.study_id)))


def _keep(session: Session, routes: Routes, *, now: datetime) -> None:
    if session.get(RouteFileRow, routes.sha256) is not None:
        return
    values = {"sha256": routes.sha256, "content": routes.content, "first_used_at": now}
    if new_rows.add_if_new(session, RouteFileRow, values):
        audit.record(session, "routes:in-force", f"routes/{routes.sha256[:12]}", actor="assembly", now=now)


def _routed(row: RoutingRow, uid: str) -> RoutedStudy:
    content = json.loads(row.record)
    reasons = tuple(json.loads(row.reasons))
    return RoutedStudy(
        study_id=row.study_id,
        study_instance_uid=uid,
        revision=row.revision,
        routes_sha256=row.routes_sha256,
        applies=row.applies,
        wanted=tuple((item["route"], tuple(item["wanted"])) for item in content["answers"] if item["wanted"]),
        reasons=reasons,
        contradictory=tuple(content["contradictory"]),
        routed_at=row.routed_at,
        unasked=bool(reasons) and not content["answers"],
    )
