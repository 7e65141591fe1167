"""Storage and Verification SCU: one association for a batch, and what the peer answered to each instance."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import (
    GatewayError,
    PeerRejectedObject,
    PeerUnreachable,
    UndecodableObject,
)
from dicom_gateway.sending.associations import MOST_CONTEXTS, PeerTimeouts, Proposal, open_association
from dicom_gateway.sending.outgoing import TRAVELS_AS, Outgoing, decoded, travels_as_it_lies
from dicom_gateway.status import DUPLICATE, PeerAnswer, answer_of, meaning, written
from dicom_gateway.tls.destination_handshake import DestinationTls

DEFAULT_AE_TITLE = "ONCUE"
# How often a batch is taken up again after the peer broke off in the middle of it.
_ASSOCIATIONS = 4


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

    def open(self, destination: Destination, proposals: Iterable[Proposal]) -> AbstractContextManager[Association]:
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
    proposals = [Proposal(Verification, ImplicitVRLittleEndian)]
    proposals += [Proposal(uid, syntax) for uid in sop_classes for syntax in TRAVELS_AS[ExplicitVRLittleEndian]]
    untaken: tuple[str, ...] = ()
    try:
        with _Calling(calling_ae_title, timeouts or PeerTimeouts(), tls).open(destination, proposals) as association:
            taken = {str(context.abstract_syntax) for context in association.accepted_contexts}
            untaken = tuple(uid for uid in sop_classes if uid not in taken)
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
            reason=f"{destination} answered {written(status)}: {meaning(status)}",
        )
    return EchoOutcome(answered=True, seconds=seconds, code="", reason="", untaken=untaken)


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
        streamed = as_it_is and travels_as_it_lies(outgoing)
        answer = association.send_c_store(outgoing.path if streamed else decoded(outgoing))
    except RuntimeError:
        return _failure(outgoing, PeerUnreachable(f"{destination} broke the association off"))
    except (OSError, InvalidDicomError, ValueError, AttributeError) as error:
        return _failure(outgoing, UndecodableObject(f"the object cannot be read or encoded: {type(error).__name__}"))
    return _outcome(outgoing, answer.get("Status"), destination)


def _outcome(outgoing: Outgoing, status: int | None, destination: Destination) -> SendOutcome:
    if status is None:
        return _failure(outgoing, PeerUnreachable(f"{destination} broke off or did not answer in time"))
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
