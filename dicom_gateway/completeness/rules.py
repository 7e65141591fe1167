"""How patient the gateway is with studies that arrive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from dicom_gateway.config import AtDeadline, GatewaySettings
from storage.closing import ArrivingStudy

EARLY = 0.5
"""Part of the quiet time after which a source is asked, and a study closed of which everything is there."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Times in seconds; ``quiet_seconds`` holds for all studies unless quiet times are learned."""

    quiet_seconds: float
    learns: bool = False
    quiet_least_seconds: float = 5.0
    quiet_most_seconds: float = 120.0
    late_quiet_most_seconds: float = 900.0
    deadline_seconds: float = 1800.0
    at_deadline: AtDeadline = AtDeadline.ANALYSE
    source_seconds: float = 10.0

    @classmethod
    def of(cls, settings: GatewaySettings) -> Self:
        """Return the rules that the gateway's settings make."""
        return cls(
            quiet_seconds=settings.quiet_seconds,
            learns=settings.learns_quiet,
            quiet_least_seconds=settings.quiet_least_seconds,
            quiet_most_seconds=settings.quiet_most_seconds,
            late_quiet_most_seconds=settings.late_quiet_most_seconds,
            deadline_seconds=settings.deadline_seconds,
            at_deadline=settings.at_deadline,
            source_seconds=settings.source_seconds,
        )

    @property
    def shortest_quiet_seconds(self) -> float:
        """The shortest quiet time that any study can have."""
        return min(self.quiet_seconds, self.quiet_least_seconds) if self.learns else self.quiet_seconds

    def earliest_look(self, study: ArrivingStudy) -> datetime:
        """Return before when nothing can be decided about a study: most are looked at while images still pour in."""
        if study.arrival.released_at is not None:
            return study.last_instance_at
        if study.being_sent and study.arrival.expected is None:
            return self.deadline(study)
        soonest = study.last_instance_at + timedelta(seconds=self.shortest_quiet_seconds * EARLY)
        return min(soonest, self.deadline(study))

    def deadline(self, study: ArrivingStudy) -> datetime:
        """Return when a study is no longer waited for."""
        return study.arrival.since + timedelta(seconds=self.deadline_seconds)
