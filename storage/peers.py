"""The peers that may open an association with us: one entry each, and nobody without one beyond this machine.

A peer is known by the title that it calls itself, and where an entry says so by the title that it calls, by its
address and by its certificate. Several entries may share a title: the one that says most of the caller counts.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import audit, refused_peers
from storage.care_settings import CareSetting
from storage.domain import Lane
from storage.errors import RecordExists, RecordMissing
from storage.peer_tables import PeerRow

LOOPBACK = "loopback"
"""What a sender on this machine is called that has no entry; no entry may have this name."""


class Service(StrEnum):
    """What a peer may ask of us (PS3.4 Annexes A, B, C, J and CC)."""

    VERIFICATION = "echo"
    STORAGE = "store"
    WORKITEMS = "ups"
    QUERY = "find"
    RETRIEVAL = "get"
    COMMITMENT = "commit"


USUAL_SERVICES = frozenset({Service.VERIFICATION, Service.STORAGE})
"""What a sender of images needs. The others show patients' data, or are for archives: only an entry that says so
allows them."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """What a peer may use in one hour of the clock; None is no bound. A megabyte is 1,000,000 bytes."""

    associations: int | None = None
    images: int | None = None
    megabytes: int | None = None


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """Who may come in, and for what. What is None is not asked.

    ``called_aet`` None is our own title; ``network`` is a CIDR; ``certificate_name`` must be the common name or a DNS
    name of the client certificate; ``query_address`` is where the peer answers questions about its studies,
    ``store_address`` where it takes what it asks for by C-MOVE, and reports of commitment; triage policies may look at
    its ``care_setting``. An entry that is not ``allowed`` keeps whom it describes out.
    """

    name: str
    calling_aet: str
    called_aet: str | None = None
    network: str | None = None
    certificate_name: str | None = None
    services: frozenset[Service] = USUAL_SERVICES
    sop_classes: frozenset[str] | None = None
    lane: Lane = Lane.ROUTINE
    quotas: Quotas = field(default_factory=Quotas)
    query_address: str | None = None
    store_address: str | None = None
    care_setting: CareSetting | None = None
    allowed: bool = True


@dataclass(frozen=True, slots=True)
class RecordedPeer:
    """An entry with who made it, when it was made and changed, and when the peer last opened an association."""

    entry: PeerEntry
    added_by: str
    added_at: datetime
    changed_at: datetime
    last_seen_at: datetime | None


def add(session: Session, entry: PeerEntry, *, actor: str, now: datetime) -> None:
    """Record an entry; RecordExists where its name is taken, or another one describes the same caller.

    What was counted of this title among those turned away is forgotten: whoever still is turned away comes again.
    """
    _take_turn(session)
    if _row(session, entry.name) is not None:
        raise RecordExists(f"there is a peer {entry.name} already: choose another name, or give --replace")
    _require_distinct(session, entry)
    session.add(PeerRow(**_columns(entry), added_by=actor, added_at=now, changed_at=now, last_seen_at=None))
    session.flush()
    refused_peers.forget(session, entry.calling_aet)
    audit.record(session, "peer:added", _subject(entry.name), actor=actor, now=now, details=_details(entry))


def replace(session: Session, entry: PeerEntry, *, actor: str, now: datetime) -> None:
    """Put an entry in the place of the one with its name; RecordMissing where there is none. Twice changes nothing."""
    _take_turn(session)
    row = _required(session, entry.name)
    refused_peers.forget(session, entry.calling_aet)
    if _entry(row) == entry:
        return
    _require_distinct(session, entry)
    for column, value in _columns(entry).items():
        setattr(row, column, value)
    row.changed_at = now
    session.flush()
    audit.record(session, "peer:changed", _subject(entry.name), actor=actor, now=now, details=_details(entry))


def set_allowed(session: Session, name: str, *, allowed: bool, actor: str, now: datetime) -> None:
    """Let the peer of an entry in, or keep it out; the same once more changes nothing."""
    row = _required(session, name)
    if row.allowed == allowed:
        return
    row.allowed, row.changed_at = allowed, now
    audit.record(session, "peer:changed", _subject(name), actor=actor, now=now, details=_details(_entry(row)))


def remove(session: Session, name: str, *, actor: str, now: datetime) -> None:
    """Take an entry off the record; RecordMissing where there is none."""
    row = _required(session, name)
    entry = _entry(row)
    session.delete(row)
    audit.record(session, "peer:removed", _subject(name), actor=actor, now=now, details=_details(entry))


def find(session: Session, name: str) -> RecordedPeer:
    """Return the entry of this name; RecordMissing where there is none."""
    return _recorded(_required(session, name))


def listed(session: Session) -> tuple[RecordedPeer, ...]:
    """Return every entry by name."""
    return tuple(map(_recorded, session.scalars(select(PeerRow).order_by(PeerRow.name))))


def entries(session: Session) -> tuple[PeerEntry, ...]:
    """Return what every entry says, by name."""
    return tuple(recorded.entry for recorded in listed(session))


def query_address(session: Session, calling_aet: str) -> str | None:
    """Return where the peer with this title answers questions about its studies, None where nobody said.

    ``AET@HOST:PORT`` answers C-FIND (PS3.4 Annex C), ``https://HOST/...`` QIDO-RS (PS3.18 10.6).
    """
    query = (
        select(PeerRow.query_address)
        .where(PeerRow.calling_aet == calling_aet, PeerRow.query_address.is_not(None), PeerRow.allowed)
        .order_by(PeerRow.name)
    )
    return session.scalars(query).first()


def care_setting(session: Session, calling_aets: Collection[str]) -> CareSetting | None:
    """Return where patients are cared for whose images come from these titles; None where entries do not agree."""
    query = select(PeerRow.care_setting).where(PeerRow.calling_aet.in_(calling_aets), PeerRow.allowed)
    found = {text for text in session.scalars(query) if text is not None}
    return CareSetting(found.pop()) if len(found) == 1 else None


def seen(session: Session, names: frozenset[str], *, now: datetime) -> None:
    """Note that peers opened associations just now; no event, the associations have their own."""
    for row in session.scalars(select(PeerRow).where(PeerRow.name.in_(names)).order_by(PeerRow.name).with_for_update()):
        row.last_seen_at = now


def _take_turn(session: Session) -> None:
    """Wait until nobody else adds an entry: of two that describe the same caller neither would see the other."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("peers", 0))))


def _require_distinct(session: Session, entry: PeerEntry) -> None:
    same = (
        other.name for other in entries(session) if other.name != entry.name and _describes(other) == _describes(entry)
    )
    twin = next(same, None)
    if twin is not None:
        raise RecordExists(
            f"peer {twin} describes the same caller: change that one by `oncue peers add {twin} ... --replace`"
        )


def _describes(entry: PeerEntry) -> tuple[str | None, ...]:
    return entry.calling_aet, entry.called_aet, entry.network, entry.certificate_name


def _details(entry: PeerEntry) -> dict[str, audit.Detail]:
    return {column: value for column, value in _columns(entry).items() if column != "name"}


def _columns(entry: PeerEntry) -> dict[str, audit.Detail]:
    return {
        "name": entry.name,
        "calling_aet": entry.calling_aet,
        "called_aet": entry.called_aet,
        "network": entry.network,
        "certificate_name": entry.certificate_name,
        "services": ",".join(sorted(entry.services)),
        "sop_classes": None if entry.sop_classes is None else ",".join(sorted(entry.sop_classes)),
        "lane": entry.lane.value,
        "associations_per_hour": entry.quotas.associations,
        "images_per_hour": entry.quotas.images,
        "megabytes_per_hour": entry.quotas.megabytes,
        "query_address": entry.query_address,
        "store_address": entry.store_address,
        "care_setting": entry.care_setting.value if entry.care_setting else None,
        "allowed": entry.allowed,
    }


def _entry(row: PeerRow) -> PeerEntry:
    return PeerEntry(
        name=row.name,
        calling_aet=row.calling_aet,
        called_aet=row.called_aet,
        network=row.network,
        certificate_name=row.certificate_name,
        services=frozenset(map(Service, row.services.split(","))),
        sop_classes=None if row.sop_classes is None else frozenset(row.sop_classes.split(",")),
        lane=Lane(row.lane),
        quotas=Quotas(row.associations_per_hour, row.images_per_hour, row.megabytes_per_hour),
        query_address=row.query_address,
        store_address=row.store_address,
        care_setting=CareSetting(row.care_setting) if row.care_setting else None,
        allowed=row.allowed,
    )


def _recorded(row: PeerRow) -> RecordedPeer:
    return RecordedPeer(_entry(row), row.added_by, row.added_at, row.changed_at, row.last_seen_at)


def _row(session: Session, name: str) -> PeerRow | None:
    return session.scalars(select(PeerRow).where(PeerRow.name == name)).one_or_none()


def _required(session: Session, name: str) -> PeerRow:
    row = session.scalars(select(PeerRow).where(PeerRow.name == name).with_for_update()).one_or_none()
    if row is None:
        raise RecordMissing(f"there is no peer {name}; `oncue peers list` shows those that there are")
    return row


def _subject(name: str) -> str:
    return f"peer/{name}"
