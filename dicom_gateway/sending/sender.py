"""Storage and Verification SCU: one association for a batch, and what the peer answered to each instance."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import GatewayError, PeerRejectedObject
from dicom_gateway.protocol.commands import MoveOriginator
from dicom_gateway.sending.associations import MOST_CONTEXTS, PeerTimeouts, open_association
from dicom_gateway.sending.batch import Calling, send_batch
from dicom_gateway.sending.limits import Pace, SendLimits
from dicom_gateway.sending.outcomes import Report, SendOutcome
from dicom_gateway.sending.outgoing import TRAVELS_AS, Outgoing
from dicom_gateway.sending.proposals import Proposal
from dicom_gateway.sending.requested_association import RequestedAssociation
from dicom_gateway.status import PeerAnswer, answer_of, meaning, written
from dicom_gateway.tls.destination_handshake import DestinationTls

DEFAULT_AE_TITLE = "ONCUE"
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


def send(
    objects: Sequence[Outgoing],
    destination: Destination,
    *,
    calling_ae_title: str = DEFAULT_AE_TITLE,
    timeouts: PeerTimeouts | None = None,
    tls: DestinationTls | None = None,
    limits: SendLimits | None = None,
    pace: Pace | None = None,
    on_outcome: Report | None = None,
    originator: MoveOriginator | None = None,
) -> tuple[SendOutcome, ...]:
    """Send a batch by C-STORE and return one outcome for each object, in order; nothing is raised for a peer's fault.

    Only the SOP classes and transfer syntaxes of the batch are proposed. ``pace`` is that of the destination where
    others send to it at the same time; without one, the limits' rate is this call's own. ``on_outcome`` is called after
    each object; where it raises, the association is released, and what it raised goes through. ``originator`` is for
    whom they are sent, where somebody asked for them by C-MOVE.
    """
    outcomes: list[SendOutcome] = []
    limits = limits or SendLimits()
    pace = pace or Pace(limits.kilobytes_per_second)
    calling = Calling(calling_ae_title, timeouts or PeerTimeouts(), tls, limits, pace, originator)
    for batch in _batches(objects, limits.transfer_syntaxes):
        with contextlib.closing(send_batch(batch, destination, calling)) as answers:
            for outcome in answers:
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
        with open_association(
            destination, proposals, calling_ae_title=calling_ae_title, timeouts=timeouts or PeerTimeouts(), tls=tls
        ) as association:
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


def _batches(objects: Sequence[Outgoing], wanted: tuple[str, ...] | None) -> Iterator[list[Outgoing]]:
    """Cut the objects, in order, into batches whose presentation contexts fit one association."""
    batch: list[Outgoing] = []
    proposals: set[Proposal] = set()
    for outgoing in objects:
        more = proposals.union(outgoing.travels_as(wanted))
        if len(more) > MOST_CONTEXTS:
            yield batch
            batch, more = [], set(outgoing.travels_as(wanted))
        batch.append(outgoing)
        proposals = more
    if batch:
        yield batch
