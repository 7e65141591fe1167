"""The end of a study's arrival: its sender's source is asked what is missing, and a complete study is closed."""

from __future__ import annotations

from dicom_gateway.completeness.assembly import Assembly, Stored
from dicom_gateway.completeness.rules import EARLY, Rules
from dicom_gateway.completeness.source_questions import SourceQuestions
from dicom_gateway.completeness.sources import QueryAddress, Sources
from dicom_gateway.loops import Loop
from dicom_gateway.premises import Premises
from storage.routes.in_force import RoutesInForce

_SLOWEST_LOOK_SECONDS = 5.0


class Arrivals:
    """Looks at the studies that arrive, and closes those that are complete."""

    def __init__(self, premises: Premises, routes: RoutesInForce, query_address: QueryAddress) -> None:
        """``query_address`` says where senders answer queries."""
        settings, database, clock = premises.settings, premises.database, premises.clock
        rules = Rules.of(settings)
        sources = Sources(query_address, calling_aet=settings.aet, seconds=settings.source_seconds, tls=premises.tls)
        assembly = Assembly(Stored(database, premises.objects, routes), rules, sources, clock)
        # No longer than half of what a study must be quiet, so one that is new has its time noted before it can be due.
        slowest_look = min(rules.shortest_quiet_seconds * EARLY, _SLOWEST_LOOK_SECONDS)
        self._assembly = Loop("assembly", assembly.close_complete, seconds=slowest_look)
        questions = SourceQuestions(database, rules, sources, clock, on_answer=self.wake)
        self._questions = Loop("sources", questions.ask_due, seconds=slowest_look)

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The loops, to be started and stopped."""
        return self._assembly, self._questions

    def wake(self) -> None:
        """Look at the studies now."""
        self._assembly.wake()
