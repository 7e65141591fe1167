"""Request associations: connect, agree on presentation contexts, and tell refused openings apart."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import (
    ConnectionLost,
    GatewayError,
    PeerRejectedObject,
    PeerUnreachable,
    ProtocolViolation,
)
from dicom_gateway.objects.equipment import IMPLEMENTATION_CLASS_UID, implementation_version_name
from dicom_gateway.protocol import association_answer, pdus
from dicom_gateway.protocol.channel import Channel
from dicom_gateway.protocol.commands import MoveOriginator
from dicom_gateway.protocol.pdus import ContextProposal, Identification, PduType, Roles
from dicom_gateway.sending.limits import Pace
from dicom_gateway.sending.peer_messages import MAXIMUM_PDU_BYTES
from dicom_gateway.sending.proposals import Proposal
from dicom_gateway.sending.requested_association import RequestedAssociation
from dicom_gateway.tls.connecting import connected, no_answer
from dicom_gateway.tls.destination_handshake import DestinationTls, untrusted

_LEAST_PDU_BYTES = 8
"""A P-DATA-TF of two bytes of a data set: with less, nothing can be sent in pieces of an even length."""
DEFAULT_AE_TITLE = "ONCUE"
MOST_CONTEXTS = 128  # presentation context ids are the odd numbers below 256


@dataclass(frozen=True, slots=True)
class PeerTimeouts:
    """How long to wait for a peer, in seconds: to connect, to agree on an association, to answer one request."""

    connect_seconds: float = 10.0
    associate_seconds: float = 30.0
    answer_seconds: float = 120.0


@contextlib.contextmanager
def open_association(
    destination: Destination,
    proposals: Iterable[Proposal],
    *,
    calling_ae_title: str,
    timeouts: PeerTimeouts,
    tls: DestinationTls | None = None,
    pace: Pace | None = None,
    roles: Iterable[Roles] = (),
    originator: MoveOriginator | None = None,
) -> Iterator[RequestedAssociation]:
    """Open an association, hand it out, and release it.

    Without ``tls``, destinations with TLS are held against the system's authorities and shown no certificate. What is
    stored keeps the ``pace``, and says for whom where there is an ``originator``. ``roles`` are those that we ask for
    beside that of the SCU.
    Raises PeerUnreachable where trying later can help (refused connection, timeout, transient rejection, abort),
    PeerUntrusted where TLS fails on either side's certificate, and PeerRejectedObject where trying later cannot help
    (permanent rejection, no proposal accepted).
    """
    contexts = _contexts(proposals)
    opened = connected(
        destination,
        connect_seconds=timeouts.connect_seconds,
        handshake_seconds=timeouts.associate_seconds,
        tls=tls,
    )
    with contextlib.closing(opened) as connection:
        channel = Channel(connection, pdu_seconds=timeouts.answer_seconds, send_seconds=timeouts.answer_seconds)
        request = pdus.associate_request(
            destination.ae_title, calling_ae_title, _proposed(contexts), _ours(), roles=roles
        )
        acceptance = _agreed(channel, destination, request, timeouts)
        association = RequestedAssociation(
            channel,
            destination,
            {proposal: number for proposal, number in contexts.items() if _is_accepted(proposal, number, acceptance)},
            maximum_pdu_bytes=acceptance.maximum_pdu_bytes,
            answer_seconds=timeouts.answer_seconds,
            pace=pace or Pace(None),
            roles=acceptance.roles,
            originator=originator,
        )
        if 0 < acceptance.maximum_pdu_bytes < _LEAST_PDU_BYTES:
            association.abort()
            raise PeerRejectedObject(
                f"{destination} takes PDUs of {acceptance.maximum_pdu_bytes} bytes, which leave no room for a message; "
                "check its maximum length",
                of_association=True,
            )
        if not association.accepted:
            association.abort()
            raise PeerRejectedObject(
                f"{destination} takes none of what was offered; check which SOP classes and transfer syntaxes "
                "it accepts",
                of_form=True,
            )
        try:
            yield association
        finally:
            association.release()


def _contexts(proposals: Iterable[Proposal]) -> dict[Proposal, int]:
    distinct = list(dict.fromkeys(proposals))
    if len(distinct) > MOST_CONTEXTS:
        raise ValueError("an association has room for 128 presentation contexts")
    return {proposal: 2 * place + 1 for place, proposal in enumerate(distinct)}


def _proposed(contexts: Mapping[Proposal, int]) -> Iterator[ContextProposal]:
    return (ContextProposal(number, one.sop_class_uid, one.transfer_syntax_uid) for one, number in contexts.items())


def _ours() -> Identification:
    return Identification(MAXIMUM_PDU_BYTES, IMPLEMENTATION_CLASS_UID, implementation_version_name())


def _agreed(
    channel: Channel, destination: Destination, request: bytes, timeouts: PeerTimeouts
) -> association_answer.Acceptance:
    """Ask for the association, and return what was agreed on."""
    deadline = time.monotonic() + timeouts.associate_seconds
    try:
        # A peer that is gone may have said why: a TLS alert is there to be read.
        with contextlib.suppress(ConnectionLost):
            channel.send(request)
        answer = channel.read_first(deadline=deadline, longest_bytes=MAXIMUM_PDU_BYTES)
        if answer.kind is PduType.ASSOCIATE_AC:
            return association_answer.decode_acceptance(answer.body)
        if answer.kind is PduType.ASSOCIATE_RJ:
            raise _rejected(destination, association_answer.decode_rejection(answer.body))
    except ConnectionLost as error:
        if isinstance(error.__cause__, ssl.SSLError) and not isinstance(error.__cause__, ssl.SSLEOFError):
            raise untrusted(destination, error.__cause__) from error
        raise no_answer(destination) from error
    except ProtocolViolation as error:
        raise no_answer(destination) from error
    raise no_answer(destination)


def _is_accepted(proposal: Proposal, context_id: int, acceptance: association_answer.Acceptance) -> bool:
    """Say whether a peer takes a proposal; in a transfer syntax that was not proposed it would misread what we send."""
    syntax = acceptance.transfer_syntaxes.get(context_id)
    return syntax is not None and syntax in ("", proposal.transfer_syntax_uid)


def _rejected(destination: Destination, rejection: association_answer.Rejection) -> GatewayError:
    if rejection.is_permanent:
        return PeerRejectedObject(
            f"{destination} rejected the association: {rejection.reason}; check both AE titles and the peer's own list",
            of_association=True,
        )
    return PeerUnreachable(f"{destination} rejected the association for now: {rejection.reason}")
