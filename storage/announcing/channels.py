"""The receivers of announcements: one entry each, with what it is told of, when, and how often at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import audit, circuits
from storage.announcing import escalations
from storage.announcing.tables import AnnouncementRow, AnnouncementState, ChannelKind, ChannelRow
from storage.domain import Priority
from storage.errors import ChannelBusy, RecordExists
from storage.named_entries import EntryKind

URGENT = (Priority.STAT, Priority.HIGH)
_KIND = EntryKind(ChannelRow, "channel", "channel", "oncue channels list")
_UNDER_WAY = (AnnouncementState.PENDING, AnnouncementState.SENDING)


@dataclass(frozen=True, slots=True)
class ChannelEntry:
    """One receiver. What is None is not asked of what it is told, or is no limit.

    It is told of studies with one of its ``priorities``, by results of its ``routes`` alone. One with
    ``escalation_minutes`` is told only of those that nobody opened so long after they were analysed. ``credentials`` is
    the path of a file, ``options`` is JSON by kind. Announcements are collected for ``group_seconds``; ``per_hour``
    bounds messages.
    """

    name: str
    kind: ChannelKind
    address: str
    priorities: tuple[Priority, ...] = URGENT
    routes: tuple[str, ...] | None = None
    escalation_minutes: int | None = None
    patient_data: bool = False
    private_network: bool = False
    credentials: str | None = None
    options: str = "{}"
    group_seconds: int = 0
    per_hour: int | None = None
    paused: bool = False

    @property
    def shown_address(self) -> str:
        """The address without its query, which may hold a secret of the receiver."""
        return self.address.partition("?")[0]

    def listens_to(self, route: str) -> bool:
        """Whether results of a route count for it."""
        return self.routes is None or route in self.routes


@dataclass(frozen=True, slots=True)
class RecordedChannel:
    """An entry with who made it, and when it was made and changed."""

    entry: ChannelEntry
    added_by: str
    added_at: datetime
    changed_at: datetime


def add(session: Session, entry: ChannelEntry, *, actor: str, now: datetime) -> None:
    """Record an entry; RecordExists where its name is taken. It is told of results that come from now on."""
    if _KIND.find(session, entry.name) is not None:
        raise RecordExists(f"there is a channel {entry.name} already: choose another name, or `oncue channels change`")
    session.add(ChannelRow(**_columns(entry), added_by=actor, added_at=now, changed_at=now))
    session.flush()
    escalations.reschedule(session, now=now)
    audit.record(session, "channel:added", _KIND.subject(entry.name), actor=actor, now=now, details=_details(entry))


def change(session: Session, entry: ChannelEntry, *, actor: str, now: datetime) -> None:
    """Put an entry in the place of the one with its name; RecordMissing where there is none.

    What waits goes to the new address, which is tried at once.
    """
    row = _KIND.required(session, entry.name)
    before = _entry(row)
    if before == entry:
        return
    for column, value in _columns(entry).items():
        setattr(row, column, value)
    row.changed_at = now
    session.flush()
    escalations.reschedule(session, now=now)  # studies before circuits: whoever records an answer takes them so
    circuits.release(session, circuit_of(entry.name), actor=actor, now=now)
    audit.record(session, "channel:changed", _KIND.subject(entry.name), actor=actor, now=now, details=_details(entry))


def set_paused(session: Session, name: str, *, paused: bool, actor: str, now: datetime) -> None:
    """Tell a channel nothing until it is resumed, or go on; the same once more changes nothing."""
    if _KIND.set_paused(session, name, paused=paused, actor=actor, now=now) is None:
        return
    escalations.reschedule(session, now=now)
    if not paused:
        circuits.release(session, circuit_of(name), actor=actor, now=now)


def remove(session: Session, name: str, *, actor: str, now: datetime) -> None:
    """Take an entry off the record; RecordMissing where there is none, ChannelBusy while anything is on its way.

    What it was told stays on record under its name.
    """
    row = _KIND.required(session, name)
    counts = count_by_state(session, name)
    if waiting := sum(counts.get(state, 0) for state in _UNDER_WAY):
        raise ChannelBusy(
            f"{waiting} announcements to {name} are on their way: wait for them, or call them off by "
            f"`oncue channels remove {name} --call-off`; what is being sent ends within a minute"
        )
    entry = _entry(row)
    session.delete(row)
    session.flush()
    escalations.reschedule(session, now=now)
    circuits.release(session, circuit_of(name), actor=actor, now=now)
    audit.record(session, "channel:removed", _KIND.subject(name), actor=actor, now=now, details=_details(entry))


def find(session: Session, name: str) -> RecordedChannel:
    """Return the entry of this name; RecordMissing where there is none."""
    row = _KIND.find(session, name)
    if row is None:
        raise _KIND.missing(name)
    return _recorded(row)


def listed(session: Session) -> tuple[RecordedChannel, ...]:
    """Return every entry by name."""
    return tuple(map(_recorded, session.scalars(select(ChannelRow).order_by(ChannelRow.name))))


def entries(session: Session) -> tuple[ChannelEntry, ...]:
    """Return what every entry says, by name."""
    return tuple(recorded.entry for recorded in listed(session))


def taken(session: Session, name: str) -> ChannelEntry | None:
    """Wait until nobody else works on a channel, and return its entry; None where it is gone.

    Claims of one channel follow one another so.
    """
    row = _KIND.taken(session, name)
    return None if row is None else _entry(row)


def count_by_state(session: Session, name: str) -> Mapping[AnnouncementState, int]:
    """Return how many announcements to a channel there are in each state."""
    query = select(AnnouncementRow.state, func.count()).where(AnnouncementRow.channel == name)
    return {AnnouncementState(row[0]): row[1] for row in session.execute(query.group_by(AnnouncementRow.state))}


def circuit_of(name: str) -> str:
    """Return what the circuit breaker of a channel is kept under: no destination can be called so."""
    return f"channel/{name}"


def _columns(entry: ChannelEntry) -> dict[str, audit.Detail]:
    return {
        "name": entry.name,
        "kind": entry.kind.value,
        "address": entry.address,
        "priorities": ",".join(entry.priorities),
        "routes": None if entry.routes is None else ",".join(entry.routes),
        "escalation_minutes": entry.escalation_minutes,
        "patient_data": entry.patient_data,
        "private_network": entry.private_network,
        "credentials": entry.credentials,
        "options": entry.options,
        "group_seconds": entry.group_seconds,
        "per_hour": entry.per_hour,
        "paused": entry.paused,
    }


def _details(entry: ChannelEntry) -> dict[str, audit.Detail]:
    columns = {column: value for column, value in _columns(entry).items() if column not in ("name", "credentials")}
    return {**columns, "address": entry.shown_address, "credentials": entry.credentials is not None}


def _entry(row: ChannelRow) -> ChannelEntry:
    return ChannelEntry(
        name=row.name,
        kind=ChannelKind(row.kind),
        address=row.address,
        priorities=tuple(map(Priority, row.priorities.split(","))),
        routes=None if row.routes is None else tuple(row.routes.split(",")),
        escalation_minutes=row.escalation_minutes,
        patient_data=row.patient_data,
        private_network=row.private_network,
        credentials=row.credentials,
        options=row.options,
        group_seconds=row.group_seconds,
        per_hour=row.per_hour,
        paused=row.paused,
    )


def _recorded(row: ChannelRow) -> RecordedChannel:
    return RecordedChannel(_entry(row), row.added_by, row.added_at, row.changed_at)
