"""Tell the receivers of superseded results to set them aside: a rejection note for each destination that wants one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicom_gateway.objects.equipment import Equipment
from storage import deletions, rejections
from storage.database import Database
from storage.errors import OncueError
from storage.objects import ObjectStore
from storage.rejections import PendingRejection

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RejectionWriter:
    """Writes rejection notes (IHE RAD IOCM) on superseded results, for the ``destinations`` that are to get them."""

    database: Database
    objects: ObjectStore
    equipment: Equipment
    destinations: tuple[str, ...]
    clock: Callable[[], datetime]

    def write_due(self) -> int:
        """Write every note that is due, oldest first, and return how many were due.

        Where nobody who wants notes has got anything, that is put on record instead.
        """
        with self.database.read() as session:
            due = rejections.due(session, now=self.clock())
        for pending in due:
            self._settle(pending)
        return len(due)

    def _settle(self, pending: PendingRejection) -> None:
        try:
            self._write(pending)
        except OncueError as error:
            self._failed(pending, code=error.code, reason=str(error), retryable=error.retryable)
        except Exception as error:  # edge: one note that breaks a library must not stop the others
            logger.exception("rejection.failed", code="unexpected_error", job=pending.job_id)
            self._failed(pending, code="unexpected_error", reason=type(error).__name__, retryable=True)

    def _write(self, pending: PendingRejection) -> None:
        with self.database.read() as session:
            receivers = rejections.receivers(session, pending.job_id, self.destinations)
            rejected = rejections.rejected_objects(session, pending.job_id)
        if not receivers:
            with self.database.write() as session:
                rejections.needless(session, pending.job_id, now=self.clock())
            return
        with self.database.read() as session:
            deletions.require_results(session, pending.job_id)
        from dicom_gateway.objects.writing import write_rejection  # not before it is needed, as in ``report_writer``

        note = write_rejection(rejected, self.objects, written_at=pending.superseded_at, equipment=self.equipment)
        with self.database.write() as session:
            rejections.written(session, pending.job_id, note, destinations=receivers, now=self.clock())
        logger.info("rejection.written", job=pending.job_id, destinations=len(receivers))

    def _failed(self, pending: PendingRejection, *, code: str, reason: str, retryable: bool) -> None:
        logger.warning("rejection.failed", job=pending.job_id, code=code, reason=reason)
        with self.database.write() as session:
            rejections.failed(session, pending.job_id, code=code, reason=reason, retryable=retryable, now=self.clock())
