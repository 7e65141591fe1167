"""Storage SCU: one association for a batch, and what the peer answered to each instance."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from dicom_gateway.destinations import Destination
from dicom_gateway.protocol.commands import MoveOriginator
from dicom_gateway.sending.associations import DEFAULT_AE_TITLE, MOST_CONTEXTS, PeerTimeouts
from dicom_gateway.sending.batch import Calling, send_batch
from dicom_gateway.sending.limits import Pace, SendLimits
from dicom_gateway.sending.outcomes import Report, SendOutcome
from dicom_gateway.sending.outgoing import Outgoing
from dicom_gateway.sending.proposals import Proposal
from dicom_gateway.tls.destination_handshake import DestinationTls


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
