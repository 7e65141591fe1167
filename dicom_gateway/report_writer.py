"""Write the DICOM objects of finished analyses: a loop of its own, which no peer that hangs can hold up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.predecessors import PredecessorDocument
from storage import analyses, deletions, reports
from storage.database import Database
from storage.deliveries import WrittenObject
from storage.errors import OncueError
from storage.objects import ObjectStore
from storage.reports import PendingReport

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReportWriter:
    """Turns committed analyses into stored DICOM objects with a delivery for each destination."""

    database: Database
    objects: ObjectStore
    equipment: Equipment
    destinations: tuple[str, ...]
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
            written = self._objects_of(report)
        except OncueError as error:
            self._failed(report, code=error.code, reason=str(error), retryable=error.retryable)
        except Exception as error:  # edge: one analysis that breaks a library must not stop the others
            logger.exception("report.failed", code="unexpected_error", job=report.job_id)
            self._failed(report, code="unexpected_error", reason=type(error).__name__, retryable=True)
        else:
            with self.database.write() as session:
                reports.written(session, report.job_id, written, destinations=self.destinations, now=self.clock())
            logger.info("report.written", job=report.job_id, objects=[item.kind.value for item in written])

    def _objects_of(self, report: PendingReport) -> tuple[WrittenObject, ...]:
        # 20 MB of tables of codes come with it, which a gateway that has no report to write does not need.
        from dicom_gateway.objects.writing import write_objects

        with self.database.read() as session:
            analysis = analyses.load(session, report.job_id, self.objects)
            deletions.require_sources(session, report.job_id)
            replaced = reports.replaced_report(session, report.job_id)
        written = write_objects(
            analysis,
            self.objects,
            written_at=report.analysed_at,
            equipment=self.equipment,
            predecessor=PredecessorDocument.of(report.study_instance_uid, replaced),
        )
        with self.database.read() as session:
            # The same UID must always name the same bytes: an analysis repeated later carries another time.
            return tuple(reports.known_object(session, item.sop_instance_uid) or item for item in written)

    def _failed(self, report: PendingReport, *, code: str, reason: str, retryable: bool) -> None:
        logger.warning("report.failed", job=report.job_id, code=code, reason=reason)
        with self.database.write() as session:
            reports.failed(session, report.job_id, code=code, reason=reason, retryable=retryable, now=self.clock())
