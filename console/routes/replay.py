"""Studies that closed lately, routed again by another file: what would have been different. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from console.installation import Installation
from console.routes.asked_study import AskedStudy
from console.routes.reading import arrived_series
from storage import routings, series, studies
from storage.progress import OnProgress
from storage.routes.file import Routes
from storage.routes.route import Route
from storage.routings import RoutedStudy

_DONE_BY = ("analyser", "prompt", "task", "lane", "pool", "prefer", "require", "unfamiliar", "unfamiliar_above")
"""What a route says that changes a result without changing which series it wants."""


@dataclass(frozen=True, slots=True)
class RouteChange:
    """A route that wants a study by both files, and the keys that differ; ``series`` are the series that it wants."""

    route: str
    differs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReplayedStudy:
    """One study, how it was routed, and how the other file would route it.

    ``before`` is None for a study that closed before routings were kept; nothing is compared then.
    """

    study_instance_uid: str
    revision: int
    closed_at: datetime
    before: tuple[str, ...] | None
    after: tuple[str, ...]
    changed: tuple[RouteChange, ...]
    reasons: tuple[str, ...]

    @property
    def gained(self) -> tuple[str, ...]:
        """The routes that would want it and did not."""
        return () if self.before is None else tuple(name for name in self.after if name not in self.before)

    @property
    def lost(self) -> tuple[str, ...]:
        """The routes that wanted it and would not."""
        return tuple(name for name in self.before or () if name not in self.after)

    @property
    def is_different(self) -> bool:
        """Whether anything would have been done otherwise."""
        return self.before is not None and (self.before != self.after or bool(self.changed))


@dataclass(slots=True)
class Replay:
    """Routes studies of an installation again by a file of routes."""

    installation: Installation
    routes: Routes

    def since(self, moment: datetime, on_progress: OnProgress) -> tuple[ReplayedStudy, ...]:
        """Return every study that closed since a moment, oldest first; ``on_progress`` counts them."""
        with self.installation.read() as session:
            return tuple(self._replayed(session, moment, on_progress))

    def _replayed(self, session: Session, moment: datetime, on_progress: OnProgress) -> Iterator[ReplayedStudy]:
        closed = studies.closed_since(session, moment)
        routed = {one.study_id: one for one in routings.since(session, moment)}
        earlier = _EarlierRoutes(session, {})
        for done, study in enumerate(closed, start=1):
            facts = series.of_study(session, study.id) or arrived_series(session, study.id, self.installation.objects)
            asked = AskedStudy.of(study.study_instance_uid, facts, self.routes)
            before = routed.get(study.id)
            yield ReplayedStudy(
                study_instance_uid=study.study_instance_uid,
                revision=before.revision if before else study.revision,
                closed_at=study.closed_at,
                before=tuple(sorted(name for name, _ in before.wanted)) if before else None,
                after=tuple(sorted(answer.route.name for answer in asked.routing.chosen)),
                changed=tuple(earlier.changes(before, asked)) if before else (),
                reasons=asked.reasons,
            )
            on_progress(done, len(closed))


@dataclass(frozen=True, slots=True)
class _EarlierRoutes:
    """The routes of files that were in force when studies closed, each read once."""

    session: Session
    known: dict[tuple[str, str], Route]

    def changes(self, before: RoutedStudy, after: AskedStudy) -> Iterator[RouteChange]:
        """Compare what both files do with the routes that want a study by either."""
        wanted: Mapping[str, tuple[str, ...]] = dict(before.wanted)
        for answer in after.routing.chosen:
            name = answer.route.name
            if name not in wanted:
                continue
            old = self._route(name, before.routes_sha256)
            differs = [key for key in _DONE_BY if getattr(old, key) != getattr(answer.route, key)]
            if set(wanted[name]) != set(answer.wanted):
                differs.insert(0, "series")
            if differs:
                yield RouteChange(name, tuple(differs))

    def _route(self, name: str, routes_sha256: str) -> Route:
        key = (name, routes_sha256)
        if key not in self.known:
            self.known[key] = routings.route_named(self.session, name, routes_sha256)
        return self.known[key]
