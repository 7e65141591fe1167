"""The circuit breaker of each destination: one that cannot be reached is left alone, and tried again ever more rarely.

A destination without a row is closed, as is one whose ``open_until`` is None: its failures are counted there. It is
half open once ``open_until`` has passed: one batch may try it, until ``trial_until`` no other one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from storage import audit, new_rows
from storage.backoff import Backoff, Draw
from storage.delivery_tables import DestinationCircuitRow

_ACTOR = "delivery"
_BACKOFF = Backoff(first_seconds=5.0, longest_seconds=120.0)
"""A trial is one association and writes nothing, so a peer that is back need not wait long for it."""
_LONGEST_SHUT = timedelta(seconds=_BACKOFF.longest_seconds)
_LONGEST_TRIAL = timedelta(hours=1)
"""What lies further ahead was written before the clock was set back, and holds nothing up."""
_MOST_UNSERVED = 3
"""So many batches in a row may go without any answer that settles an object: then it is not the object's fault."""
_LONGEST_SUBJECT = 160


class CircuitState(StrEnum):
    """Whether anything is sent to a destination. HALF_OPEN: one batch, to see whether it is back."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Signal(StrEnum):
    """What a batch showed of its destination, or what a person asked for.

    SERVED: it answered for an object, well or badly. UNREACHABLE: no association could be had. UNSERVED: there was an
    association, and no object got an answer other than «out of resources». RELEASED: a person closes the circuit.
    """

    SERVED = "served"
    UNREACHABLE = "unreachable"
    UNSERVED = "unserved"
    RELEASED = "released"


STEPS: Mapping[tuple[CircuitState, Signal], CircuitState] = {
    (CircuitState.CLOSED, Signal.SERVED): CircuitState.CLOSED,
    (CircuitState.CLOSED, Signal.UNSERVED): CircuitState.CLOSED,  # counted: the third in a row is UNREACHABLE
    (CircuitState.CLOSED, Signal.UNREACHABLE): CircuitState.OPEN,
    (CircuitState.CLOSED, Signal.RELEASED): CircuitState.CLOSED,
    # Batches that had begun before it opened may still end either way.
    (CircuitState.OPEN, Signal.SERVED): CircuitState.CLOSED,
    (CircuitState.OPEN, Signal.UNSERVED): CircuitState.OPEN,
    (CircuitState.OPEN, Signal.UNREACHABLE): CircuitState.OPEN,
    (CircuitState.OPEN, Signal.RELEASED): CircuitState.CLOSED,
    (CircuitState.HALF_OPEN, Signal.SERVED): CircuitState.CLOSED,
    (CircuitState.HALF_OPEN, Signal.UNSERVED): CircuitState.OPEN,
    (CircuitState.HALF_OPEN, Signal.UNREACHABLE): CircuitState.OPEN,
    (CircuitState.HALF_OPEN, Signal.RELEASED): CircuitState.CLOSED,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a destination cannot be reached: a stable code, and a reason for a person."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Circuit:
    """The circuit of a destination that something is wrong with.

    ``failures`` in a row; ``open_until`` is when it is tried again, None while it is closed.
    """

    destination: str
    state: CircuitState
    failures: int
    open_until: datetime | None
    fault: Fault | None
    changed_at: datetime


def state_of(session: Session, destination: str, *, now: datetime) -> CircuitState:
    """Return the state of a destination's circuit."""
    return _state(session.get(DestinationCircuitRow, destination), now)


def listed(session: Session, *, now: datetime) -> tuple[Circuit, ...]:
    """Return the circuits of destinations that failed lately, by their names; all others are closed."""
    query = select(DestinationCircuitRow).order_by(DestinationCircuitRow.destination)
    return tuple(_circuit(row, now) for row in session.scalars(query))


def shut_off(session: Session, *, now: datetime) -> Mapping[str, datetime]:
    """Return the destinations that nothing may be sent to now, each with the time until which that holds."""
    until = DestinationCircuitRow.open_until
    trial = DestinationCircuitRow.trial_until
    is_shut = or_(until.between(now, now + _LONGEST_SHUT), trial.between(now, now + _LONGEST_TRIAL))
    query = select(DestinationCircuitRow).where(until.is_not(None), is_shut)
    return {row.destination: _shut_until(row, now) for row in session.scalars(query)}


def admit(session: Session, destination: str, *, trial_seconds: float, now: datetime) -> CircuitState:
    """Say in which state a batch finds the circuit; OPEN where it may not be sent.

    A half open one lets this batch through, and no other for ``trial_seconds`` unless the circuit changes before.
    """
    row = _locked(session, destination)
    state = _state(row, now)
    if row is not None and state is CircuitState.HALF_OPEN:
        if _is_tried(row, now):
            return CircuitState.OPEN
        row.trial_until = now + timedelta(seconds=trial_seconds)
    return state


def served(session: Session, destination: str, *, now: datetime) -> bool:
    """Record that a destination answers; True where its circuit was not closed before."""
    return _close(session, destination, Signal.SERVED, actor=_ACTOR, now=now)


def release(session: Session, destination: str, *, actor: str, now: datetime) -> bool:
    """Close a destination's circuit since a person says so; True where it was not closed before."""
    return _close(session, destination, Signal.RELEASED, actor=actor, now=now)


def failed(
    session: Session, destination: str, signal: Signal, fault: Fault, *, draw: Draw, now: datetime
) -> CircuitState:
    """Record that a batch failed over its destination; return the state that it had found the circuit in.

    Only the opening of a closed circuit is an event: trials that fail are counted in the row alone.
    """
    values = {"destination": destination, "failures": 0, "open_until": None, "trial_until": None, "changed_at": now}
    new_rows.add_if_new(session, DestinationCircuitRow, {**values, "code": None, "reason": None})
    row = session.get_one(DestinationCircuitRow, destination, with_for_update=True, populate_existing=True)
    before = _state(row, now)
    if before is CircuitState.OPEN:
        return before
    row.failures += 1
    row.code, row.reason, row.changed_at = fault.code, fault.reason, now
    if STEPS[before, _weighed(signal, before, row.failures)] is CircuitState.OPEN:
        row.open_until, row.trial_until = now + _BACKOFF.pause(row.failures, draw=draw), None
        if before is CircuitState.CLOSED:
            _record(session, row, "circuit:opened", actor=_ACTOR, now=now)
    return before


def _weighed(signal: Signal, before: CircuitState, failures: int) -> Signal:
    is_enough = before is CircuitState.CLOSED and signal is Signal.UNSERVED and failures >= _MOST_UNSERVED
    return Signal.UNREACHABLE if is_enough else signal


def _close(session: Session, destination: str, signal: Signal, *, actor: str, now: datetime) -> bool:
    row = _locked(session, destination)
    before = _state(row, now)
    if row is None or STEPS[before, signal] is not CircuitState.CLOSED:
        return False
    if before is not CircuitState.CLOSED:
        _record(session, row, "circuit:closed", actor=actor, now=now)
    session.delete(row)
    session.flush()
    return before is not CircuitState.CLOSED


def _locked(session: Session, destination: str) -> DestinationCircuitRow | None:
    # Nearly always there is no row: it is looked for without a lock, which SQLite has anyway.
    if session.get(DestinationCircuitRow, destination) is None:
        return None
    return session.get(DestinationCircuitRow, destination, with_for_update=True, populate_existing=True)


def _state(row: DestinationCircuitRow | None, now: datetime) -> CircuitState:
    if row is None or row.open_until is None:
        return CircuitState.CLOSED
    return CircuitState.OPEN if now < row.open_until <= now + _LONGEST_SHUT else CircuitState.HALF_OPEN


def _shut_until(row: DestinationCircuitRow, now: datetime) -> datetime:
    opens = row.open_until if _state(row, now) is CircuitState.OPEN else now
    return max(opens or now, (row.trial_until if _is_tried(row, now) else now) or now)


def _is_tried(row: DestinationCircuitRow, now: datetime) -> bool:
    return row.trial_until is not None and now < row.trial_until <= now + _LONGEST_TRIAL


def _circuit(row: DestinationCircuitRow, now: datetime) -> Circuit:
    fault = Fault(row.code, row.reason or "") if row.code is not None else None
    return Circuit(row.destination, _state(row, now), row.failures, row.open_until, fault, row.changed_at)


def _record(session: Session, row: DestinationCircuitRow, tag: str, *, actor: str, now: datetime) -> None:
    audit.record(
        session,
        tag,
        f"destination/{row.destination}"[:_LONGEST_SUBJECT],
        actor=actor,
        now=now,
        details={"destination": row.destination, "failures": row.failures, "code": row.code},
    )
