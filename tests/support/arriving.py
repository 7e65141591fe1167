"""Studies on their way in at times that a test chooses, and a clock that it turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dicom_gateway.completeness.assembly import Assembly
from dicom_gateway.completeness.rules import Rules
from dicom_gateway.completeness.source_questions import SourceQuestions
from dicom_gateway.completeness.sources import QueryAddress, Sources, no_address
from storage import audit, registering, worklist
from storage.arrivals import Origin, StudyFacts
from storage.database import Database
from storage.domain import StoredInstance
from storage.objects import ObjectStore
from storage.worklist import StudyEntry
from tests.support.gateways import assembly

BEGUN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(slots=True)
class Clock:
    """A clock that stands until it is turned."""

    now: datetime = BEGUN

    def __call__(self) -> datetime:
        return self.now

    def turn(self, seconds: float) -> None:
        """Turn the clock on, or back."""
        self.now += timedelta(seconds=seconds)


@dataclass(slots=True)
class Arriving:
    """A database that images arrive in, with the assembly that closes its studies."""

    database: Database
    objects: ObjectStore
    rules: Rules = field(default_factory=lambda: Rules(quiet_seconds=10))
    query_address: QueryAddress = no_address
    clock: Clock = field(default_factory=Clock)
    looks: Assembly = field(init=False)
    questions: SourceQuestions = field(init=False)

    def __post_init__(self) -> None:
        sources = Sources(self.query_address, calling_aet="ONCUE", seconds=5)
        self.looks = assembly(
            self.database, self.objects, rules=self.rules, clock=self.clock, query_address=self.query_address
        )
        self.questions = SourceQuestions(self.database, self.rules, sources, self.clock, on_answer=lambda: None)

    def image(
        self, number: int = 1, *, study: str = "1.2", sender: str = "CT1", modality: str = "CT", series: str = "1"
    ) -> None:
        """Have an image of a study arrive now."""
        digest = f"{number:064}"
        instance = StoredInstance(
            study,
            f"{study}.{series}",
            f"{study}.{series}.{number}",
            CT,
            "1.2.840.10008.1.2.1",
            modality,
            digest,
            digest,
            9,
        )
        with self.database.write() as session:
            origin = Origin(sender, None)
            registering.register_instance(session, instance, StudyFacts(), origin=origin, now=self.clock())

    def look(self, after: float = 0.0) -> float | None:
        """Let time pass, and have the assembly look."""
        self.clock.turn(after)
        return self.looks.close_complete()

    def ask(self) -> None:
        """Ask the sources that are due."""
        self.questions.ask_due()

    def entry(self, study_id: int = 1) -> StudyEntry:
        """Return a study as lists show it."""
        with self.database.read() as session:
            return worklist.find(session, study_id)

    def events(self, tag: str) -> list[str]:
        """Return the details of the events with a tag, oldest first."""
        with self.database.read() as session:
            return [event.details for event in audit.history(session, tag=tag, limit=1000)]

    def analyses(self) -> int:
        """Return how often a study was closed."""
        return len(self.events("study:closed"))
