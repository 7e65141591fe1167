"""What a peer says over an association that we opened: answers, and requests of its own, put together from PDUs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dicom_gateway.errors import ConnectionLost, ProtocolViolation
from dicom_gateway.protocol import commands, pdus
from dicom_gateway.protocol.channel import Channel, Pdu
from dicom_gateway.protocol.commands import LARGEST_COMMAND_BYTES, Answer, Command
from dicom_gateway.protocol.pdus import Fragment, PduType
from dicom_gateway.sending.proposals import Proposal

MAXIMUM_PDU_BYTES = 131_072
LARGEST_IDENTIFIER_BYTES = 1 << 20
_LARGEST_REPORT_BYTES = 4 << 20
_SILENT = "association_silent"


@dataclass(frozen=True, slots=True)
class PeerMessage:
    """A request that the peer makes of us over the association that we opened; ``proposal`` is its context."""

    command: Command
    proposal: Proposal
    context_id: int
    data_set: bytes


class PeerMessages:
    """Reads what comes over a channel. ``accepted`` are the contexts; ConnectionLost, ProtocolViolation.

    ``is_released`` says that the peer ended the association while nothing was due of it.
    """

    def __init__(self, channel: Channel, accepted: Mapping[Proposal, int]) -> None:
        self.is_released = False
        self._channel = channel
        self._contexts = {number: proposal for proposal, number in accepted.items()}
        self._left: Iterator[Fragment] = iter(())
        self._ahead: Pdu | None = None
        self._context_id = 0

    def answer(self, deadline: float) -> Answer:
        """Return the command set of a response, where nothing else is due."""
        return commands.decode_answer(self._received(LARGEST_COMMAND_BYTES, deadline, is_command=True))

    def identifier(self, deadline: float) -> bytes:
        """Return the data set behind a response."""
        return self._received(LARGEST_IDENTIFIER_BYTES, deadline, is_command=False)

    def next(self, deadline: float) -> Answer | PeerMessage:
        """Return the next command set of the peer, a request with the data set behind it."""
        content = self._received(LARGEST_COMMAND_BYTES, deadline, is_command=True)
        if commands.is_response(content):
            return commands.decode_answer(content)
        command, context_id = commands.decode(content), self._context_id
        proposal = self._contexts.get(context_id)
        if proposal is None:
            raise ProtocolViolation("a request in no context of the association", code="unexpected_fragment")
        data_set = b""
        if command.has_data_set:
            data_set = self._received(_LARGEST_REPORT_BYTES, deadline, is_command=False)
        return PeerMessage(command, proposal, context_id, data_set)

    def wait(self, seconds: float) -> bool:
        """Wait until the peer says something more; False where it says nothing, or that it releases."""
        first = next(self._left, None)
        if first is not None:
            self._left = itertools.chain((first,), self._left)
            return True
        try:
            pdu = self._channel.read_pdu(idle_seconds=seconds, longest_bytes=MAXIMUM_PDU_BYTES)
        except ProtocolViolation as error:
            if error.code != _SILENT:
                raise
            return False
        if pdu.kind is PduType.RELEASE_RQ:
            self.is_released = True
            self._channel.send(pdus.release_response())
            return False
        self._ahead = pdu
        return True

    def pass_to_end(self, deadline: float) -> None:
        """Read until the peer has answered our release, whatever else it says before."""
        while self._pdu(deadline).kind not in (PduType.RELEASE_RP, PduType.ABORT):
            pass

    def _received(self, most_bytes: int, deadline: float, *, is_command: bool) -> bytes:
        """Return a command set, or the data set behind one, put together from its fragments.

        Some peers pack a command set and the data set behind it into one PDU.
        """
        content, is_last = bytearray(), False
        while not is_last:
            fragment = next(self._left, None)
            if fragment is None:
                self._left = self._fragments(deadline)
                continue
            if fragment.is_command is not is_command:
                raise ProtocolViolation("fragments in the wrong order", code="unexpected_fragment")
            content += fragment.content
            is_last, self._context_id = fragment.is_last, fragment.context_id
            if len(content) > most_bytes:
                raise ProtocolViolation("an answer larger than any can be", code="answer_too_long")
        return bytes(content)

    def _fragments(self, deadline: float) -> Iterator[Fragment]:
        pdu, self._ahead = self._ahead or self._pdu(deadline), None
        if pdu.kind is PduType.ABORT:
            raise ConnectionLost("the peer aborted the association")
        if pdu.kind is PduType.RELEASE_RQ:
            self._channel.send(pdus.release_response())
            raise ConnectionLost("the peer released the association")
        if pdu.kind is not PduType.P_DATA_TF:
            raise ProtocolViolation(f"{pdu.kind.name} where an answer is due", code="unexpected_pdu")
        return pdus.fragments(pdu.body)

    def _pdu(self, deadline: float) -> Pdu:
        return self._channel.read_pdu_by(deadline=deadline, longest_bytes=MAXIMUM_PDU_BYTES)
