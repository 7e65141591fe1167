"""Storage and Verification SCU: one association for a batch, and what the peer answered to each instance."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import (
    GatewayError,
    PeerRejectedObject,
    PeerUnreachable,
    UndecodableObject,
)
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from dicom_gateway.sending.associations import MOST_CONTEXTS, PeerTimeouts, Proposal, open_association
from dicom_gateway.status import PeerAnswer, answer_of, written

DEFAULT_AE_TITLE = "ONCUE"
# Every peer takes Implicit VR (PS3.5 10.1). Deflated is unpacked: few peers take it, and it may not end even.
_TRAVELS_AS: Mapping[str, tuple[str, ...]] = {
    ImplicitVRLittleEndian: (ImplicitVRLittleEndian,),
    ExplicitVRLittleEndian: (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    DeflatedExplicitVRLittleEndian: (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
}
# How often a batch is taken up again after the peer broke off in the middle of it.
_ASSOCIATIONS = 4


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One Part 10 file to send, and what its file meta information says of it."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """Presentation contexts that it can travel in, the best first."""
        syntaxes = _TRAVELS_AS.get(self.transfer_syntax_uid, (self.transfer_syntax_uid,))
        return tuple(Proposal(self.sop_class_uid, syntax) for syntax in syntaxes)


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one instance: the verdict, the peer's DIMSE status where it gave one, and a coded reason."""

    sop_instance_uid: str
    verdict: PeerAnswer
    status: int | None
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class EchoOutcome:
    """Whether a peer answered C-ECHO, how fast, and otherwise why not."""

    answered: bool
    seconds: float
    code: str
    reason: str


Report = Callable[[SendOutcome], None]


def send(
    objects: Sequence[Outgoing],
    destination: Destination,
    *,
    calling_ae_title: str = DEFAULT_AE_TITLE,
    timeouts: PeerTimeouts | None = None,
    on_outcome: Report | None = None,
) -> tuple[SendOutcome, ...]:
    """Send a batch by C-STORE and return one outcome for each object, in order; nothing is raised for a peer's fault.

    Only the SOP classes and transfer syntaxes of the batch are proposed. ``on_outcome`` is called after each object.
    """
    outcomes: list[SendOutcome] = []
    for batch in _batches(objects):
        for outcome in _send_batch(batch, destination, calling_ae_title, timeouts or PeerTimeouts()):
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    return tuple(outcomes)


def echo(
    destination: Destination, *, calling_ae_title: str = DEFAULT_AE_TITLE, timeouts: PeerTimeouts | None = None
) -> EchoOutcome:
    """Ask a peer by C-ECHO whether it is there and knows us."""
    started = time.monotonic()
    proposals = [Proposal(Verification, ImplicitVRLittleEndian)]
    try:
        with open_association(
            destination, proposals, calling_ae_title=calling_ae_title, timeouts=timeouts or PeerTimeouts()
        ) as association:
            status = association.send_c_echo().get("Status")
    except GatewayError as error:
        return EchoOutcome(answered=False, seconds=time.monotonic() - started, code=error.code, reason=str(error))
    seconds = time.monotonic() - started
    if status is None:
        return EchoOutcome(
            answered=False,
            seconds=seconds,
            code=PeerUnreachable.code,
            reason=f"{destination} broke off without an answer",
        )
    if answer_of(status) is not PeerAnswer.STORED:
        return EchoOutcome(
            answered=False,
            seconds=seconds,
            code=PeerRejectedObject.code,
            reason=f"{destination} answered {written(status)}",
        )
    return EchoOutcome(answered=True, seconds=seconds, code="", reason="")


def read_outgoing(path: Path) -> Outgoing | None:
    """Read what is needed to send a file; None where it is no DICOM file, or a DICOMDIR."""
    keep_identifiers_out_of_logs()
    try:
        header = pydicom.dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
    except (InvalidDicomError, EOFError, ValueError, KeyError, AttributeError):
        return None
    meta = header.file_meta
    uids = (meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID"), meta.get("TransferSyntaxUID"))
    if not all(uids) or "SOPInstanceUID" not in header:
        return None
    return Outgoing(path, str(uids[0]), str(uids[1]), str(uids[2]))


def _batches(objects: Sequence[Outgoing]) -> Iterator[list[Outgoing]]:
    """Cut the objects, in order, into batches whose presentation contexts fit one association."""
    batch: list[Outgoing] = []
    proposals: set[Proposal] = set()
    for outgoing in objects:
        if len(proposals | set(outgoing.proposals)) > MOST_CONTEXTS:
            yield batch
            batch, proposals = [], set()
        batch.append(outgoing)
        proposals |= set(outgoing.proposals)
    if batch:
        yield batch


def _send_batch(
    batch: Sequence[Outgoing], destination: Destination, calling_ae_title: str, timeouts: PeerTimeouts
) -> Iterator[SendOutcome]:
    """Send a batch; where the peer breaks off over one object, the ones behind it get another association."""
    rest = list(batch)
    for _ in range(_ASSOCIATIONS):
        sent = 0
        for outcome in _send_over_association(rest, destination, calling_ae_title, timeouts):
            yield outcome
            sent += 1
        rest = rest[sent:]
        if not rest:
            return
    for outgoing in rest:
        yield _failure(outgoing, PeerUnreachable(f"{destination} broke {_ASSOCIATIONS} associations off"))


def _send_over_association(
    batch: Sequence[Outgoing], destination: Destination, calling_ae_title: str, timeouts: PeerTimeouts
) -> Iterator[SendOutcome]:
    """Send until the batch or the association ends; a refused association is the outcome of every object."""
    proposals = itertools.chain.from_iterable(outgoing.proposals for outgoing in batch)
    try:
        with open_association(
            destination, proposals, calling_ae_title=calling_ae_title, timeouts=timeouts
        ) as association:
            accepted = {
                Proposal(str(context.abstract_syntax), str(context.transfer_syntax[0]))
                for context in association.accepted_contexts
            }
            for outgoing in batch:
                outcome = _send_one(outgoing, association, accepted, destination)
                yield outcome
                if outcome.code == PeerUnreachable.code and outcome.status is None:
                    association.abort()  # an answer that comes late would pass for the next object's
                    return
    except GatewayError as error:
        # Only opening the association raises, so no outcome of this batch has been given yet.
        for outgoing in batch:
            yield _failure(outgoing, error)


def _send_one(
    outgoing: Outgoing, association: Association, accepted: set[Proposal], destination: Destination
) -> SendOutcome:
    if not set(outgoing.proposals) & accepted:
        sop_class, syntax = UID(outgoing.sop_class_uid).name, UID(outgoing.transfer_syntax_uid).name
        return _failure(outgoing, PeerRejectedObject(f"{destination} does not take {sop_class} as {syntax}"))
    try:
        as_it_is = Proposal(outgoing.sop_class_uid, outgoing.transfer_syntax_uid) in accepted
        # A path is streamed from disk as it is; a data set is encoded anew, in a syntax that the peer took.
        streamed = as_it_is and _is_even(outgoing.path)
        answer = association.send_c_store(outgoing.path if streamed else _decoded(outgoing.path))
    except RuntimeError:
        return _failure(outgoing, PeerUnreachable(f"{destination} broke the association off"))
    except (OSError, InvalidDicomError, ValueError, AttributeError) as error:
        return _failure(outgoing, UndecodableObject(f"the object cannot be read or encoded: {type(error).__name__}"))
    return _outcome(outgoing, answer.get("Status"), destination)


def _is_even(path: Path) -> bool:
    """Say whether a data set has the even length that it must have (PS3.5 7.1.1); peers abort over an odd one."""
    _, offset = split_dataset(path)
    return (path.stat().st_size - offset) % 2 == 0


def _decoded(path: Path) -> pydicom.Dataset:
    dataset = pydicom.dcmread(path)
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _outcome(outgoing: Outgoing, status: int | None, destination: Destination) -> SendOutcome:
    if status is None:
        return _failure(outgoing, PeerUnreachable(f"{destination} broke off or did not answer in time"))
    verdict = answer_of(status)
    if verdict is PeerAnswer.STORED:
        return SendOutcome(outgoing.sop_instance_uid, verdict, status, "", "")
    error = PeerUnreachable if verdict is PeerAnswer.TRANSIENT else PeerRejectedObject
    reason = f"{destination} answered {written(status)}"
    return SendOutcome(outgoing.sop_instance_uid, verdict, status, error.code, reason)


def _failure(outgoing: Outgoing, error: GatewayError) -> SendOutcome:
    verdict = PeerAnswer.TRANSIENT if error.retryable else PeerAnswer.PERMANENT
    return SendOutcome(outgoing.sop_instance_uid, verdict, None, error.code, str(error))
