"""Batches of deliveries that a sender takes under a lease, gives back, or puts off."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import circuits, due_deliveries, leases, processes
from storage.backoff import Draw
from storage.circuits import CircuitState
from storage.deliveries import BACKOFF, update_where
from storage.delivery_lists import Delivery, chosen
from storage.delivery_tables import DeliveryRow
from storage.domain import Priority
from storage.due_deliveries import Waiting
from storage.states import DeliveryState

_COUNTED = 128
"""What waits for a destination is counted so far: more than any number of associations is opened for."""
_LET_GO: Mapping[str, object] = {
    "state": DeliveryState.PENDING.value,
    "lease_owner": None,
    "lease_expires_at": None,
}


@dataclass(frozen=True, slots=True)
class ClaimTerms:
    """Who takes a batch, for how long, how much of it, and how many of a destination may be on their way at once.

    ``owner`` belongs to this batch alone: that is how batches are counted.
    """

    owner: str
    lease_seconds: float
    objects: int = 50
    associations: int = 1


def waiting(session: Session, *, now: datetime) -> tuple[Waiting, ...]:
    """Return what waits for each destination whose circuit lets something through, the most urgent first."""
    shut = circuits.shut_off(session, now=now)
    names = [name for name in due_deliveries.destinations(session, now=now) if name not in shut]
    found = [due_deliveries.waiting(session, name, cap=_COUNTED, now=now) for name in names]
    return tuple(sorted(found, key=lambda one: len(Priority) + 1 if one.rank is None else one.rank))


def claim_due(
    session: Session,
    *,
    owner: str,
    lease_seconds: float,
    now: datetime,
    limit: int = 50,
    busy: Collection[str] = (),
) -> tuple[Delivery, ...]:
    """Take what is due for the first destination that has something, as ``claim`` does; ``busy`` ones are left out."""
    terms = ClaimTerms(owner, lease_seconds, limit)
    ready = (one.destination for one in waiting(session, now=now) if one.due and one.destination not in busy)
    claims = (claim(session, destination, terms, now=now) for destination in ready)
    return next((batch for batch in claims if batch), ())


def claim(session: Session, destination: str, terms: ClaimTerms, *, now: datetime) -> tuple[Delivery, ...]:
    """Take a batch of what is due for a destination under a lease, in the order in which it is to be sent.

    The most urgent goes first, then what waited longest; what a sender left whose lease ran out goes before. Nothing
    is taken while as many batches as may be are on their way, nor where the circuit lets none through.
    """
    _take_turn(session, destination)
    if due_deliveries.open_batches(session, destination, now=now) >= terms.associations:
        return ()
    ids = due_deliveries.taken(session, destination, limit=terms.objects, now=now)
    if not ids or _is_shut(session, destination, terms, now):
        return ()
    lease = leases.taken_by(terms.owner, seconds=terms.lease_seconds, now=now)
    begun = {"state": DeliveryState.SENDING.value, "attempts": DeliveryRow.attempts + 1, **lease}
    update_where(session, DeliveryRow.id.in_(ids), begun)
    by_id = {delivery.id: delivery for delivery in chosen(session, ids)}
    return tuple(by_id[number] for number in ids)


def renew(session: Session, ids: Collection[int], *, owner: str, lease_seconds: float, now: datetime) -> None:
    """Push the leases out of what an owner still holds of some deliveries: it is alive, however slow its peer is."""
    update_where(session, due_deliveries.held_by(ids, owner), leases.taken_by(owner, seconds=lease_seconds, now=now))


def hand_back(session: Session, ids: Collection[int], *, owner: str) -> None:
    """Let go of deliveries that were claimed and not offered to the peer: they stand as before, and are due."""
    update_where(session, due_deliveries.held_by(ids, owner), {**_LET_GO, "attempts": DeliveryRow.attempts - 1})


def put_off(session: Session, ids: Collection[int], *, owner: str, now: datetime, draw: Draw) -> None:
    """Let go of deliveries that were tried while their destination is known to be in trouble, until a later time.

    That trouble is on record: these attempts tell nothing more, and are no events.
    """
    held = select(DeliveryRow.id, DeliveryRow.attempts).where(due_deliveries.held_by(ids, owner))
    for number, attempts in session.execute(held).all():
        moment = now + BACKOFF.pause(attempts, draw=draw)
        update_where(session, due_deliveries.held_by([number], owner), {**_LET_GO, "next_attempt_at": moment})


def end_lost(session: Session, *, now: datetime) -> int:
    """End the leases of batches whose process is gone, and return how many there were.

    What a killed gateway held goes out once it was not seen for a while, and not only when its lease runs out.
    """
    held = select(DeliveryRow.lease_owner).where(
        DeliveryRow.state == DeliveryState.SENDING.value, DeliveryRow.lease_expires_at > now
    )
    owners = [owner for owner in session.scalars(held.distinct()) if owner is not None]
    lost = processes.lost(session, {_process_of(owner) for owner in owners}, now=now)
    ended = [owner for owner in owners if _process_of(owner) in lost]
    if ended:
        update_where(session, DeliveryRow.lease_owner.in_(ended), {"lease_expires_at": now})
    return len(ended)


def _process_of(owner: str) -> str:
    """Return the process of a batch's owner, which is the process with the number of the batch behind it."""
    return owner.rpartition("/")[0]


def _take_turn(session: Session, destination: str) -> None:
    """Have claims of one destination follow one another, so that the batches on their way can be counted."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext("deliveries"), func.hashtext(destination))))


def _is_shut(session: Session, destination: str, terms: ClaimTerms, now: datetime) -> bool:
    found = circuits.admit(session, destination, trial_seconds=terms.lease_seconds, now=now)
    return found is CircuitState.OPEN
