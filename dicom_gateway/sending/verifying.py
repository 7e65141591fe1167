"""Verification SCU: whether a peer is there, knows us, and takes what we would send.

`oncue up` asks this of its own listener, so nothing here loads pydicom: 50 MB and a third of a second.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import GatewayError, PeerRejectedObject
from dicom_gateway.sending.associations import DEFAULT_AE_TITLE, PeerTimeouts, open_association
from dicom_gateway.sending.proposals import Proposal
from dicom_gateway.sending.requested_association import RequestedAssociation
from dicom_gateway.status import PeerAnswer, answer_of, meaning, written
from dicom_gateway.tls.destination_handshake import DestinationTls

_IMPLICIT_VR, _EXPLICIT_VR = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_VERIFICATION = Proposal("1.2.840.10008.1.1", _IMPLICIT_VR)


@dataclass(frozen=True, slots=True)
class EchoOutcome:
    """Whether a peer answered C-ECHO, how fast, and otherwise why not."""

    answered: bool
    seconds: float
    code: str
    reason: str
    untaken: tuple[str, ...] = ()
    """SOP classes of those asked about that the peer takes in none of the transfer syntaxes we send."""


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
    proposals += [Proposal(uid, syntax) for uid in sop_classes for syntax in (_EXPLICIT_VR, _IMPLICIT_VR)]
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
