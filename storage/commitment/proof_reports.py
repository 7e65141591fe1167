"""What a destination reports of objects that it was asked for (PS3.4 J.3.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sqlalchemy.orm import Session

from storage import audit
from storage.commitment import proofs
from storage.commitment.proofs import AskedObject, Cause
from storage.commitment.references import Failure, FailureReason, Reference
from storage.delivery_proofs import ACTOR

_ASK_AGAIN = frozenset(
    {FailureReason.PROCESSING_FAILURE, FailureReason.DUPLICATE_TRANSACTION, FailureReason.OUT_OF_RESOURCES}
)
_WORDS = {
    FailureReason.PROCESSING_FAILURE: "it could not look for the object",
    FailureReason.NO_SUCH_OBJECT: "it does not have the object",
    FailureReason.CLASS_INSTANCE_CONFLICT: "it has an object of another SOP class under this UID",
    FailureReason.CLASS_NOT_SUPPORTED: "it does not vouch for objects of this SOP class",
    FailureReason.DUPLICATE_TRANSACTION: "it was asked by this transaction before",
    FailureReason.OUT_OF_RESOURCES: "it has no resources for this",
}


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """A report: which instances the reporter vouches for, and for which it does not."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failures: tuple[Failure, ...]


class Taken(Enum):
    """What a report was: of a transaction under way, one more of it, or of none that the reporter was asked by."""

    TAKEN = "taken"
    REPEATED = "repeated"
    UNKNOWN = "unknown"


def take(session: Session, report: CommitmentReport, *, reporter: str, of: Collection[str], now: datetime) -> Taken:
    """Record what a report says of the objects that its transaction asked for; whatever else it names is nothing.

    ``of`` are the destinations for which the reporter, a title, speaks. A report of no transaction of theirs changes
    nothing, and is an event.
    """
    inquiry = proofs.asked_for(session, report.transaction_uid)
    if inquiry is None or inquiry.destination not in of:
        details: dict[str, audit.Detail] = {"reporter": reporter, "known": inquiry is not None}
        subject = f"commitment/{report.transaction_uid}"
        audit.record(session, "proof:report-refused", subject, actor=ACTOR, now=now, details=details)
        return Taken.UNKNOWN
    if not inquiry.objects:
        return Taken.REPEATED
    _apply(session, report, inquiry.destination, inquiry.objects, now=now)
    return Taken.TAKEN


def _apply(
    session: Session, report: CommitmentReport, destination: str, asked: Iterable[AskedObject], *, now: datetime
) -> None:
    failed = {one.reference.sop_instance_uid: one.reason for one in report.failures}
    vouched = {one.sop_instance_uid for one in report.committed}
    committed: list[int] = []
    by_reason: dict[int, list[int]] = {}
    for one in asked:
        if one.sop_instance_uid in failed:
            by_reason.setdefault(failed[one.sop_instance_uid], []).append(one.delivery_id)
        elif one.sop_instance_uid in vouched:
            committed.append(one.delivery_id)
        else:
            by_reason.setdefault(FailureReason.PROCESSING_FAILURE, []).append(one.delivery_id)
    if committed:
        proofs.committed(session, committed, now=now)
    for reason, ids in by_reason.items():
        _fail(session, ids, reason, destination, now=now)


def _fail(session: Session, ids: Collection[int], reason: int, destination: str, *, now: datetime) -> None:
    words = next(
        (text for known, text in _WORDS.items() if known == reason), "a reason that the standard does not name"
    )
    written = f"{destination} does not vouch for it (0x{reason:04X}): {words}"
    if reason == FailureReason.NO_SUCH_OBJECT:
        proofs.missing(session, ids, Cause("commitment_missing", written), now=now)
    elif reason in _ASK_AGAIN:
        proofs.unclear(session, ids, Cause("commitment_unclear", written), now=now)
    else:
        proofs.failed(session, ids, Cause("commitment_refused", written), now=now)
