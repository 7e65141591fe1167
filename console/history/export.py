"""The history in the words of the standards: FHIR as one JSON object for each line, DICOM as one XML for each line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TextIO

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from console.config import Settings
from console.history.export_format import ExportFormat
from dicom_gateway.audit_messages.fhir import as_fhir_line
from dicom_gateway.audit_messages.message import AuditMessage, message_of
from dicom_gateway.audit_messages.participants import AuditSource
from dicom_gateway.audit_messages.xml_form import as_xml
from storage.audit import AuditEvent, event_of, moment
from storage.audit_tables import AuditEventRow

_PAGE = 1000


_WRITTEN: Mapping[ExportFormat, Callable[[AuditMessage], str]] = {
    ExportFormat.DICOM: as_xml,
    ExportFormat.FHIR: as_fhir_line,
}


def audit_source(settings: Settings) -> AuditSource:
    """Return how an installation names itself in audit messages."""
    return AuditSource(settings.gateway.aet, settings.audit.origin)


def export_messages(
    session: Session,
    source: AuditSource,
    out: TextIO,
    *,
    form: ExportFormat,
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """Write the messages of events, oldest first, one a line, and return how many; ``until`` is not included.

    Events that the standard has no message for are passed over.
    """
    written = 0
    for event in _events(session, since, until):
        message = message_of(event, source)
        if message is not None:
            out.write(_WRITTEN[form](message) + "\n")
            written += 1
    return written


def _events(session: Session, since: datetime | None, until: datetime | None) -> Iterator[AuditEvent]:
    last: tuple[str, int] | None = None
    while True:
        query = select(AuditEventRow).order_by(AuditEventRow.at, AuditEventRow.seq).limit(_PAGE)
        if last is not None:
            query = query.where(tuple_(AuditEventRow.at, AuditEventRow.seq) > tuple_(*last))
        elif since is not None:
            query = query.where(AuditEventRow.at >= moment(since))
        if until is not None:
            query = query.where(AuditEventRow.at < moment(until))
        page = tuple(event_of(row) for row in session.scalars(query))
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1].at, page[-1].seq
        session.expunge_all()
