"""What is said to the requests of an association: responses, and requests of ours, one of them open at a time.

A peer's next request may come while requests of ours follow the last response to one before. It is served first.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from dicom_gateway.errors import ProtocolViolation, RequestCanceled
from dicom_gateway.protocol import commands
from dicom_gateway.protocol.commands import Answer, Command, CommandField
from dicom_gateway.protocol.exchange import Conversation, PeerAnswer, PeerRequest, Response
from dicom_gateway.protocol.pdus import AbortReason
from dicom_gateway.receiving.negotiation import Accepted
from dicom_gateway.receiving.outlet import Outlet
from dicom_gateway.receiving.slots import Slot
from dicom_gateway.status import Status

_MOST_FOLLOWING = 8
_LAST_MESSAGE_ID = 0xFFFF


@dataclass(slots=True, eq=False)
class _Talk:
    """One request of the peer, and how far its conversation is.

    ``news`` is what its next step is told, ``held`` a request of ours that waits until another one is answered.
    """

    context_id: int
    command: Command
    steps: Conversation
    news: PeerAnswer | OSError | None = None
    held: PeerRequest | None = None
    is_canceled: bool = False
    is_over: bool = False
    """Whether the last response is out, so that only requests of ours may follow."""


@dataclass(frozen=True, slots=True)
class _Awaited:
    """A request of ours that is out."""

    talk: _Talk
    context_id: int
    field: CommandField
    message_id: int
    deadline: float


class Conversations:
    """The conversations of one association: the one with the request that is answered now, and those that follow."""

    def __init__(self, contexts: Accepted, outlet: Outlet, *, slot: Slot, answer_seconds: float) -> None:
        """``answer_seconds`` is how long the peer has for the answer to a request of ours."""
        self._context_ids = {
            (context.sop_class_uid, context.transfer_syntax_uid): context_id for context_id, context in contexts.items()
        }
        self._outlet = outlet
        self._slot = slot
        self._answer_seconds = answer_seconds
        self._answering: _Talk | None = None
        self._following: deque[_Talk] = deque()
        self._awaited: _Awaited | None = None
        self._message_id = 0

    @property
    def is_answering(self) -> bool:
        """Whether a request of the peer has not had its last response."""
        return self._answering is not None

    @property
    def is_due(self) -> bool:
        """Whether ``go_on`` has something to say without another word of the peer."""
        return self._due() is not None

    @property
    def deadline(self) -> float | None:
        """Until when, on the monotonic clock, the peer must answer a request of ours; None where none is open."""
        return None if self._awaited is None else self._awaited.deadline

    def begin(self, context_id: int, command: Command, steps: Conversation) -> None:
        """Begin to answer a request."""
        self._answering = _Talk(context_id, command, steps)
        self.go_on()

    def go_on(self) -> None:
        """Say what is due next."""
        talk = self._due()
        if talk is not None:
            self._advance(talk)

    def take_answer(self, context_id: int, answer: Answer) -> None:
        """Take a response of the peer; ProtocolViolation where it answers nothing that we asked."""
        awaited = self._awaited
        said = (context_id, answer.field, answer.responds_to, answer.has_data_set)
        if awaited is None or said != (awaited.context_id, awaited.field, awaited.message_id, False):
            raise ProtocolViolation(
                "a response that answers no request of ours",
                code="unexpected_answer",
                abort_reason=AbortReason.INVALID_PARAMETER,
            )
        self._awaited = None
        awaited.talk.news = PeerAnswer(answer.status)

    def cancel(self, message_id: int) -> None:
        """End the request of this message id; one that is over, or never was, needs no answer (PS3.7 9.3.2.3).

        A request of ours that belongs to it, and is out, is answered before.
        """
        talk = self._answering
        if talk is None or talk.command.message_id != message_id:
            return
        talk.is_canceled, talk.held = True, None
        if self._due() is talk:
            self._advance(talk)

    def close(self) -> None:
        """End all of them where they are."""
        for talk in (self._answering, *self._following):
            if talk is not None:
                talk.steps.close()
        self._answering = self._awaited = None
        self._following.clear()

    def _due(self) -> _Talk | None:
        first = self._following[0] if self._following else None
        # Who waited for an answer is told of it, whatever else is under way.
        talk = first if first is not None and first.news is not None else self._answering or first
        if talk is None or self._awaited is None:
            return talk
        is_waiting = talk is self._awaited.talk or talk.is_over or talk.held is not None
        return None if is_waiting else talk

    def _advance(self, talk: _Talk) -> None:
        step, talk.held = talk.held or _next_step(talk), None
        if step is None:
            self._following.remove(talk)
        elif isinstance(step, PeerRequest):
            self._ask(talk, step)
        else:
            self._respond(talk, step)

    def _ask(self, talk: _Talk, request: PeerRequest) -> None:
        if self._awaited is not None:
            talk.held = request
            return
        self._message_id = self._message_id % _LAST_MESSAGE_ID + 1
        context_id = self._context_ids[request.sop_class_uid, request.transfer_syntax_uid]
        try:
            self._outlet.send(context_id, _encoded(request, self._message_id), request.data_set)
        except OSError as error:
            talk.news = error
            return
        deadline = time.monotonic() + self._answer_seconds
        self._awaited = _Awaited(talk, context_id, request.field, self._message_id, deadline)

    def _respond(self, talk: _Talk, response: Response) -> None:
        if not response.is_pending:
            self._answering, talk.is_over = None, True
            # Requests may follow. One of them all that holds on to its end would hold on to memory for ever.
            if talk.is_canceled or len(self._following) >= _MOST_FOLLOWING:
                talk.steps.close()
            else:
                self._following.append(talk)
        command = commands.response(
            talk.command,
            response.status,
            has_data_set=bool(response.data_set),
            comment=response.comment,
            sop_instance_uid=response.sop_instance_uid,
            sub_operations=response.sub_operations,
        )
        self._outlet.send(talk.context_id, command, response.data_set)
        if not response.is_pending:
            self._slot.answered()


def _next_step(talk: _Talk) -> Response | PeerRequest | None:
    """Return what a service says next; None where it has nothing more to say behind its last response."""
    news, talk.news = talk.news, None
    try:
        if news is None and talk.is_canceled:
            return _canceled(talk.steps)
        step = _told(talk.steps, news)
        if talk.is_canceled and (isinstance(step, PeerRequest) or step.is_pending):
            return _canceled(talk.steps)
    except StopIteration:
        step = None
    if isinstance(step, Response) if talk.is_over else step is None:
        raise RuntimeError("a service responds behind its last response, or ends without one")
    return step


def _told(steps: Conversation, news: PeerAnswer | OSError | None) -> Response | PeerRequest:
    if isinstance(news, OSError):
        return steps.throw(news)
    return next(steps) if news is None else steps.send(news)


def _canceled(steps: Conversation) -> Response:
    """Return the last response of a service whose request is cancelled: its own, or one that says no more than that."""
    try:
        last = steps.throw(RequestCanceled("the peer cancels its request"))
    except (RequestCanceled, StopIteration):
        return Response(int(Status.CANCELED))
    if isinstance(last, PeerRequest) or last.is_pending:
        raise RuntimeError("a service goes on with a request that was cancelled")
    return last


def _encoded(request: PeerRequest, message_id: int) -> bytes:
    uids = request.sop_class_uid, request.sop_instance_uid
    if request.field is CommandField.C_STORE_RQ:
        return commands.store_request(message_id, *uids)
    if request.field is CommandField.N_EVENT_REPORT_RQ and request.event_type is not None:
        return commands.event_report_request(message_id, *uids, request.event_type)
    raise ValueError("a request of ours is a C-STORE, or an N-EVENT-REPORT of a type")
