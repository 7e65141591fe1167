"""`oncue audit export`: the history in the words of the standards."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from console.history.export_format import ExportFormat
from console.terminal.options import DEFAULT_STATE, ConfigFile, State

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from storage.history.readings import Reader

As = Annotated[
    ExportFormat,
    typer.Option("--format", help="DICOM audit messages, one XML a line; or FHIR AuditEvent, one JSON a line."),
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="From then on: 2026-11-28, 2026-11-28T08:30, 7d, 2h.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then.")]


def export_events(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    form: As = ExportFormat.DICOM,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write events as audit messages to standard output, the oldest first; the export goes on record.

    Example: oncue audit export --format fhir --since 2026-11-01 > november.ndjson
    """
    from console.history.asking import Asked
    from console.history.export import audit_source, export_messages
    from console.installation import open_installation
    from console.terminal.recorded_reading import record_reading
    from storage.database import utc_now

    installation = open_installation(state, file=config)
    installation.require()
    with installation.database.read() as session:
        asked = Asked(since=since, until=until).question(session, now=utc_now())
    record_reading(installation.database, _record)
    with installation.read() as session:
        source = audit_source(installation.settings)
        export_messages(session, source, sys.stdout, form=form, since=asked.since, until=asked.until)


def _record(session: Session, reader: Reader) -> None:
    from storage.history import readings

    readings.history_read(session, None, reader, what="export")
