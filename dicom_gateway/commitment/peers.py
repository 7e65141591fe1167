"""Associations of storage commitment that we open: to ask a destination, and to report to a peer that asked us."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_gateway.commitment.information import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    REQUEST_COMMITMENT,
    Refusal,
    event_type,
    read_report,
    report_information,
    request_information,
)
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import CommitmentInvalid, CommitmentNotTaken
from dicom_gateway.protocol import commands
from dicom_gateway.protocol.commands import CommandField
from dicom_gateway.protocol.pdus import Roles
from dicom_gateway.sending.associations import PeerTimeouts, open_association
from dicom_gateway.sending.peer_messages import PeerMessage
from dicom_gateway.sending.proposals import Proposal
from dicom_gateway.sending.requested_association import RequestedAssociation
from dicom_gateway.status import Status, written
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.commitment.proof_reports import CommitmentReport
from storage.commitment.references import Reference

REPORT_SECONDS = 5.0
"""How long a report is waited for over the association of its request."""
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_PROPOSALS = tuple(Proposal(PUSH_MODEL, str(syntax)) for syntax in _SYNTAXES)
_OURS_IS_SCP = Roles(PUSH_MODEL, is_scu=False, is_scp=True)
_MOMENTARY = frozenset({Refusal.PROCESSING_FAILURE, Refusal.RESOURCE_LIMITATION})


@dataclass(frozen=True, slots=True)
class CommitmentPeers:
    """How we speak to peers of storage commitment: under which title, how patiently, with which certificates."""

    aet: str
    timeouts: PeerTimeouts
    tls: DestinationTls | None = None

    def ask(
        self,
        peer: Destination,
        transaction_uid: str,
        references: tuple[Reference, ...],
        *,
        take: Callable[[CommitmentReport], bool],
    ) -> None:
        """Ask a peer to vouch for instances; it may report at once, over the same association, or later by another.

        ``take`` records a report and says whether anybody asked for it. CommitmentNotTaken where the peer refuses the
        request; errors as of ``open_association``.
        """
        with open_association(
            peer, _PROPOSALS, calling_ae_title=self.aet, timeouts=self.timeouts, tls=self.tls
        ) as association:
            proposal = next(iter(association.accepted))
            information = request_information(transaction_uid, references, proposal.transfer_syntax_uid)
            request = partial(
                commands.action_request,
                sop_class_uid=PUSH_MODEL,
                sop_instance_uid=PUSH_MODEL_INSTANCE,
                action_type=REQUEST_COMMITMENT,
            )
            _require_success(peer, "the request", association.ask(proposal, request, information))
            _await_report(association, transaction_uid, take)

    def report(self, peer: Destination, report: CommitmentReport) -> None:
        """Report to a peer, with us as the SCP of an association that we open (PS3.4 J.3.3, PS3.7 D.3.3.4).

        CommitmentNotTaken where the peer does not take it; errors as of ``open_association``.
        """
        with open_association(
            peer,
            _PROPOSALS,
            calling_ae_title=self.aet,
            timeouts=self.timeouts,
            tls=self.tls,
            roles=(_OURS_IS_SCP,),
        ) as association:
            proposal = next(iter(association.accepted))
            information = report_information(
                report, retrieve_aet=self.aet, transfer_syntax_uid=proposal.transfer_syntax_uid
            )
            request = partial(
                commands.event_report_request,
                sop_class_uid=PUSH_MODEL,
                sop_instance_uid=PUSH_MODEL_INSTANCE,
                event_type=int(event_type(report)),
            )
            _require_success(peer, "our report", association.ask(proposal, request, information))


def _await_report(
    association: RequestedAssociation, transaction_uid: str, take: Callable[[CommitmentReport], bool]
) -> None:
    """Take what comes over an association, until it is the report of a transaction, or nothing comes."""
    deadline = time.monotonic() + REPORT_SECONDS
    while (message := association.incoming(max(deadline - time.monotonic(), 0.0))) is not None:
        try:
            report = _report(message)
            status = int(Status.SUCCESS if take(report) else Refusal.PROCESSING_FAILURE)
        except CommitmentInvalid as error:
            association.answer(message, error.status)
            continue
        association.answer(message, status)
        if report.transaction_uid == transaction_uid:
            return


def _report(message: PeerMessage) -> CommitmentReport:
    if message.command.field != CommandField.N_EVENT_REPORT_RQ:
        raise CommitmentInvalid("no report of storage commitment", Refusal.UNRECOGNIZED_OPERATION)
    return read_report(message.data_set, message.proposal.transfer_syntax_uid)


def _require_success(peer: Destination, what: str, status: int) -> None:
    if status == Status.SUCCESS:
        return
    raise CommitmentNotTaken(f"{peer} does not take {what}: status {written(status)}", retryable=status in _MOMENTARY)
