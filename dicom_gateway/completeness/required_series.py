"""Which routes wait for a series that has not come: ``wait_for`` in the file of routes."""

from __future__ import annotations

from collections.abc import Sequence

from storage.closing import SeenStudy
from storage.routes.conditions import Conditions
from storage.routes.route import Route
from storage.routes.series_facts import SeriesFacts


def waiting_routes(seen: SeenStudy) -> tuple[str, ...]:
    """Return the routes that a study is for, by what came of it, and that still lack a series.

    A route without ``wait_for`` waits for nothing. One with it lacks what meets none of these conditions yet, or the
    series that it is to read; a study of which nothing meets any of its conditions is not for it.
    """
    return tuple(route.name for route in seen.routes.routes if route.wait_for and _lacks(route, seen.series))


def _lacks(route: Route, series: Sequence[SeriesFacts]) -> bool:
    met = [_is_met(conditions, series) for conditions in (route.match, *route.wait_for)]
    return any(met) and not all(met)


def _is_met(conditions: Conditions, series: Sequence[SeriesFacts]) -> bool:
    return any(not conditions.unmet(facts) for facts in series)
