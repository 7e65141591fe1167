"""Fragments put together into requests, one after another, each answered before the next is looked at (PS3.7 6.3.1).

A peer that does not wait for its answers waits in its own connection: nothing is read while a request is served. Only
between two responses to one request is what came looked at: a C-CANCEL (PS3.7 9.3.2.3), or what answers a request of
ours.
"""

from __future__ import annotations

from dicom_gateway.errors import ProtocolViolation
from dicom_gateway.protocol import commands
from dicom_gateway.protocol.commands import LARGEST_COMMAND_BYTES, CommandField
from dicom_gateway.protocol.pdus import AbortReason, Fragment
from dicom_gateway.receiving.conversations import Conversations
from dicom_gateway.receiving.negotiation import Accepted, AcceptedContext, taken
from dicom_gateway.receiving.outlet import Outlet
from dicom_gateway.receiving.services import Incoming, Services
from dicom_gateway.receiving.slots import Slot

_MOST_COMMAND_FRAGMENTS = 1024  # so that empty ones have an end, too


class Messages:
    """The message that is being received in one association."""

    def __init__(
        self,
        contexts: Accepted,
        services: Services,
        outlet: Outlet,
        *,
        slot: Slot,
        longest_data_set_bytes: int,
        answer_seconds: float,
    ) -> None:
        self._contexts = contexts
        self._taken = taken(contexts)
        self._services = services
        self._slot = slot
        self._outlet = outlet
        self._conversations = Conversations(contexts, outlet, slot=slot, answer_seconds=answer_seconds)
        self._longest_data_set_bytes = longest_data_set_bytes
        self._command = bytearray()
        self._command_fragments = 0
        self._context_id: int | None = None
        self._incoming: Incoming | None = None

    @property
    def is_due(self) -> bool:
        """Whether ``go_on`` has something to send: a response that another one follows, or a request of ours."""
        return self._conversations.is_due

    @property
    def deadline(self) -> float | None:
        """Until when, on the monotonic clock, the peer must answer a request of ours; None where none is open."""
        return self._conversations.deadline

    def go_on(self) -> None:
        """Send what is due next."""
        self._conversations.go_on()

    def take(self, fragment: Fragment) -> None:
        """Take the next fragment, and answer the request that it completes; ProtocolViolation where none is due."""
        context = self._contexts.get(fragment.context_id)
        if context is None:
            raise _violation("context_not_accepted", "a message in a presentation context that was not accepted")
        if self._context_id not in (None, fragment.context_id):
            raise _violation("messages_interleaved", "a message in another presentation context, before one was whole")
        self._slot.received(len(fragment.content))
        if fragment.is_command:
            self._take_command(fragment, context)
        else:
            self._take_data(fragment)

    def discard(self) -> None:
        """Leave nothing behind of a message that never became whole, or of one that is still being answered."""
        self._conversations.close()
        if self._incoming is not None:
            self._incoming.discard()

    def _take_command(self, fragment: Fragment, context: AcceptedContext) -> None:
        if self._incoming is not None:
            raise _violation("command_in_data_set", "a command set before the data set of the last one was whole")
        self._context_id = fragment.context_id
        self._command += fragment.content
        self._command_fragments += 1
        if len(self._command) > LARGEST_COMMAND_BYTES or self._command_fragments > _MOST_COMMAND_FRAGMENTS:
            raise _violation("command_too_long", "a command set is larger than any command can be")
        if not fragment.is_last:
            return
        content = bytes(self._command)
        if self.deadline is not None and commands.is_response(content):
            self._reset()
            self._conversations.take_answer(fragment.context_id, commands.decode_answer(content))
            return
        self._take_request(fragment.context_id, content, context)

    def _take_request(self, context_id: int, content: bytes, context: AcceptedContext) -> None:
        command = commands.decode(content)
        if command.field == CommandField.C_CANCEL_RQ:
            self._reset()
            self._conversations.cancel(command.message_id)
            return
        if self._conversations.is_answering:
            raise _violation("request_while_answering", "a request before the last response to the one before it")
        self._incoming = self._services.begin(command, context)
        if not command.has_data_set:
            self._answer(context_id, self._incoming)

    def _take_data(self, fragment: Fragment) -> None:
        incoming = self._incoming
        if incoming is None:
            raise _violation("data_set_without_command", "a data set without a request")
        incoming.take(fragment.content)
        if incoming.size_bytes > self._longest_data_set_bytes:
            raise _violation("data_set_without_end", "a data set is far larger than the largest instance that is taken")
        if fragment.is_last:
            self._answer(fragment.context_id, incoming)

    def _answer(self, context_id: int, incoming: Incoming) -> None:
        self._slot.answering()
        if incoming.exchange is not None:
            self._reset()
            steps = self._services.responses(incoming, incoming.exchange, takes=self._taken)
            self._conversations.begin(context_id, incoming.command, steps)
            return
        status = self._services.answer(incoming)
        self._reset()
        self._outlet.send(context_id, commands.response(incoming.command, status))
        self._slot.answered()

    def _reset(self) -> None:
        self._command.clear()
        self._command_fragments = 0
        self._context_id = self._incoming = None


def _violation(code: str, message: str) -> ProtocolViolation:
    return ProtocolViolation(message, code=code, abort_reason=AbortReason.INVALID_PARAMETER)
