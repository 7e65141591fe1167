"""Tell destinations that want to know which studies were not analysed: a small structured report for each style."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.styles import ObjectStyle
from dicom_gateway.objects.unanalysed_study import UnanalysedStudy
from storage import notices, routings, studies
from storage.database import Database
from storage.errors import OncueError
from storage.notices import NoticeReceiver, PendingNotice
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NoticeWriter:
    """Writes the notices that are due, for the destinations that want to be told of studies that were not analysed."""

    database: Database
    objects: ObjectStore
    equipment: Equipment
    clock: Callable[[], datetime]

    def write_due(self) -> int:
        """Write every notice that is due, oldest first, and return how many were due.

        A failure is recorded, and tried again where that can help.
        """
        with self.database.read() as session:
            due = notices.due(session, now=self.clock())
        for pending in due:
            self._settle(pending)
        return len(due)

    def _settle(self, pending: PendingNotice) -> None:
        try:
            self._write(pending)
        except OncueError as error:
            self._failed(pending, code=error.code, reason=str(error), retryable=error.retryable)
        except Exception as error:  # edge: one notice that breaks a library must not stop the others
            logger.exception("notice.failed", code="unexpected_error", notice=pending.id)
            self._failed(pending, code="unexpected_error", reason=type(error).__name__, retryable=True)

    def _write(self, pending: PendingNotice) -> None:
        with self.database.read() as session:
            receivers = notices.receivers(session, pending.subject.route)
        if not receivers:
            with self.database.write() as session:
                notices.needless(session, pending, now=self.clock())
            return
        subject = self._subject(pending)
        written = [(self._object(subject, style), names) for style, names in _by_style(receivers)]
        with self.database.write() as session:
            notices.written(session, pending, written, now=self.clock())
        logger.info("notice.written", notice=pending.id, code=pending.subject.code, destinations=len(receivers))

    def _subject(self, pending: PendingNotice) -> UnanalysedStudy:
        """Return what a notice says; what routes miss belongs into it only where none of them wanted the study."""
        with self.database.read() as session:
            instances = studies.instances_of(session, pending.study_id)
            routed = routings.latest(session, [pending.study_id]).get(pending.study_id)
        is_unwanted = pending.subject.code == notices.NOT_APPLICABLE and routed is not None
        return UnanalysedStudy(
            instances=instances,
            revision=pending.subject.revision,
            route=pending.subject.route,
            code=pending.subject.code,
            conditions=routed.reasons if routed is not None and is_unwanted else (),
            stated_at=pending.opened_at,
        )

    def _object(self, subject: UnanalysedStudy, style: ObjectStyle) -> WrittenObject:
        from dicom_gateway.objects.writing import write_notice  # not before it is needed, as in ``report_writer``

        return write_notice(subject, self.objects, equipment=self.equipment, style=style)

    def _failed(self, pending: PendingNotice, *, code: str, reason: str, retryable: bool) -> None:
        logger.warning("notice.failed", notice=pending.id, code=code, reason=reason)
        with self.database.write() as session:
            notices.failed(session, pending, code=code, reason=reason, retryable=retryable, now=self.clock())


def _by_style(receivers: Sequence[NoticeReceiver]) -> list[tuple[ObjectStyle, list[str]]]:
    """Return the destinations by the style in which they want their objects: each gets an object of its own."""
    grouped: dict[ObjectStyle, list[str]] = defaultdict(list)
    for one in receivers:
        grouped[ObjectStyle(one.series_number_base, one.series_description, one.character_set)].append(one.name)
    return list(grouped.items())
