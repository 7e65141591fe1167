"""The way of results out: destinations say what they take, objects are written, and each is sent."""

from __future__ import annotations

import threading
from random import SystemRandom

from dicom_gateway.loops import Loop
from dicom_gateway.negotiator import Negotiator
from dicom_gateway.notice_writer import NoticeWriter
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.premises import Premises
from dicom_gateway.receivers import receivers
from dicom_gateway.rejection_writer import RejectionWriter
from dicom_gateway.report_writer import ReportWriter
from dicom_gateway.sending.delivery import Dispatch, Dispatcher
from dicom_gateway.sending.delivery_batch import Caller
from dicom_gateway.sending.negotiation import Question
from dicom_gateway.workitems.descriptions import WorkitemDescriptions


class ResultsOut:
    """Writes reports, rejections and notices, and brings them to every destination."""

    def __init__(self, premises: Premises, equipment: Equipment) -> None:
        """``equipment`` is what oncue calls itself in the objects that it writes."""
        settings, database, objects, clock = premises.settings, premises.database, premises.objects, premises.clock
        negotiator = Negotiator(database, Question(settings.aet, premises.timeouts, premises.tls), clock)
        self._reports = ReportWriter(database, objects, equipment, settings.destinations, negotiator, clock)
        self._rejections = RejectionWriter(database, objects, equipment, settings.reject_superseded, clock)
        self._notices = NoticeWriter(database, objects, equipment, clock)
        self._workitems = WorkitemDescriptions(database, objects, clock)
        deliver_now = threading.Event()
        self._dispatcher = _dispatcher(premises, deliver_now)
        slowest = premises.slowest_seconds
        self._negotiation = Loop("negotiations", negotiator.ask_due, seconds=slowest)
        self._writing = Loop("reports", self._write_due, seconds=slowest)
        self._delivery = Loop("delivery", self._dispatcher.send_due, seconds=slowest, woken=deliver_now)

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The loops, to be started and stopped."""
        return self._negotiation, self._writing, self._delivery

    def wake(self) -> None:
        """Look for what is to be written, and for what is to be sent, now."""
        self._writing.wake()
        self._delivery.wake()

    def wake_delivery(self) -> None:
        """Look for what is to be sent now."""
        self._delivery.wake()

    def close(self) -> None:
        """Begin no more batches."""
        self._dispatcher.close()

    def join(self, seconds: float) -> None:
        """Wait for batches under way."""
        self._dispatcher.join(seconds)

    def _write_due(self) -> None:
        self._workitems.write_due()
        if self._reports.write_due() + self._rejections.write_due() + self._notices.write_due():
            self._delivery.wake()


def _dispatcher(premises: Premises, deliver_now: threading.Event) -> Dispatcher:
    settings = premises.settings
    return Dispatcher(
        premises.database,
        premises.objects,
        Dispatch(premises.process_id, settings.delivery_lease_seconds, premises.clock, SystemRandom().random),
        Caller(settings.aet, premises.timeouts, premises.tls),
        lambda session: receivers(session, settings),
        on_free=deliver_now.set,
    )
