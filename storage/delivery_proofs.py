"""Whether a destination is to show that it keeps what it took: a row beside the delivery, and the steps it may take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, changes
from storage.delivery_tables import DeliveryProofRow, DeliveryRow, DestinationRow
from storage.errors import IllegalTransition
from storage.proof_ways import ProofWay
from storage.result_tables import ResultObjectRow
from storage.states import ProofState

ALLOWED: Mapping[ProofState, frozenset[ProofState]] = {
    ProofState.PENDING: frozenset({ProofState.ASKED, ProofState.FAILED}),
    ProofState.ASKED: frozenset({ProofState.COMMITTED, ProofState.PENDING, ProofState.FAILED}),
    ProofState.COMMITTED: frozenset({ProofState.PENDING}),
    ProofState.FAILED: frozenset({ProofState.PENDING}),
}
"""COMMITTED and FAILED are left where the object is sent anew."""

ACTOR = "commitment"
_SETTLE = timedelta(seconds=2)
"""A destination is asked so long after it took an object: others of the same study follow, and go into one request."""


def open_proof(session: Session, delivery: DeliveryRow, study: audit.ConcernedStudy, *, now: datetime) -> None:
    """Have a destination that is to prove what it took be asked for an object that it took just now.

    The caller has taken the study. An object that is sent anew because the destination did not have it keeps the count
    of that; one that a person sends anew begins again.
    """
    way = session.scalar(select(DestinationRow.proof).where(DestinationRow.name == delivery.destination))
    if way is None or ProofWay(way) is ProofWay.NONE:
        return
    row = session.get(DeliveryProofRow, delivery.id, with_for_update=True, populate_existing=True)
    if row is None:
        row = DeliveryProofRow(delivery_id=delivery.id, destination=delivery.destination, attempts=0, resent=0)
        row.state = ProofState.PENDING.value
        session.add(row)
    elif row.state != ProofState.PENDING.value:
        step(row, ProofState.PENDING)
        row.resent = row.attempts = 0
    row.way, row.transaction_uid, row.committed_at = way, None, None
    row.code = row.reason = None
    row.next_attempt_at = now + _SETTLE
    session.flush()
    changes.announce(session)
    record(session, row, "proof:opened", study=study, now=now)


def step(row: DeliveryProofRow, state: ProofState) -> None:
    """Take a step; IllegalTransition where the table does not hold it."""
    if state not in ALLOWED[ProofState(row.state)]:
        raise IllegalTransition(f"the proof of delivery {row.delivery_id} cannot go from {row.state} to {state}")
    row.state = state.value


def record(session: Session, row: DeliveryProofRow, tag: str, *, study: audit.ConcernedStudy, now: datetime) -> None:
    """Write the event of a proof's new state into the history of the object's study."""
    query = (
        select(ResultObjectRow.sop_instance_uid, ResultObjectRow.series_instance_uid)
        .join(DeliveryRow, DeliveryRow.object_id == ResultObjectRow.id)
        .where(DeliveryRow.id == row.delivery_id)
    )
    sop_instance_uid, series = session.execute(query).one()
    details: dict[str, audit.Detail] = {
        "delivery": row.delivery_id,
        "series": series,
        "destination": row.destination,
        "way": row.way,
        "transaction": row.transaction_uid,
        "attempt": row.attempts,
        "resent": row.resent,
        "code": row.code,
    }
    audit.record(session, tag, f"instance/{sop_instance_uid}", actor=ACTOR, now=now, details=details, study=study)
