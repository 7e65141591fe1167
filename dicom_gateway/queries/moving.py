"""C-MOVE: the objects go to a destination over associations of ours, beside the one that asks (PS3.4 C.4.2)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import structlog

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import OutOfResources, RequestCanceled
from dicom_gateway.protocol.commands import MoveOriginator
from dicom_gateway.protocol.exchange import Conversation, Request
from dicom_gateway.queries.retrieval_count import RetrievalCount
from dicom_gateway.queries.selection import Selection
from dicom_gateway.receivers import Receiver
from dicom_gateway.sending import sender
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.limits import SendLimits
from dicom_gateway.sending.outcomes import SendOutcome
from dicom_gateway.sending.outgoing import Outgoing
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.holdings.objects import HeldObject

MOST_MOVES = 16
"""C-MOVEs that a gateway carries out at once; each holds a thread and an association."""

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MoveCaller:
    """How destinations are called: from which AE title, how patiently, with which certificates."""

    calling_aet: str
    timeouts: PeerTimeouts
    tls: DestinationTls | None = None


class Mover:
    """Sends objects to the destinations of C-MOVEs, so many at a time; threads share it."""

    def __init__(self, caller: MoveCaller) -> None:
        self._caller = caller
        self._places = threading.BoundedSemaphore(MOST_MOVES)

    def conversation(
        self, selection: Selection, request: Request, found: Sequence[HeldObject], receiver: Receiver
    ) -> Conversation:
        """Send the objects in a thread of their own, and say once a second how far it is.

        A cancelled one ends behind the object that is on its way, which counts as remaining.
        """
        count = RetrievalCount(len(found), request.transfer_syntax_uid)
        if not found:
            yield count.last()
            return
        move = self._begin([selection.outgoing(one) for one in found], receiver, request)
        try:
            while not move.is_over:
                outcome = move.outcome(count.due_in)
                if outcome is not None:
                    _note(count, outcome)
                if not count.due_in and count.remaining:
                    yield count.pending()
        except RequestCanceled:
            yield count.canceled()
            return
        finally:
            move.end()
        for one in found[count.total - count.remaining :]:
            count.has_failed(one.sop_instance_uid, "the objects could not be sent")
        yield count.last()

    def _begin(self, objects: Sequence[Outgoing], receiver: Receiver, request: Request) -> _Move:
        if not self._places.acquire(blocking=False):
            raise OutOfResources("too many retrievals are under way: try again later")
        originator = MoveOriginator(request.calling_aet, request.command.message_id)
        move = _Move(objects, receiver, originator)
        thread = threading.Thread(target=move.run, args=(self._caller, self._places.release), name="move", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._places.release()
            raise OutOfResources("no thread is left for a retrieval: try again later") from error
        return move


class _Move:
    """One C-MOVE on its way. ``run`` is its own thread's; the rest belongs to the one that asks.

    ``is_over`` says that there are no more outcomes.
    """

    def __init__(self, objects: Sequence[Outgoing], receiver: Receiver, originator: MoveOriginator) -> None:
        self._objects = objects
        self._receiver = receiver
        self._originator = originator
        self._outcomes: SimpleQueue[SendOutcome | None] = SimpleQueue()
        self._is_ended = False
        self.is_over = False

    def run(self, caller: MoveCaller, on_end: Callable[[], None]) -> None:
        """Send everything, until it is told to end."""
        try:
            self._send(caller)
        except _Ended:
            logger.debug("move.ended")
        except Exception:  # edge: what is left of this one counts as failed, on record, and no other is harmed
            logger.exception("move.failed", code="unexpected_error")
        finally:
            on_end()
            self._outcomes.put(None)

    def outcome(self, seconds: float) -> SendOutcome | None:
        """Wait so long for the next outcome; None where there is none, yet or any more."""
        try:
            outcome = self._outcomes.get(timeout=seconds)
        except Empty:
            return None
        self.is_over = outcome is None
        return outcome

    def end(self) -> None:
        """Have it end behind the object that is on its way."""
        self._is_ended = True

    def _send(self, caller: MoveCaller) -> None:
        receiver = self._receiver
        assert isinstance(receiver.address, Destination)  # noqa: S101 - nobody else is called by an AE title
        sender.send(
            self._objects,
            receiver.address,
            calling_ae_title=caller.calling_aet,
            timeouts=caller.timeouts,
            tls=caller.tls,
            limits=SendLimits(
                receiver.objects_per_association, receiver.kilobytes_per_second, receiver.transfer_syntaxes
            ),
            on_outcome=self._take,
            originator=self._originator,
        )

    def _take(self, outcome: SendOutcome) -> None:
        self._outcomes.put(outcome)
        if self._is_ended:
            raise _Ended


class _Ended(Exception):
    """The one that asked wants no more: raised within the sender, which releases the association then."""


def _note(count: RetrievalCount, outcome: SendOutcome) -> None:
    if outcome.status is None:
        count.has_failed(outcome.sop_instance_uid, outcome.reason)
    else:
        count.answered(outcome.sop_instance_uid, outcome.status, outcome.reason)
