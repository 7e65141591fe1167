"""An open association that we requested: one request at a time, each answered before the next."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import AssociationInterrupted, ConnectionLost, PeerUnreachable, ProtocolViolation
from dicom_gateway.protocol import commands, pdus
from dicom_gateway.protocol.channel import Channel
from dicom_gateway.protocol.commands import CommandField, MoveOriginator
from dicom_gateway.protocol.data_set_pdus import BytesSource, DataSetPdus, DataSetSource
from dicom_gateway.protocol.pdus import Roles
from dicom_gateway.sending.limits import Pace
from dicom_gateway.sending.peer_messages import PeerMessage, PeerMessages
from dicom_gateway.sending.proposals import Proposal
from storage.errors import OncueError

_RELEASE_SECONDS = 10.0
_SLOWEST_BYTES_PER_SECOND = 8 << 10
"""A peer that takes a data set slower than this, all in all, is given up."""
_LAST_MESSAGE_ID = 0xFFFF
_MOST_KEPT_REQUESTS = 4
_PENDING = frozenset({0xFF00, 0xFF01})  # statuses of a C-FIND that goes on (PS3.4 Table C.4-1)


@dataclass(frozen=True, slots=True)
class Match:
    """One answer to a C-FIND: its status, and the identifier as it is encoded, where there is one."""

    status: int
    identifier: bytes | None

    @property
    def is_pending(self) -> bool:
        """Whether more answers follow."""
        return self.status in _PENDING


@dataclass(frozen=True, slots=True)
class PreparedStore:
    """A C-STORE request that can go out: how it begins, and the windows of its data set that follow."""

    message_id: int
    size: int
    first: memoryview
    following: Generator[memoryview]


class RequestedAssociation:
    """An open association: one request at a time, each answered before the next.

    ``accepted`` are the proposals that the peer took, with their context ids; ``roles`` are those that we have, by SOP
    class, where it answers what we asked for. PeerUnreachable where the peer does not answer a request in time, breaks
    off or breaks the protocol; the association is over then.
    """

    def __init__(
        self,
        channel: Channel,
        destination: Destination,
        accepted: Mapping[Proposal, int],
        *,
        maximum_pdu_bytes: int,
        answer_seconds: float,
        pace: Pace,
        roles: Mapping[str, Roles],
        originator: MoveOriginator | None = None,
    ) -> None:
        self.accepted = accepted
        self.roles = roles
        self._originator = originator
        self.is_open = True
        self._channel = channel
        self._destination = destination
        self._maximum_pdu_bytes = maximum_pdu_bytes
        self._answer_seconds = answer_seconds
        self._pace = pace
        self._data_sets = DataSetPdus(maximum_pdu_bytes)
        self._message_id = 0
        self._messages = PeerMessages(channel, accepted)
        self._kept: deque[PeerMessage] = deque()

    def echo(self, context_id: int) -> int:
        """Ask by C-ECHO whether the peer is there, and return the status of its answer."""
        with self._exchange():
            self._channel.send(self._command(context_id, commands.echo_request(self._next_id())))
            return self._answer(CommandField.C_ECHO_RQ, self._message_id).status

    def prepare(self, proposal: Proposal, sop_instance_uid: str, data_set: DataSetSource) -> PreparedStore:
        """Make a C-STORE request ready in an accepted context, and read the beginning of its data set.

        It holds until the next one is prepared. The data set is closed with it. OSError where the data set is empty or
        its beginning cannot be read.
        """
        request = commands.store_request(
            self._next_id(), proposal.sop_class_uid, sop_instance_uid, originator=self._originator
        )
        context_id = self.accepted[proposal]
        windows = self._data_sets.of(context_id, data_set, ahead=self._command(context_id, request))
        return PreparedStore(self._message_id, data_set.size, next(windows), windows)

    def store(self, prepared: PreparedStore, *, meanwhile: Callable[[], object] = lambda: None) -> int:
        """Send a prepared request, and return the status of the answer.

        ``meanwhile`` is called when all is sent and the peer works on its answer: the next request may be prepared
        there. OSError where the rest of the data set cannot be read; the association is over then.
        """
        with self._exchange(), contextlib.closing(prepared.following):
            self._send_data_set(prepared)
            meanwhile()
            return self._answer(CommandField.C_STORE_RQ, prepared.message_id).status

    def find(self, proposal: Proposal, identifier: bytes) -> Iterator[Match]:
        """Ask by C-FIND in an accepted context, and yield what the peer answers; the last one is no match.

        What is not taken of the answers is not read, so the association is good for another question only behind the
        last. AssociationInterrupted once ``interrupt`` was called.
        """
        context_id = self.accepted[proposal]
        request = commands.find_request(self._next_id(), proposal.sop_class_uid)
        with self._exchange():
            for window in self._data_sets.of(
                context_id, BytesSource(identifier), ahead=self._command(context_id, request)
            ):
                self._channel.send(window)
        while True:
            with self._exchange():
                match = self._answer(CommandField.C_FIND_RQ, self._message_id)
            yield match
            if not match.is_pending:
                return

    def ask(self, proposal: Proposal, request: Callable[[int], bytes], data_set: bytes) -> int:
        """Send a request with a small data set in an accepted context, and return the status of the answer.

        ``request`` makes its command set from a message id. What the peer asks of us before it answers is kept for
        ``incoming``.
        """
        context_id, command = self.accepted[proposal], request(self._next_id())
        with self._exchange():
            ahead = self._command(context_id, command)
            for window in self._data_sets.of(context_id, BytesSource(data_set), ahead=ahead):
                self._channel.send(window)
            deadline = time.monotonic() + self._answer_seconds
            while isinstance(received := self._messages.next(deadline), PeerMessage):
                if len(self._kept) >= _MOST_KEPT_REQUESTS:
                    raise ProtocolViolation("requests where an answer is due", code="unexpected_request")
                self._kept.append(received)
            if received.responds_to != self._message_id:
                raise ProtocolViolation("an answer to another request", code="unexpected_answer")
            if received.has_data_set:
                self._messages.identifier(deadline)
        return received.status

    def incoming(self, seconds: float) -> PeerMessage | None:
        """Return what the peer asks of us, waiting ``seconds`` for it; None where nothing comes, or it releases."""
        if self._kept:
            return self._kept.popleft()
        if not self.is_open:
            return None
        with self._exchange():
            if not self._messages.wait(seconds):
                self.is_open = not self._messages.is_released
                return None
            received = self._messages.next(time.monotonic() + self._answer_seconds)
            if not isinstance(received, PeerMessage):
                raise ProtocolViolation("an answer to no request", code="unexpected_answer")
            return received

    def answer(self, message: PeerMessage, status: int) -> None:
        """Answer what the peer asked of us."""
        with self._exchange():
            self._channel.send(self._command(message.context_id, commands.response(message.command, status)))

    def interrupt(self, code: str) -> None:
        """Have the thread that waits for the peer stop waiting: AssociationInterrupted there. Any thread may call."""
        self._channel.interrupt(code)

    def release(self) -> None:
        """End the association in good order; a peer that does not answer is left."""
        if not self.is_open:
            return
        self.is_open = False
        with contextlib.suppress(OncueError):
            self._channel.send(pdus.release_request())
            self._messages.pass_to_end(time.monotonic() + _RELEASE_SECONDS)

    def abort(self) -> None:
        """End the association at once, by A-ABORT."""
        if not self.is_open:
            return
        self.is_open = False
        with contextlib.suppress(OncueError):
            self._channel.send(pdus.abort_by_user())
            self._channel.finish()

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        """End the association over whatever goes wrong in the middle of a request: nobody knows where the peer is."""
        try:
            yield
        except ConnectionLost as error:
            self.is_open = False
            raise PeerUnreachable(f"{self._destination} broke the association off") from error
        except ProtocolViolation as error:
            self.abort()
            raise PeerUnreachable(f"{self._destination} did not answer as it should: {error}") from error
        except AssociationInterrupted:
            self.is_open = False
            raise
        except BaseException:
            self.abort()
            raise

    def _send_data_set(self, prepared: PreparedStore) -> None:
        """Send all of a request, at the pace of the destination, whose waits are not the peer's."""
        deadline = time.monotonic() + self._answer_seconds + prepared.size / _SLOWEST_BYTES_PER_SECOND
        for window in itertools.chain((prepared.first,), prepared.following):
            for piece in self._pace.pieces(window):
                deadline += self._pace.wait(len(piece))
                if time.monotonic() >= deadline:
                    raise ProtocolViolation("it takes the data set too slowly", code="data_set_not_taken")
                self._channel.send(piece)

    def _next_id(self) -> int:
        self._message_id = self._message_id % _LAST_MESSAGE_ID + 1
        return self._message_id

    def _command(self, context_id: int, command: bytes) -> bytes:
        return pdus.command_pdus(context_id, command, maximum_pdu_bytes=self._maximum_pdu_bytes)

    def _answer(self, request: CommandField, message_id: int) -> Match:
        """Wait for an answer to a request that was sent, and for the data set behind it."""
        deadline = time.monotonic() + self._answer_seconds
        answer = self._messages.answer(deadline)
        if (answer.field, answer.responds_to) != (request, message_id):
            raise ProtocolViolation("an answer to another request", code="unexpected_answer")
        if not answer.has_data_set:
            return Match(answer.status, None)
        return Match(answer.status, self._messages.identifier(deadline))
