"""Storage and Verification SCU: one association for a batch, and what the peer answered to each instance."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import (
    GatewayError,
    PeerRejectedObject,
    PeerUnreachable,
    UndecodableObject,
)
from dicom_gateway.sending.associations import MOST_CONTEXTS, PeerTimeouts, open_association
from dicom_gateway.sending.data_set_pdus import BytesSource, FileSource
from dicom_gateway.sending.outgoing import TRAVELS_AS, Outgoing, data_set_offset, encoded
from dicom_gateway.sending.requested_association import Proposal, RequestedAssociation
from dicom_gateway.status import DUPLICATE, PeerAnswer, answer_of, meaning, written
from dicom_gateway.tls.destination_handshake import DestinationTls

DEFAULT_AE_TITLE = "ONCUE"
# How often a batch is taken up again after the peer broke off in the middle of it.
_ASSOCIATIONS = 4
_VERIFICATION = Proposal(str(Verification), str(ImplicitVRLittleEndian))


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one instance: the verdict, the peer's DIMSE status where it gave one, and a coded reason.

    A stored one has no code; its reason is a note where the peer held it already. ``file`` is where it lies; its name
    may identify a patient, so it goes to whoever sends a folder and never into a log.
    """

    sop_instance_uid: str
    verdict: PeerAnswer
    status: int | None
    code: str
    reason: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class EchoOutcome:
    """Whether a peer answered C-ECHO, how fast, and otherwise why not."""

    answered: bool
    seconds: float
    code: str
    reason: str
    untaken: tuple[str, ...] = ()
    """SOP classes of those asked about that the peer takes in none of the transfer syntaxes we send."""


@dataclass(frozen=True, slots=True)
class _Calling:
    """How peers are called: under which AE title, how patiently, with which certificates."""

    ae_title: str
    timeouts: PeerTimeouts
    tls: DestinationTls | None

    def open(
        self, destination: Destination, proposals: Iterable[Proposal]
    ) -> AbstractContextManager[RequestedAssociation]:
        return open_association(
            destination, proposals, calling_ae_title=self.ae_title, timeouts=self.timeouts, tls=self.tls
        )


Report = Callable[[SendOutcome], None]


def send(
    objects: Sequence[Outgoing],
    destination: Destination,
    *,
    calling_ae_title: str = DEFAULT_AE_TITLE,
    timeouts: PeerTimeouts | None = None,
    tls: DestinationTls | None = None,
    on_outcome: Report | None = None,
) -> tuple[SendOutcome, ...]:
    """Send a batch by C-STORE and return one outcome for each object, in order; nothing is raised for a peer's fault.

    Only the SOP classes and transfer syntaxes of the batch are proposed. ``on_outcome`` is called after each object.
    """
    outcomes: list[SendOutcome] = []
    calling = _Calling(calling_ae_title, timeouts or PeerTimeouts(), tls)
    for batch in _batches(objects):
        for outcome in _send_batch(batch, destination, calling):
            outcomes.append(outcome)
            if on_outcome is not None:
                on_outcome(outcome)
    return tuple(outcomes)


def echo(
    destination: Destination,
    *,
    calling_ae_title: str = DEFAULT_AE_TITLE,
    timeouts: PeerTimeouts | None = None,
    tls: DestinationTls | None = None,
    sop_classes: Sequence[str] = (),
) -> EchoOutcome:
    """Ask a peer by C-ECHO whether it is there and knows us, and which of some SOP classes it does not take."""
    started = time.monotonic()
    proposals = [_VERIFICATION]
    proposals += [Proposal(uid, syntax) for uid in sop_classes for syntax in TRAVELS_AS[ExplicitVRLittleEndian]]
    untaken: tuple[str, ...] = ()
    try:
        with _Calling(calling_ae_title, timeouts or PeerTimeouts(), tls).open(destination, proposals) as association:
            taken = {proposal.sop_class_uid for proposal in association.accepted}
            untaken = tuple(uid for uid in sop_classes if uid not in taken)
            status = _echoed(association, destination)
    except GatewayError as error:
        return EchoOutcome(answered=False, seconds=time.monotonic() - started, code=error.code, reason=str(error))
    seconds = time.monotonic() - started
    if answer_of(status) is not PeerAnswer.STORED:
        return EchoOutcome(
            answered=False,
            seconds=seconds,
            code=PeerRejectedObject.code,
            reason=f"{destination} answered {written(status)}: {meaning(status)}",
        )
    return EchoOutcome(answered=True, seconds=seconds, code="", reason="", untaken=untaken)


def _echoed(association: RequestedAssociation, destination: Destination) -> int:
    context_id = association.accepted.get(_VERIFICATION)
    if context_id is None:
        raise PeerRejectedObject(f"{destination} does not take C-ECHO")
    return association.echo(context_id)


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


def _send_batch(batch: Sequence[Outgoing], destination: Destination, calling: _Calling) -> Iterator[SendOutcome]:
    """Send a batch; where the peer breaks off over one object, the ones behind it get another association."""
    rest = list(batch)
    for _ in range(_ASSOCIATIONS):
        sent = 0
        for outcome in _send_over_association(rest, destination, calling):
            yield outcome
            sent += 1
        rest = rest[sent:]
        if not rest:
            return
    for outgoing in rest:
        yield _failure(outgoing, PeerUnreachable(f"{destination} broke {_ASSOCIATIONS} associations off"))


def _send_over_association(
    batch: Sequence[Outgoing], destination: Destination, calling: _Calling
) -> Iterator[SendOutcome]:
    """Send until the batch or the association ends; a refused association is the outcome of every object."""
    proposals = itertools.chain.from_iterable(outgoing.proposals for outgoing in batch)
    try:
        with calling.open(destination, proposals) as association:
            for outgoing in batch:
                yield _send_one(outgoing, association, destination)
                if not association.is_open:
                    return
    except GatewayError as error:
        # Only opening the association raises, so no outcome of this batch has been given yet.
        for outgoing in batch:
            yield _failure(outgoing, error)


def _send_one(outgoing: Outgoing, association: RequestedAssociation, destination: Destination) -> SendOutcome:
    taken = [proposal for proposal in outgoing.proposals if proposal in association.accepted]
    if not taken:
        sop_class, syntax = UID(outgoing.sop_class_uid).name, UID(outgoing.transfer_syntax_uid).name
        return _failure(outgoing, PeerRejectedObject(f"{destination} does not take {sop_class} as {syntax}"))
    try:
        return _outcome(outgoing, _stored(outgoing, association, taken), destination)
    except GatewayError as error:
        return _failure(outgoing, error)
    except OSError as error:
        return _failure(outgoing, UndecodableObject(f"the object cannot be read: {type(error).__name__}"))


def _stored(outgoing: Outgoing, association: RequestedAssociation, taken: Sequence[Proposal]) -> int:
    """Send one object, from disk as it lies where it can be, and return the status of the peer's answer."""
    as_it_lies = Proposal(outgoing.sop_class_uid, outgoing.transfer_syntax_uid)
    offset = data_set_offset(outgoing) if as_it_lies in taken else None
    if offset is None:
        content = BytesSource(encoded(outgoing, taken[0].transfer_syntax_uid))
        return association.store(taken[0], outgoing.sop_instance_uid, content)
    with outgoing.path.open("rb", buffering=0) as file:
        return association.store(as_it_lies, outgoing.sop_instance_uid, FileSource(file, offset))


def _outcome(outgoing: Outgoing, status: int, destination: Destination) -> SendOutcome:
    verdict = answer_of(status)
    if verdict is PeerAnswer.STORED:
        note = f"{destination} answered {written(status)}: {meaning(status)}" if status == DUPLICATE else ""
        return SendOutcome(outgoing.sop_instance_uid, verdict, status, "", note, str(outgoing.path))
    error = PeerUnreachable if verdict is PeerAnswer.TRANSIENT else PeerRejectedObject
    reason = f"{destination} answered {written(status)}: {meaning(status)}"
    return SendOutcome(outgoing.sop_instance_uid, verdict, status, error.code, reason, str(outgoing.path))


def _failure(outgoing: Outgoing, error: GatewayError) -> SendOutcome:
    verdict = PeerAnswer.TRANSIENT if error.retryable else PeerAnswer.PERMANENT
    return SendOutcome(outgoing.sop_instance_uid, verdict, None, error.code, str(error), str(outgoing.path))
