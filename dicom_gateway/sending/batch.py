"""A batch over as many associations as it takes: a new one after so many objects, and where the peer ended one."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import GatewayError, PeerRejectedObject, PeerUnreachable
from dicom_gateway.protocol.commands import MoveOriginator
from dicom_gateway.sending.associations import PeerTimeouts, open_association
from dicom_gateway.sending.limits import Pace, SendLimits
from dicom_gateway.sending.outcomes import SendOutcome, failed
from dicom_gateway.sending.outgoing import Outgoing
from dicom_gateway.sending.proposals import Proposal
from dicom_gateway.sending.requested_association import RequestedAssociation
from dicom_gateway.sending.storing import store_in_turn, unwanted
from dicom_gateway.tls.destination_handshake import DestinationTls

_BARREN_ASSOCIATIONS = 4
"""How many associations in a row may bring no answer at all before a peer is given up."""
_REOPENING_SECONDS = 1.0
"""A peer that ended an association may need a moment before it takes the next one."""


@dataclass(frozen=True, slots=True)
class Calling:
    """How a peer is called: under which AE title, how patiently, with which certificates, within which limits.

    ``pace`` is shared by all that send to the destination at the same time. ``originator`` is for whom objects are
    sent, where somebody asked for them by C-MOVE.
    """

    ae_title: str
    timeouts: PeerTimeouts
    tls: DestinationTls | None
    limits: SendLimits
    pace: Pace
    originator: MoveOriginator | None = None

    def open(
        self, destination: Destination, proposals: Iterable[Proposal]
    ) -> AbstractContextManager[RequestedAssociation]:
        """Open an association; errors as of ``open_association``."""
        return open_association(
            destination,
            proposals,
            calling_ae_title=self.ae_title,
            timeouts=self.timeouts,
            tls=self.tls,
            pace=self.pace,
            originator=self.originator,
        )


def send_batch(batch: Sequence[Outgoing], destination: Destination, calling: Calling) -> Generator[SendOutcome]:
    """Send a batch whose presentation contexts fit one association, and yield what became of each object, in order.

    It goes on as long as associations bring answers: an object over which the peer broke off is the first of the next
    one, and has failed where the peer breaks off over it again.
    """
    wanted = calling.limits.transfer_syntaxes
    proposals = tuple(dict.fromkeys(proposal for outgoing in batch for proposal in outgoing.travels_as(wanted)))
    if not proposals:
        yield from (failed(outgoing, unwanted(outgoing, destination)) for outgoing in batch)
        return
    rest, barren, may_reopen = list(batch), 0, False
    while rest and barren < _BARREN_ASSOCIATIONS:
        done, is_barren = 0, True
        try:
            for outcome in _over_one_association(rest, proposals, destination, calling):
                yield outcome
                done += 1
                is_barren = is_barren and outcome.is_unanswered
        except GatewayError as error:
            # Only opening the association raises, so nothing of the rest was offered.
            if not (may_reopen and error.retryable):
                # A peer that takes none of what was proposed has said so of these objects, and of no others.
                was_offered = isinstance(error, PeerRejectedObject) and not error.of_association
                yield from (failed(outgoing, error, was_offered=was_offered) for outgoing in rest)
                return
            may_reopen = False
            time.sleep(_REOPENING_SECONDS)
            continue
        rest = rest[done:]
        barren, may_reopen = (barren + 1, may_reopen) if is_barren else (0, True)
    given_up = PeerUnreachable(f"{destination} broke {_BARREN_ASSOCIATIONS} associations off without an answer")
    yield from (failed(outgoing, given_up) for outgoing in rest)


def _over_one_association(
    rest: Sequence[Outgoing], proposals: Sequence[Proposal], destination: Destination, calling: Calling
) -> Iterator[SendOutcome]:
    """Send what one association is for, or what it lasts for; at least one outcome comes of it."""
    limits = calling.limits
    chosen = rest[: limits.objects_per_association]
    with calling.open(destination, proposals) as association:
        outcomes = store_in_turn(chosen, association, destination, wanted=limits.transfer_syntaxes)
        for number, outcome in enumerate(outcomes):
            if number and outcome.is_unanswered and not association.is_open:
                return
            yield outcome
