"""Fragments put together into requests, one after another, each answered before the next is looked at (PS3.7 6.3.1).

A peer that does not wait for its answers waits in its own connection: nothing is read while a request is served. Only
between two responses to one request is what came looked at, for it may be a C-CANCEL (PS3.7 9.3.2.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dicom_gateway.errors import ProtocolViolation
from dicom_gateway.protocol import commands
from dicom_gateway.protocol.commands import LARGEST_COMMAND_BYTES, Command, CommandField
from dicom_gateway.protocol.exchange import Conversation, PeerRequest
from dicom_gateway.protocol.pdus import AbortReason, Fragment
from dicom_gateway.receiving.negotiation import Accepted, AcceptedContext
from dicom_gateway.receiving.services import Exchange, Incoming, Services
from dicom_gateway.receiving.slots import Slot
from dicom_gateway.status import Status

_MOST_COMMAND_FRAGMENTS = 1024  # so that empty ones have an end, too


class Send(Protocol):
    """Sends a command set, and the data set that belongs to it where that is not empty."""

    def __call__(self, context_id: int, command: bytes, data_set: bytes = b"") -> None:
        """Return when everything is written."""
        ...


@dataclass(frozen=True, slots=True)
class _Answering:
    """A request that has had a response, and gets more."""

    context_id: int
    command: Command
    responses: Conversation


class Messages:
    """The message that is being received in one association."""

    def __init__(
        self,
        contexts: Accepted,
        services: Services,
        *,
        slot: Slot,
        send: Send,
        longest_data_set_bytes: int,
    ) -> None:
        self._contexts = contexts
        self._services = services
        self._slot = slot
        self._send = send
        self._longest_data_set_bytes = longest_data_set_bytes
        self._command = bytearray()
        self._command_fragments = 0
        self._context_id: int | None = None
        self._incoming: Incoming | None = None
        self._answering: _Answering | None = None

    @property
    def is_answering(self) -> bool:
        """Whether a request has had a response, and gets more: ``go_on`` sends the next one."""
        return self._answering is not None

    def go_on(self) -> None:
        """Send the next response to the request that is being answered."""
        answering = self._answering
        if answering is None:
            return
        response = next(answering.responses)
        if isinstance(response, PeerRequest):
            raise NotImplementedError("requests of ours over the association of a peer")
        if not response.is_pending:
            self._end_responses()
        command = commands.response(
            answering.command,
            response.status,
            has_data_set=bool(response.data_set),
            comment=response.comment,
            sop_instance_uid=response.sop_instance_uid,
        )
        self._send(answering.context_id, command, response.data_set)
        if not response.is_pending:
            self._slot.answered()

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
        self._end_responses()
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
        command = commands.decode(bytes(self._command))
        if command.field == CommandField.C_CANCEL_RQ:
            self._reset()
            self._cancel(command)
            return
        if self._answering is not None:
            raise _violation("request_while_answering", "a request before the last response to the one before it")
        self._incoming = self._services.begin(command, context)
        if not command.has_data_set:
            self._answer(fragment.context_id, self._incoming)

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
            self._begin_responses(context_id, incoming, incoming.exchange)
            return
        status = self._services.answer(incoming)
        self._reset()
        self._send(context_id, commands.response(incoming.command, status))
        self._slot.answered()

    def _begin_responses(self, context_id: int, incoming: Incoming, exchange: Exchange) -> None:
        responses = self._services.responses(incoming, exchange)
        self._answering = _Answering(context_id, incoming.command, responses)
        self.go_on()

    def _cancel(self, cancel: Command) -> None:
        """End the request that a C-CANCEL names; one that is over, or never was, needs no answer (PS3.7 9.3.2.3)."""
        answering = self._answering
        if answering is None or answering.command.message_id != cancel.message_id:
            return
        self._end_responses()
        self._send(answering.context_id, commands.response(answering.command, Status.CANCELED))
        self._slot.answered()

    def _end_responses(self) -> None:
        answering, self._answering = self._answering, None
        if answering is not None:
            answering.responses.close()

    def _reset(self) -> None:
        self._command.clear()
        self._command_fragments = 0
        self._context_id = self._incoming = None


def _violation(code: str, message: str) -> ProtocolViolation:
    return ProtocolViolation(message, code=code, abort_reason=AbortReason.INVALID_PARAMETER)
