"""Sealing: put what was committed into the tree, and sign the tree anew. One batch, one transaction.

Whoever holds the lease seals; the order of the leaves is that in which commits become visible. Writers know nothing of
it: the database itself notes each new event as unsealed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Row, Table, delete, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from storage import leases
from storage.audit_tables import (
    AuditCheckpointRow,
    AuditCountRow,
    AuditLogRow,
    AuditPendingRow,
    AuditTileRow,
)
from storage.history import tiles
from storage.history.checkpoint_text import Checkpoint, parse_checkpoint, sign_checkpoint
from storage.history.leaves import COLUMNS, EVENTS, FIELDS, leaves_data
from storage.history.note_keys import SigningKey
from storage.history.notes import parse_note

BATCH = 5000
LEASE_SECONDS = 10.0
_KEPT_SECONDS = 60.0
"""A checkpoint that is followed by another within this time gives way to it; each vouches for all before it."""
_SEALED_IN_POSTGRESQL = (
    (
        "INSERT INTO audit_leaves (number, seq) SELECT :size + place - 1, seq "
        "FROM unnest(CAST(:seqs AS bigint[])) WITH ORDINALITY AS given (seq, place)"
    ),
    "DELETE FROM audit_pending WHERE seq = ANY(CAST(:seqs AS bigint[]))",
)
_SEALED_IN_SQLITE = (
    "INSERT INTO audit_leaves (number, seq) SELECT :size + key, value FROM json_each(:seqs)",
    "DELETE FROM audit_pending WHERE seq IN (SELECT value FROM json_each(:seqs))",
)
_AT, _TAG, _ACTOR = (FIELDS.index(name) for name in ("at", "tag", "actor"))
_DAY_LENGTH = len("2026-03-01")


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one batch came to: how many events it sealed, how many leaves the log has, and its signed checkpoint."""

    events: int
    size: int
    note: str


def is_due(session: Session, *, owner: str, now: datetime) -> bool:
    """Say whether there is anything to seal that nobody else is about to."""
    log = session.scalars(select(AuditLogRow)).one()
    if log.lease_owner not in (None, owner) and log.lease_expires_at is not None and log.lease_expires_at > now:
        return False
    return session.scalar(select(AuditPendingRow.seq).limit(1)) is not None


def unsealed_since(session: Session) -> str | None:
    """Return the time of the oldest event that is not sealed yet, None where there is none."""
    oldest = select(AuditPendingRow.seq).order_by(AuditPendingRow.seq).limit(1).scalar_subquery()
    return session.scalar(select(EVENTS.c.at).where(EVENTS.c.seq == oldest))


def seal(session: Session, key: SigningKey, *, owner: str, now: datetime, limit: int = BATCH) -> Sealed | None:
    """Seal the oldest unsealed events; None where there are none, or where another process holds the lease."""
    log = session.scalars(select(AuditLogRow).with_for_update()).one()
    if log.lease_owner not in (None, owner) and log.lease_expires_at is not None and log.lease_expires_at > now:
        return None
    leases.take(log, owner, seconds=LEASE_SECONDS, now=now)
    events = _unsealed(session, limit)
    if not events:
        return None
    _write_leaves(session, log.size, [event.seq for event in events])
    grown = tiles.grown(
        log.size, tiles.hashed_leaves(leaves_data([tuple(event) for event in events])), read_tile(session)
    )
    _write_tiles(session, grown)
    _count(session, events)
    log.size += len(events)
    session.flush()
    root = tiles.root(log.size, read_tile(session))
    note = str(sign_checkpoint(Checkpoint(key.name, log.size, root), key))
    _keep_checkpoint(session, AuditCheckpointRow(size=log.size, root=root.hex(), note=note, made_at=now))
    return Sealed(len(events), log.size, note)


def release(session: Session, *, owner: str) -> None:
    """Let the next process seal at once: this one ends."""
    log = session.scalars(select(AuditLogRow).with_for_update()).one()
    if log.lease_owner == owner:
        leases.end(log)


def newest_checkpoint(session: Session) -> AuditCheckpointRow | None:
    """Return the newest checkpoint, None before anything was sealed."""
    return session.scalars(select(AuditCheckpointRow).order_by(AuditCheckpointRow.size.desc()).limit(1)).one_or_none()


def keep_signatures(session: Session, note: str) -> None:
    """Keep a checkpoint that witnesses signed in the place of the one that the log alone signed."""
    row = session.get(AuditCheckpointRow, parse_checkpoint(parse_note(note).text).size)
    if row is not None:
        row.note = note


def read_tile(session: Session) -> tiles.ReadTile:
    """Return what reads the stored tiles."""

    def read(level: int, number: int) -> bytes:
        query = select(AuditTileRow.hashes).where(AuditTileRow.level == level, AuditTileRow.number == number)
        return session.scalar(query) or b""

    return read


def _unsealed(session: Session, limit: int) -> Sequence[Row[Any]]:
    """Return the events that are committed and not sealed, by number, and note them as sealed."""
    seqs = session.scalars(select(AuditPendingRow.seq).order_by(AuditPendingRow.seq).limit(limit)).all()
    if not seqs:
        return ()
    # By range, and not one by one: what is unsealed lies together.
    between = AuditPendingRow.seq.between(seqs[0], seqs[-1])
    query = select(*COLUMNS).join(AuditPendingRow, AuditPendingRow.seq == EVENTS.c.seq).where(between)
    query = query.where(EVENTS.c.seq.between(seqs[0], seqs[-1])).order_by(EVENTS.c.seq)
    wanted = set(seqs)
    # What was committed between the two questions waits for the next batch. One that is noted and not there stays
    # noted: verification names it.
    return [event for event in session.execute(query) if event.seq in wanted]


def _write_leaves(session: Session, size: int, seqs: Sequence[int]) -> None:
    """Give events their leaves, and note them as sealed; a list is handed over whole, for one by one takes minutes."""
    postgresql = session.get_bind().dialect.name == "postgresql"
    given = list(seqs) if postgresql else json.dumps(seqs)
    for statement in _SEALED_IN_POSTGRESQL if postgresql else _SEALED_IN_SQLITE:
        named = {"size": size, "seqs": given} if ":size" in statement else {"seqs": given}
        session.execute(text(statement), named)


def _write_tiles(session: Session, grown: Iterable[tiles.Tile]) -> None:
    """Write tiles; the first of each level may stand there already, shorter."""
    levels: set[int] = set()
    for tile in grown:
        if tile.level not in levels:
            levels.add(tile.level)
            session.execute(
                delete(AuditTileRow).where(AuditTileRow.level == tile.level, AuditTileRow.number == tile.number)
            )
    session.execute(
        insert(cast("Table", AuditTileRow.__table__)),
        [{"level": tile.level, "number": tile.number, "hashes": tile.hashes} for tile in grown],
    )


def counted(events: Iterable[Sequence[Any]]) -> Counter[tuple[str, str, str]]:
    """Return how many events each day has of each tag and of each actor, by day, kind and name."""
    counts: Counter[tuple[str, str, str]] = Counter()
    together = Counter((event[_AT][:_DAY_LENGTH], event[_TAG], event[_ACTOR]) for event in events)
    for (day, tag, actor), count in together.items():
        counts[day, "tag", tag] += count
        counts[day, "actor", actor] += count
    return counts


def _count(session: Session, events: Iterable[Sequence[Any]]) -> None:
    rows = [
        {"day": day, "kind": kind, "name": name, "count": count}
        for (day, kind, name), count in sorted(counted(events).items())
    ]
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(AuditCountRow)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["day", "kind", "name"], set_={"count": AuditCountRow.count + statement.excluded.count}
        ),
        rows,
    )


def _keep_checkpoint(session: Session, row: AuditCheckpointRow) -> None:
    last = newest_checkpoint(session)
    before = select(AuditCheckpointRow).order_by(AuditCheckpointRow.size.desc()).offset(1).limit(1)
    kept = session.scalars(before).one_or_none()
    if last is not None and kept is not None and last.made_at - kept.made_at < timedelta(seconds=_KEPT_SECONDS):
        session.delete(last)
        session.flush()
    session.add(row)
    session.flush()
