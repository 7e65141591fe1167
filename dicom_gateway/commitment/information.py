"""What requests and reports of storage commitment say, read and written (PS3.4 J.3.2.1.1, J.3.3.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from dicom_gateway.data_sets import decode, encode
from dicom_gateway.errors import CommitmentInvalid, UndecodableObject
from storage.attributes import Attributes, Element, element, sequence
from storage.commitment.proof_reports import CommitmentReport
from storage.commitment.references import Failure, Reference
from storage.uids import is_uid

PUSH_MODEL = "1.2.840.10008.1.20.1"
"""SOP class of the Storage Commitment Push Model (PS3.4 J.3)."""
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"
"""Its well-known SOP instance (PS3.4 J.3.5)."""
REQUEST_COMMITMENT = 1
"""Action Type of a request (PS3.4 Table J.3-1)."""
MOST_REFERENCES = 10_000
"""So many instances may be named at once; the largest studies have fewer."""
LONGEST_BYTES = 4 << 20
"""Room for as many references of the longest UIDs, and what encodes them."""

_TRANSACTION_UID, _RETRIEVE_AE_TITLE = "00081195", "00080054"
_REFERENCED, _FAILED, _FAILURE_REASON = "00081199", "00081198", "00081197"
_SOP_CLASS, _SOP_INSTANCE = "00081150", "00081155"


class Refusal(IntEnum):
    """Statuses of N-ACTION and N-EVENT-REPORT that say what is wrong with a request (PS3.7 Annex C.5)."""

    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT_VALUE = 0x0115
    CLASS_INSTANCE_CONFLICT = 0x0119
    MISSING_ATTRIBUTE = 0x0120
    NO_SUCH_ACTION = 0x0123
    UNRECOGNIZED_OPERATION = 0x0211
    RESOURCE_LIMITATION = 0x0213


class EventType(IntEnum):
    """What a report says: all instances are committed, or some are not (PS3.4 Table J.3-2)."""

    ALL = 1
    SOME_FAILED = 2


@dataclass(frozen=True, slots=True)
class AskedCommitment:
    """What a request asks for: instances, each of them once, in the order of the request."""

    transaction_uid: str
    references: tuple[Reference, ...]


def read_request(content: bytes, transfer_syntax_uid: str) -> AskedCommitment:
    """Read the action information of a request; CommitmentInvalid says what is wrong with it."""
    attributes = _decoded(content, transfer_syntax_uid)
    transaction = _transaction(attributes)
    items = attributes.items(_REFERENCED)
    if not items:
        raise CommitmentInvalid("the request names no instance", Refusal.MISSING_ATTRIBUTE)
    _require_few(len(items))
    return AskedCommitment(transaction, tuple(dict.fromkeys(map(_reference, items))))


def request_information(transaction_uid: str, references: tuple[Reference, ...], transfer_syntax_uid: str) -> bytes:
    """Return the action information of a request of ours."""
    named = sequence(*(_named(one) for one in references))
    return encode(
        Attributes({_TRANSACTION_UID: element("UI", transaction_uid), _REFERENCED: named}), transfer_syntax_uid
    )


def read_report(content: bytes, transfer_syntax_uid: str) -> CommitmentReport:
    """Read the event information of a report; CommitmentInvalid says what is wrong with it."""
    attributes = _decoded(content, transfer_syntax_uid)
    transaction = _transaction(attributes)
    committed, failed = attributes.items(_REFERENCED), attributes.items(_FAILED)
    _require_few(len(committed) + len(failed))
    failures = tuple(Failure(_reference(item), _reason(item)) for item in failed)
    return CommitmentReport(transaction, tuple(map(_reference, committed)), failures)


def report_information(report: CommitmentReport, *, retrieve_aet: str, transfer_syntax_uid: str) -> bytes:
    """Return the event information of a report of ours; what is committed may be retrieved from ``retrieve_aet``."""
    elements = {_TRANSACTION_UID: element("UI", report.transaction_uid)}
    if report.committed:
        elements[_RETRIEVE_AE_TITLE] = element("AE", retrieve_aet)
        elements[_REFERENCED] = sequence(*(_named(one) for one in report.committed))
    if report.failures:
        failed = ({**_named(one.reference), _FAILURE_REASON: element("US", int(one.reason))} for one in report.failures)
        elements[_FAILED] = sequence(*failed)
    return encode(Attributes(elements), transfer_syntax_uid)


def event_type(report: CommitmentReport) -> EventType:
    """Return the event type that a report has."""
    return EventType.SOME_FAILED if report.failures else EventType.ALL


def _decoded(content: bytes, transfer_syntax_uid: str) -> Attributes:
    try:
        return decode(content, transfer_syntax_uid)
    except UndecodableObject as error:
        raise CommitmentInvalid(str(error), Refusal.INVALID_ARGUMENT_VALUE) from error


def _transaction(attributes: Attributes) -> str:
    transaction = attributes.value(_TRANSACTION_UID)
    if not transaction:
        raise CommitmentInvalid("there is no Transaction UID", Refusal.MISSING_ATTRIBUTE)
    return _uid(transaction, "the Transaction UID")


def _reference(item: Attributes) -> Reference:
    sop_class, instance = item.value(_SOP_CLASS), item.value(_SOP_INSTANCE)
    if not sop_class or not instance:
        raise CommitmentInvalid("an instance is named without its UIDs", Refusal.MISSING_ATTRIBUTE)
    return Reference(_uid(sop_class, "a SOP Class UID"), _uid(instance, "a SOP Instance UID"))


def _reason(item: Attributes) -> int:
    values = item.values(_FAILURE_REASON)
    return values[0] if values and isinstance(values[0], int) else int(Refusal.PROCESSING_FAILURE)


def _uid(text: str, what: str) -> str:
    if not is_uid(text):
        raise CommitmentInvalid(f"{what} is none", Refusal.INVALID_ATTRIBUTE_VALUE)
    return text


def _require_few(count: int) -> None:
    if count > MOST_REFERENCES:
        raise CommitmentInvalid(f"more than {MOST_REFERENCES} instances at once", Refusal.RESOURCE_LIMITATION)


def _named(reference: Reference) -> dict[str, Element]:
    return {
        _SOP_CLASS: element("UI", reference.sop_class_uid),
        _SOP_INSTANCE: element("UI", reference.sop_instance_uid),
    }
