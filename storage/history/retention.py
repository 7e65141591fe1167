"""Retention: months that are over leave PostgreSQL as a whole, for archives that prove themselves.

The log keeps their leaves and the tree over them, so that everything else stays proved. SQLite keeps all events.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from storage.audit_tables import AuditArchiveRow, AuditCheckpointRow, AuditLeafRow, AuditLogRow
from storage.database import Database
from storage.errors import DatabaseUnavailable
from storage.history import archive, archive_proof, partitions, tiles
from storage.history.archive import ArchivedEvent, ArchiveProof, CheckedArchive
from storage.history.archive_proof import Run
from storage.history.errors import ArchiveRefused
from storage.history.leaves import COLUMNS, EVENTS
from storage.history.note_keys import VerifierKey
from storage.history.sealing import read_tile

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)
_CHUNK = 4096
_ATTEMPTS = 20
_PAUSE_SECONDS = 1.0
_REFUSED_BY_FUNCTION = "P0001"


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """A month whose events are in an archive: how many they are, their leaves, and the digest of the archive.

    ``archived_in`` is the month in which that was done. ``dropped`` tells that the database has no copy any more.
    """

    month: str
    events: int
    leaves: tuple[Run, ...]
    sha256: str
    archived_in: str
    dropped: bool


@dataclass(frozen=True, slots=True)
class Retention:
    """Who archives what: the log's public key, where archives go, who is answerable, and whether copies go at once."""

    key: VerifierKey
    folder: Path
    actor: str
    drop: bool = False


def archived(session: Session) -> tuple[ArchivedMonth, ...]:
    """Return the months that left the database, the oldest first. Their leaves are proved by their hashes alone."""
    rows = session.scalars(select(AuditArchiveRow).order_by(AuditArchiveRow.month))
    return tuple(
        ArchivedMonth(
            month=row.month,
            events=row.events,
            leaves=archive_proof.parse_runs(row.leaves),
            sha256=row.sha256,
            archived_in=f"{row.archived_at.astimezone(UTC):%Y-%m}",
            dropped=row.dropped_at is not None,
        )
        for row in rows
    )


def older_than(session: Session, *, keep_months: int, now: datetime) -> tuple[str, ...]:
    """Return the months in the database that are older than the last ``keep_months`` whole ones, the oldest first."""
    _require_postgresql(session)
    today = now.astimezone(UTC)
    years, month = divmod(today.year * 12 + today.month - 1 - keep_months, 12)
    first_kept = f"{years:04}-{month + 1:02}"
    months = (f"{month:%Y-%m}" for month in partitions.present(session))
    return tuple(month for month in months if month < first_kept and _has_events(session, month))


def archive_month(database: Database, month: str, retention: Retention) -> CheckedArchive:
    """Write the month's archive, prove it by reading it back, and detach the month; or drop one that was detached.

    Raises ArchiveRefused where the month is not over, not whole in the database, or not sealed; ArchiveWrong where
    the events do not lead to the log's checkpoint: then nothing is detached.
    """
    day = parse_month(month)
    folder = retention.folder / month
    with database.read() as session:
        _require_postgresql(session)
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        known = session.get(AuditArchiveRow, month)
        # One that is there was written by an attempt that was cut short; it is proved like any other.
        if known is None and not folder.exists():
            _write(session, month, folder, retention.key)
    checked = archive.check(folder, key=retention.key)
    if checked.month != month or (known is not None and known.sha256 != checked.sha256):
        raise ArchiveRefused(f"{folder} is not the archive that {month} was put into")
    if known is None or retention.drop:
        _detach(database, day, checked, retention)
    return checked


def parse_month(text_form: str) -> date:
    """Return the first day of a month written as ``2025-01``. Raises ArchiveRefused."""
    match = _MONTH.fullmatch(text_form)
    if match is None:
        raise ArchiveRefused("a month is written as 2025-01")
    return date(int(match[1]), int(match[2]), 1)


def _require_postgresql(session: Session) -> None:
    if session.get_bind().dialect.name != "postgresql":
        raise ArchiveRefused(
            "SQLite keeps all events: they lie in one table that refuses to lose any; archives need PostgreSQL "
            "(storage.database_url)"
        )


def _write(session: Session, month: str, folder: Path, key: VerifierKey) -> None:
    """Write events and proof, as they stand in one snapshot."""
    _refuse_unsealed(session, month)
    numbers = archive.write_events(folder, _events(session, month))
    size = session.scalars(select(AuditLogRow.size)).one()
    checkpoint = session.get(AuditCheckpointRow, size)
    if checkpoint is None:
        raise ArchiveRefused("the log has no checkpoint of its present size: `oncue audit verify`")
    hashes = tiles.span_hashes(archive_proof.outside_spans(numbers, size), read_tile(session))
    archive.write_proof(folder, ArchiveProof(month, key.text, checkpoint.note, hashes))


def _refuse_unsealed(session: Session, month: str) -> None:
    name = partitions.partition(parse_month(month))
    attached = text("SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(:name))")
    if not session.scalar(attached, {"name": name}):
        raise ArchiveRefused(f"the database has no partition of {month}")
    unsealed = (
        select(EVENTS.c.seq)
        .outerjoin(AuditLeafRow, AuditLeafRow.seq == EVENTS.c.seq)
        .where(_in(month), AuditLeafRow.seq.is_(None))
        .limit(1)
    )
    if session.scalar(unsealed) is not None:
        raise ArchiveRefused(f"{month} has events that are not sealed: let the gateway run, or `oncue audit verify`")
    if not _has_events(session, month):
        raise ArchiveRefused(f"{month} has no event: there is nothing to archive")


def _events(session: Session, month: str) -> Iterator[ArchivedEvent]:
    query = (
        select(AuditLeafRow.number, *COLUMNS)
        .join(AuditLeafRow, AuditLeafRow.seq == EVENTS.c.seq)
        .where(_in(month))
        .order_by(AuditLeafRow.number)
        .execution_options(yield_per=_CHUNK)
    )
    for row in session.execute(query):
        yield ArchivedEvent(row[0], tuple(row[1:]))


def _in(month: str) -> ColumnElement[bool]:
    return EVENTS.c.at.between(month, f"{month}~")


def _has_events(session: Session, month: str) -> bool:
    return session.scalar(select(EVENTS.c.seq).where(_in(month)).limit(1)) is not None


def _detach(database: Database, month: date, checked: CheckedArchive, retention: Retention) -> None:
    """Have the database let the month go. It waits half a second at a time, for whoever writes would wait behind it."""
    call = text("SELECT audit_archive_month(:month, :events, :leaves, :sha256, :actor, :drop)")
    said = {
        "month": month,
        "events": checked.events,
        "leaves": checked.leaves,
        "sha256": checked.sha256,
        "actor": retention.actor,
        "drop": retention.drop,
    }
    for left in reversed(range(_ATTEMPTS)):
        try:
            with database.write() as session, _said_plainly():
                session.execute(call, said)
        except DatabaseUnavailable:
            if not left:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


@contextmanager
def _said_plainly() -> Iterator[None]:
    """Pass on what the database's own function refuses with; it names months and counts alone."""
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _REFUSED_BY_FUNCTION:
            raise
        diagnosis = getattr(error.orig, "diag", None)
        raise ArchiveRefused(f"the database refused: {getattr(diagnosis, 'message_primary', '')}") from error
