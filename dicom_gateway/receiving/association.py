"""One open association, from its acceptance to its end (PS3.8 9.2, states 6 to 8 and 13)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import StrEnum

import structlog

from dicom_gateway.errors import AssociationInterrupted, ConnectionLost, ProtocolViolation
from dicom_gateway.protocol import pdus
from dicom_gateway.protocol.channel import Channel, Pdu
from dicom_gateway.protocol.pdus import AbortReason, PduType
from dicom_gateway.receiving.admission import Caller
from dicom_gateway.receiving.bounded_log import BoundedLog
from dicom_gateway.receiving.messages import Messages

PDU_SLACK_BYTES = 4096
"""Some senders count a header or two too few when they fill a PDU to the length that we named."""

_DISPLACED = "association_displaced"
_STOPPING = "gateway_stopping"

logger = structlog.get_logger(__name__)


class HowEnded(StrEnum):
    """How an association ended, for the records."""

    RELEASED = "released"
    ABORTED = "aborted"
    LOST = "lost"
    DISPLACED = "displaced"


@dataclass(frozen=True, slots=True)
class AssociationLimits:
    """Bounds of an open association: the longest PDU that we take, and how long the peer may be silent.

    It has the same time to answer a request of ours, whatever else it sends. A data set that is too large is refused
    when it is there in full, so that the association can go on; one of more than ``longest_data_set_bytes`` is not
    waited for.
    """

    maximum_pdu_bytes: int
    idle_seconds: float
    longest_data_set_bytes: int


class OpenAssociation:
    """An association that was accepted. ``run`` is its own thread's; the rest may be called by any."""

    def __init__(self, caller: Caller, channel: Channel, log: BoundedLog) -> None:
        self._caller = caller
        self._channel = channel
        self._log = log

    def run(self, messages: Messages, limits: AssociationLimits) -> HowEnded:
        """Serve the peer until one side ends the association, and say how it ended."""
        try:
            return self._serve(messages, limits)
        except ProtocolViolation as error:
            return self._cut(error)
        except ConnectionLost:
            return HowEnded.LOST
        except AssociationInterrupted as error:
            self._abort(AbortReason.NOT_SPECIFIED)
            return HowEnded.DISPLACED if error.code == _DISPLACED else HowEnded.ABORTED
        except Exception:  # edge: a fault of ours ends this association, on record, and no other
            logger.exception("association.failed", code="unexpected_error", address=self._caller.address)
            self._abort(AbortReason.NOT_SPECIFIED)
            return HowEnded.ABORTED
        finally:
            messages.discard()

    def displace(self) -> None:
        """Have it give way to a newcomer."""
        self._log.write("association.displaced", code=_DISPLACED, address=self._caller.address)
        self._channel.interrupt(_DISPLACED)

    def abort(self) -> None:
        """Have it end, for the gateway stops."""
        self._channel.interrupt(_STOPPING)

    def cut(self) -> None:
        """End its connection at once."""
        self._channel.cut()

    def _serve(self, messages: Messages, limits: AssociationLimits) -> HowEnded:
        longest = limits.maximum_pdu_bytes + PDU_SLACK_BYTES
        while True:
            if messages.is_due and not self._channel.has_more():
                messages.go_on()
                continue
            pdu = self._next(messages.deadline, longest, limits)
            if pdu.kind is PduType.P_DATA_TF:
                for fragment in pdus.fragments(pdu.body):
                    messages.take(fragment)
            elif pdu.kind is PduType.RELEASE_RQ:
                self._channel.send(pdus.release_response())
                return HowEnded.RELEASED
            elif pdu.kind is PduType.ABORT:
                return HowEnded.ABORTED
            else:
                raise _unexpected(pdu.kind)

    def _next(self, deadline: float | None, longest_bytes: int, limits: AssociationLimits) -> Pdu:
        """Wait for the peer: until it must have answered a request of ours, or as long as it may be silent."""
        if deadline is not None:
            return self._channel.read_pdu_by(deadline=deadline, longest_bytes=longest_bytes)
        return self._channel.read_pdu(idle_seconds=limits.idle_seconds, longest_bytes=longest_bytes)

    def _cut(self, error: ProtocolViolation) -> HowEnded:
        self._log.write(
            "association.cut",
            code=error.code,
            address=self._caller.address,
            level="warning",
            calling_aet=self._caller.calling_aet,
            reason=str(error),
        )
        self._abort(error.abort_reason)
        return HowEnded.ABORTED

    def _abort(self, reason: int) -> None:
        with contextlib.suppress(ConnectionLost, ProtocolViolation, AssociationInterrupted):
            self._channel.send(pdus.abort(reason))


def _unexpected(kind: PduType) -> ProtocolViolation:
    return ProtocolViolation(
        f"a PDU of the type {kind.name} in an open association",
        code="unexpected_pdu",
        abort_reason=AbortReason.UNEXPECTED_PDU,
    )
