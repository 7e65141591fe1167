"""The receivers of results: one entry each, with the forms that it gets, of which results, and how they are written.

A destination of the setting ``gateway.destinations`` is no entry: it is known by its address and gets SEG and SR.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage import audit, delivery_lists, negotiations
from storage.delivery_tables import DestinationCircuitRow, DestinationRow
from storage.domain import ObjectKind, Priority, Unanalysed
from storage.errors import DestinationBusy, RecordExists
from storage.named_entries import EntryKind
from storage.proof_ways import ProofWay
from storage.states import DeliveryState

DEFAULT_FORMS = (ObjectKind.SEG, ObjectKind.SR)
_KIND = EntryKind(DestinationRow, "destination", "destination", "oncue destinations list")


@dataclass(frozen=True, slots=True)
class DestinationEntry:
    """One receiver. What is None is not asked of what goes there, is no limit, or is written as for everybody.

    ``address`` is ``AET@HOST:PORT``, ``tls://AET@HOST:PORT`` or the base URL of a DICOMweb service. ``forms`` are in
    the order that somebody named them. ``transfer_syntaxes`` are UIDs, ``credentials`` is the path of a file. One that
    does not keep segmentations takes them and shows nothing of them. One that ``shows_priority`` has it in series
    descriptions and in the title of the key object.
    """

    name: str
    address: str
    forms: tuple[ObjectKind, ...] = DEFAULT_FORMS
    routes: tuple[str, ...] | None = None
    priorities: tuple[Priority, ...] | None = None
    transfer_syntaxes: tuple[str, ...] | None = None
    series_number_base: int | None = None
    series_description: str | None = None
    character_set: str | None = None
    keeps_segmentations: bool = True
    shows_priority: bool = False
    rejection_notes: bool = False
    unanalysed: Unanalysed = Unanalysed.NOTHING
    proof: ProofWay = ProofWay.NONE
    proof_address: str | None = None
    associations: int = 1
    objects_per_association: int | None = None
    kilobytes_per_second: int | None = None
    credentials: str | None = None
    paused: bool = False

    def wants(self, route: str, priority: Priority) -> bool:
        """Whether results of a route with a priority go there."""
        of_route = self.routes is None or route in self.routes
        return of_route and (self.priorities is None or priority in self.priorities)


@dataclass(frozen=True, slots=True)
class RecordedDestination:
    """An entry with who made it, and when it was made and changed."""

    entry: DestinationEntry
    added_by: str
    added_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """Until when a destination is left alone, and why: after ``failures`` attempts in a row."""

    until: datetime
    failures: int
    code: str | None


def add(session: Session, entry: DestinationEntry, *, actor: str, now: datetime) -> None:
    """Record an entry; RecordExists where its name is taken."""
    if _KIND.find(session, entry.name) is not None:
        raise RecordExists(
            f"there is a destination {entry.name} already: choose another name, or `oncue destinations change`"
        )
    session.add(DestinationRow(**_columns(entry), added_by=actor, added_at=now, changed_at=now))
    session.flush()
    audit.record(session, "destination:added", _KIND.subject(entry.name), actor=actor, now=now, details=_details(entry))


def change(session: Session, entry: DestinationEntry, *, actor: str, now: datetime) -> None:
    """Put an entry in the place of the one with its name; RecordMissing where there is none.

    Results that are on their way go to the new address. What the old one said that it takes is forgotten.
    """
    row = _KIND.required(session, entry.name)
    before = _entry(row)
    if before == entry:
        return
    for column, value in _columns(entry).items():
        setattr(row, column, value)
    row.changed_at = now
    session.flush()
    if (before.address, before.transfer_syntaxes) != (entry.address, entry.transfer_syntaxes):
        _forget_peer(session, entry.name)
    audit.record(
        session, "destination:changed", _KIND.subject(entry.name), actor=actor, now=now, details=_details(entry)
    )


def set_paused(session: Session, name: str, *, paused: bool, actor: str, now: datetime) -> None:
    """Send nothing to a destination until it is resumed, or go on; the same once more changes nothing."""
    _KIND.set_paused(session, name, paused=paused, actor=actor, now=now)


def remove(session: Session, name: str, *, actor: str, now: datetime) -> None:
    """Take an entry off the record; RecordMissing where there is none, DestinationBusy while anything is on its way.

    ``calling_off.call_off_destination`` calls off what waits. What was sent there stays on record under its name.
    """
    row = _KIND.required(session, name)
    _require_idle(session, name)
    entry = _entry(row)
    session.delete(row)
    session.flush()
    _forget_peer(session, name)
    audit.record(session, "destination:removed", _KIND.subject(name), actor=actor, now=now, details=_details(entry))


def find(session: Session, name: str) -> RecordedDestination:
    """Return the entry of this name; RecordMissing where there is none."""
    row = _KIND.find(session, name)
    if row is None:
        raise _KIND.missing(name)
    return _recorded(row)


def listed(session: Session) -> tuple[RecordedDestination, ...]:
    """Return every entry by name."""
    return tuple(map(_recorded, session.scalars(select(DestinationRow).order_by(DestinationRow.name))))


def entries(session: Session) -> tuple[DestinationEntry, ...]:
    """Return what every entry says, by name."""
    return tuple(recorded.entry for recorded in listed(session))


def open_circuits(session: Session, *, now: datetime) -> Mapping[str, OpenCircuit]:
    """Return the destinations that are left alone at the moment, since they could not be reached, by name."""
    query = select(DestinationCircuitRow).where(DestinationCircuitRow.open_until > now)
    return {
        row.destination: OpenCircuit(row.open_until, row.failures, row.code)
        for row in session.scalars(query)
        if row.open_until is not None
    }


def hold(session: Session, names: Collection[str]) -> frozenset[str]:
    """Keep entries from being removed until this transaction ends, and return the names of those that still stand.

    To be taken before any study: whoever removes an entry takes it in the same order.
    """
    query = select(DestinationRow.name).where(DestinationRow.name.in_(names)).order_by(DestinationRow.name)
    return frozenset(session.scalars(query.with_for_update(read=True)))


def _require_idle(session: Session, name: str) -> None:
    """Raise DestinationBusy while anything waits for a destination, or is being sent there."""
    counts = delivery_lists.count_by_state(session, name)
    waiting, sending = counts.get(DeliveryState.PENDING, 0), counts.get(DeliveryState.SENDING, 0)
    if waiting:
        raise DestinationBusy(
            f"{waiting + sending} deliveries to {name} are on their way: wait for them, or call them off by "
            f"`oncue destinations remove {name} --call-off`"
        )
    if sending:
        raise DestinationBusy(
            f"{sending} deliveries to {name} are being sent at this moment and cannot be called off: repeat this once "
            "they have ended; a peer that hangs is given up after a while"
        )


def _forget_peer(session: Session, name: str) -> None:
    """Forget what is known of the peer at an address: what it takes, and that it could not be reached."""
    negotiations.forget(session, name)
    session.execute(delete(DestinationCircuitRow).where(DestinationCircuitRow.destination == name))


def _details(entry: DestinationEntry) -> dict[str, audit.Detail]:
    columns = {column: value for column, value in _columns(entry).items() if column not in ("name", "credentials")}
    return {**columns, "credentials": entry.credentials is not None}


def _columns(entry: DestinationEntry) -> dict[str, audit.Detail]:
    return {
        "name": entry.name,
        "address": entry.address,
        "forms": ",".join(entry.forms),
        "routes": _joined(entry.routes),
        "priorities": _joined(entry.priorities),
        "transfer_syntaxes": _joined(entry.transfer_syntaxes),
        "series_number_base": entry.series_number_base,
        "series_description": entry.series_description,
        "character_set": entry.character_set,
        "keeps_segmentations": entry.keeps_segmentations,
        "shows_priority": entry.shows_priority,
        "rejection_notes": entry.rejection_notes,
        "unanalysed": entry.unanalysed.value,
        "proof": entry.proof.value,
        "proof_address": entry.proof_address,
        "associations": entry.associations,
        "objects_per_association": entry.objects_per_association,
        "kilobytes_per_second": entry.kilobytes_per_second,
        "credentials": entry.credentials,
        "paused": entry.paused,
    }


def _joined(values: tuple[str, ...] | None) -> str | None:
    return None if values is None else ",".join(values)


def _split(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(text.split(","))


def _entry(row: DestinationRow) -> DestinationEntry:
    priorities = _split(row.priorities)
    return DestinationEntry(
        name=row.name,
        address=row.address,
        forms=tuple(map(ObjectKind, row.forms.split(","))),
        routes=_split(row.routes),
        priorities=None if priorities is None else tuple(map(Priority, priorities)),
        transfer_syntaxes=_split(row.transfer_syntaxes),
        series_number_base=row.series_number_base,
        series_description=row.series_description,
        character_set=row.character_set,
        keeps_segmentations=row.keeps_segmentations,
        shows_priority=row.shows_priority,
        rejection_notes=row.rejection_notes,
        unanalysed=Unanalysed(row.unanalysed),
        proof=ProofWay(row.proof),
        proof_address=row.proof_address,
        associations=row.associations,
        objects_per_association=row.objects_per_association,
        kilobytes_per_second=row.kilobytes_per_second,
        credentials=row.credentials,
        paused=row.paused,
    )


def _recorded(row: DestinationRow) -> RecordedDestination:
    return RecordedDestination(_entry(row), row.added_by, row.added_at, row.changed_at)
