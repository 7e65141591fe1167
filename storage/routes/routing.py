"""Which routes a study gets, and for every other one which condition failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from storage.routes.conditions import Unmet
from storage.routes.file import Routes
from storage.routes.regions import Region
from storage.routes.route import Route
from storage.routes.series_facts import SeriesFacts

_SHORT_UID = 12


@dataclass(frozen=True, slots=True)
class Considered:
    """One series seen by one route, with every condition that it does not meet."""

    series_instance_uid: str
    unmet: tuple[Unmet, ...]

    @property
    def wanted(self) -> bool:
        """Whether the series meets all of the route's conditions."""
        return not self.unmet


@dataclass(frozen=True, slots=True)
class RouteAnswer:
    """What one route says of a study: of each series in turn."""

    route: Route
    series: tuple[Considered, ...]

    @property
    def wanted(self) -> tuple[str, ...]:
        """The series that the route wants; none means that the study is not for it."""
        return tuple(considered.series_instance_uid for considered in self.series if considered.wanted)


@dataclass(frozen=True, slots=True)
class Routing:
    """What all routes of one file say of one study."""

    answers: tuple[RouteAnswer, ...]
    routes_sha256: str
    unasked: str = ""
    """Why no route was asked about the study at all; empty where they were."""
    contradictory: tuple[str, ...] = ()
    """Series whose BodyPartExamined (or codes) and descriptions name different regions."""

    @property
    def chosen(self) -> tuple[RouteAnswer, ...]:
        """The routes that want something of the study."""
        return tuple(answer for answer in self.answers if answer.wanted)

    @property
    def applies(self) -> bool:
        """Whether any route wants the study."""
        return bool(self.chosen)

    def reasons(self) -> tuple[str, ...]:
        """Return one line for each route that does not want the study: the series that came nearest, and why not."""
        if self.unasked:
            return (self.unasked,)
        return tuple(_reason(answer) for answer in self.answers if not answer.wanted)

    def record(self) -> str:
        """Return the whole routing as canonical JSON; it quotes no description and names no patient."""
        content = {
            "routes": self.routes_sha256,
            "answers": [
                {
                    "route": answer.route.name,
                    "wanted": list(answer.wanted),
                    "unmet": {
                        considered.series_instance_uid: [unmet.condition for unmet in considered.unmet]
                        for considered in answer.series
                        if considered.unmet
                    },
                }
                for answer in self.answers
            ],
            "contradictory": list(self.contradictory),
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":"))


def route_study(routes: Routes, series: Iterable[SeriesFacts]) -> Routing:
    """Ask every route about every series of a study. The order of the series does not matter."""
    ordered = _as_one_study(sorted(series, key=lambda facts: facts.series_instance_uid))
    return Routing(
        answers=tuple(_ask(route, ordered) for route in routes.routes),
        routes_sha256=routes.sha256,
        contradictory=tuple(facts.series_instance_uid for facts in ordered if facts.contradicts_itself),
    )


def unasked(routes: Routes, reason: str) -> Routing:
    """Return the routing of a study about which no route is asked, for a reason that people read."""
    return Routing(answers=(), routes_sha256=routes.sha256, unasked=reason)


def _as_one_study(series: Sequence[SeriesFacts]) -> list[SeriesFacts]:
    """Let the study description speak of those series alone that nothing else in the study explains it by.

    With a head and a knee in one study, «MR head» speaks of the series of the head. Where no series says that it is of
    the head, one that says «knee» may well be: body parts are often left over from the scanner's last protocol.
    """
    explained = frozenset[Region]().union(*(facts.own_regions for facts in series))
    return [replace(facts, study_speaks=not facts.study_regions & explained) for facts in series]


def _ask(route: Route, series: Sequence[SeriesFacts]) -> RouteAnswer:
    return RouteAnswer(route, tuple(Considered(facts.series_instance_uid, route.unmet(facts)) for facts in series))


def _reason(answer: RouteAnswer) -> str:
    if not answer.series:
        return f"route {answer.route.name}: the study holds no series"
    nearest = min(answer.series, key=lambda considered: len(considered.unmet))
    unmet = "; ".join(str(condition) for condition in nearest.unmet)
    return f"route {answer.route.name}: series ..{nearest.series_instance_uid[-_SHORT_UID:]} {unmet}"
