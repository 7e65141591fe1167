"""Write the DICOM objects of finished analyses: a loop of its own, which no peer that hangs can hold up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from dicom_gateway.addressees import Addressee, addressees, by_style, forms_to_write, wanting, without_entry
from dicom_gateway.negotiator import Negotiator
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.styles import ObjectStyle
from storage import analyses, deletions, delivery_lists, destinations, negotiations, reports, study_locks
from storage.database import Database
from storage.destinations import DestinationEntry
from storage.domain import Analysis
from storage.errors import OncueError
from storage.objects import ObjectStore
from storage.reports import AddressedObject, PendingReport

_NEGOTIATION_SECONDS = 2.0
"""How long a report waits for destinations that were never asked what they take."""

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReportWriter:
    """Turns committed analyses into stored DICOM objects with their deliveries: each destination's own forms.

    ``addresses`` are the destinations of the settings.
    """

    database: Database
    objects: ObjectStore
    equipment: Equipment
    addresses: tuple[str, ...]
    negotiator: Negotiator
    clock: Callable[[], datetime]

    def write_due(self) -> int:
        """Write every report that is due, oldest first, and return how many were due.

        A failure is recorded, and tried again where that can help.
        """
        with self.database.read() as session:
            due = reports.due(session, now=self.clock())
        for report in due:
            self._write(report)
        return len(due)

    def _write(self, report: PendingReport) -> None:
        try:
            self._settle(report)
        except OncueError as error:
            self._failed(report, code=error.code, reason=str(error), retryable=error.retryable)
        except Exception as error:  # edge: one analysis that breaks a library must not stop the others
            logger.exception("report.failed", code="unexpected_error", job=report.job_id)
            self._failed(report, code="unexpected_error", reason=type(error).__name__, retryable=True)

    def _settle(self, report: PendingReport) -> None:
        with self.database.read() as session:
            analysis = analyses.load(session, report.job_id, self.objects)
            deletions.require_sources(session, report.job_id)
        getting = self._addressees(report, analysis)
        written: list[AddressedObject] = []
        for style, members in by_style(getting):
            written += self._written(report, analysis, style, members)
        if self._record(report, written, getting):
            kinds = sorted({each.item.kind.value for each in written})
            logger.info("report.written", job=report.job_id, objects=kinds, destinations=len(getting))

    def _addressees(self, report: PendingReport, analysis: Analysis) -> tuple[Addressee, ...]:
        """Return who gets a report. One that was written before goes to those that it went to, and to nobody else."""
        with self.database.read() as session:
            entries = destinations.entries(session)
            reached = delivery_lists.count_by_destination(session, report.job_id)
            is_first = not reports.was_written(session, report.job_id)
        wanted = wanting(entries, analysis.route, analysis.decision.priority)
        found = (*self._chosen(wanted), *without_entry(self.addresses, entries))
        return tuple(one for one in found if is_first or one.name in reached)

    def _chosen(self, entries: Sequence[DestinationEntry]) -> tuple[Addressee, ...]:
        return addressees(entries, self.negotiator.known(entries, wait_seconds=_NEGOTIATION_SECONDS)) if entries else ()

    def _written(
        self, report: PendingReport, analysis: Analysis, style: ObjectStyle, members: Sequence[Addressee]
    ) -> list[AddressedObject]:
        # 20 MB of tables of codes come with it, which a gateway that has no report to write does not need.
        from dicom_gateway.objects.forms import write_forms

        names = [one.name for one in members]
        with self.database.read() as session:
            replaced = reports.replaced_report(session, report.job_id, names)
        written = write_forms(
            analysis,
            self.objects,
            forms_to_write(members),
            written_at=report.analysed_at,
            equipment=self.equipment,
            predecessor=PredecessorDocument.of(report.study_instance_uid, replaced),
            style=style,
        )
        with self.database.read() as session:
            # The same UID must always name the same bytes: an analysis repeated later carries another time.
            known = [reports.known_object(session, item.sop_instance_uid) or item for item in written]
        return [AddressedObject(item, tuple(one.name for one in members if item.kind in one.forms)) for item in known]

    def _record(self, report: PendingReport, written: Sequence[AddressedObject], getting: Sequence[Addressee]) -> bool:
        """Record the objects and open their deliveries, but none to an entry that was removed meanwhile.

        Returns False, and leaves the report due, where a destination said meanwhile that it takes other forms: whoever
        recorded that found the report open, and left it to this round.
        """
        choices = [choice for one in getting if (choice := one.recorded_choice) is not None]
        entries = {one.name for one in getting if one.choice is not None}
        with self.database.write() as session:
            gone = entries - destinations.hold(session, entries)
            study_locks.take_of_job(session, report.job_id)
            if _are_other_forms_taken(session, getting):
                return False
            still = [
                AddressedObject(each.item, tuple(name for name in each.destinations if name not in gone))
                for each in written
            ]
            kept = [choice for choice in choices if choice.destination not in gone]
            reports.written_to(session, report.job_id, still, choices=kept, now=self.clock())
        return True

    def _failed(self, report: PendingReport, *, code: str, reason: str, retryable: bool) -> None:
        logger.warning("report.failed", job=report.job_id, code=code, reason=reason)
        with self.database.write() as session:
            reports.failed(session, report.job_id, code=code, reason=reason, retryable=retryable, now=self.clock())


def _are_other_forms_taken(session: Session, getting: Sequence[Addressee]) -> bool:
    """Whether the forms of an entry would be others, by what is on record of its peer now."""
    now = {one.name: one for one in addressees(destinations.entries(session), negotiations.all_known(session))}
    return any(one.choice is not None and one.name in now and now[one.name].forms != one.forms for one in getting)
