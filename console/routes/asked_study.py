"""A study as routes see it, and what it would become."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storage.routes.file import Routes
from storage.routes.routing import Routing, route_study
from storage.routes.series_facts import SeriesFacts
from storage.states import StudyState


@dataclass(frozen=True, slots=True)
class AskedStudy:
    """What is known of a study's series, in order of their UIDs, and what every route says of them."""

    study_instance_uid: str
    series: tuple[SeriesFacts, ...]
    routing: Routing

    @classmethod
    def of(cls, study_instance_uid: str, series: Iterable[SeriesFacts], routes: Routes) -> AskedStudy:
        """Ask every route about a study."""
        ordered = tuple(sorted(series, key=lambda facts: facts.series_instance_uid))
        return cls(study_instance_uid, ordered, route_study(routes, ordered))

    @property
    def becomes(self) -> StudyState:
        """What the study would be once it is complete: queued for its routes, or not applicable."""
        return StudyState.QUEUED if self.routing.applies else StudyState.NOT_APPLICABLE

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the routes that do not want the study do not, one line each."""
        return self.routing.reasons()

    @property
    def contradictory(self) -> tuple[SeriesFacts, ...]:
        """The series whose header and descriptions name different body regions."""
        return tuple(facts for facts in self.series if facts.contradicts_itself)
