"""Storage and Verification SCU: one association for a batch, and what the peer answered to each instance."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import GatewayError, PeerRejectedObject, PeerUnreachable
from dicom_gateway.sending.associations import MOST_CONTEXTS, PeerTimeouts, open_association
from dicom_gateway.sending.outcomes import Report, SendOutcome, failed
from dicom_gateway.sending.outgoing import TRAVELS_AS, Outgoing
from dicom_gateway.sending.requested_association import Proposal, RequestedAssociation
from dicom_gateway.sending.storing import store_in_turn
from dicom_gateway.status import PeerAnswer, answer_of, meaning, written
from dicom_gateway.tls.destination_handshake import DestinationTls

DEFAULT_AE_TITLE = "ONCUE"
# How often a batch is taken up again after the peer broke off in the middle of it.
_ASSOCIATIONS = 4
_VERIFICATION = Proposal(str(Verification), str(ImplicitVRLittleEndian))


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
        yield failed(outgoing, PeerUnreachable(f"{destination} broke {_ASSOCIATIONS} associations off"))


def _send_over_association(
    batch: Sequence[Outgoing], destination: Destination, calling: _Calling
) -> Iterator[SendOutcome]:
    """Send until the batch or the association ends; a refused association is the outcome of every object."""
    proposals = itertools.chain.from_iterable(outgoing.proposals for outgoing in batch)
    try:
        with calling.open(destination, proposals) as association:
            yield from store_in_turn(batch, association, destination)
    except GatewayError as error:
        # Only opening the association raises, so no outcome of this batch has been given yet.
        for outgoing in batch:
            yield failed(outgoing, error)
