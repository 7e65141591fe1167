"""The DIMSE layer of a received association, with bounds that pynetdicom does not have.

Data sets go to a spool instead of memory, command sets and unanswered requests are counted, and a request that
cannot be taken is answered with its status where pynetdicom would break the association off.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from dicom_gateway.errors import GatewayError, UndecodableObject, UnsupportedObject
from dicom_gateway.receiving.spool import Spool
from dicom_gateway.receiving.store_request import StoreRequest, is_uid, safe_uid

_COMMAND, _LAST = 0b01, 0b10  # bits of the message control header (PS3.8 E.2)
_LARGEST_COMMAND_BYTES = 64 << 10
_MOST_UNANSWERED = 4
_MESSAGE_WAIT_SECONDS = 0.005
_ABORT = "Evt19"  # the state machine's event for an invalid PDU (PS3.8 9.2.3)

logger = structlog.get_logger(__name__)

OpenSpool = Callable[[StoreRequest], Spool]
OnRefusal = Callable[[Association, str, GatewayError], None]


@dataclass(frozen=True, slots=True)
class MessageHooks:
    """Where data sets go, and who is told of a request that was refused before its handler saw it."""

    open_spool: OpenSpool
    on_refusal: OnRefusal


class BoundedMessages(DIMSEServiceProvider):
    """Puts P-DATA fragments together into messages (PS3.7 6.3.1), within bounds."""

    def __init__(self, association: Association, hooks: MessageHooks) -> None:
        super().__init__(association)
        self._hooks = hooks
        self._spool: Spool | None = None
        self._refusal: GatewayError | None = None

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take in the fragments of one P-DATA-TF, each on its own: a command and its data may share one."""
        try:
            for context_id, fragment in primitive.presentation_data_value_list:
                self._receive_fragment(context_id, fragment)
        except Exception as error:  # noqa: BLE001 - edge: whatever a peer's bytes provoke ends its association alone
            logger.warning("association.broken_message", code="invalid_message", error=type(error).__name__)
            self._abort()

    def get_msg(self, block: bool = False) -> Any:  # noqa: FBT001, FBT002 - pynetdicom's signature
        """Return the next message, after a short wait for one: pynetdicom sleeps between looks, which costs more."""
        if block:
            return super().get_msg(block=True)
        try:
            return self.msg_queue.get(timeout=_MESSAGE_WAIT_SECONDS)
        except queue.Empty:
            return None, None

    def discard(self) -> None:
        """Remove what an association left half-received."""
        if self._spool is not None:
            self._spool.discard()
        while not self.msg_queue.empty():
            _, message = self.msg_queue.get_nowait()
            if isinstance(message, C_STORE) and isinstance(message.DataSet, Spool):
                message.DataSet.discard()

    def _receive_fragment(self, context_id: int, fragment: bytes) -> None:
        is_command, is_last = fragment[0] & _COMMAND, fragment[0] & _LAST
        if is_command:
            self._check_command(fragment)
        elif self._spool is None:
            self._start_data_set(context_id)
        if self._refusal is not None and not is_command:
            if is_last:
                self._answer_refusal(context_id)
            return
        single = P_DATA()
        single.presentation_data_value_list = [[context_id, fragment]]  # type: ignore[list-item]  # the setter insists on a list
        super().receive_primitive(single)
        if is_last and not is_command:
            self._spool = None  # the message has it now, and its handler ends it

    def _check_command(self, fragment: bytes) -> None:
        so_far = self.message.encoded_command_set.tell() if self.message is not None else 0
        if so_far + len(fragment) > _LARGEST_COMMAND_BYTES:
            raise UndecodableObject("a command set is larger than any command can be")
        if self.msg_queue.qsize() >= _MOST_UNANSWERED:
            raise UndecodableObject("the peer does not wait for answers")

    def _start_data_set(self, context_id: int) -> None:
        """Decide on the first fragment of a data set what becomes of it."""
        message = self.message
        if not isinstance(message, C_STORE_RQ):
            raise UnsupportedObject("a data set without a C-STORE request")
        if self._refusal is not None:
            return
        context = self.assoc._accepted_cx[context_id]  # noqa: SLF001 - pynetdicom offers them only as a sorted list
        command = message.command_set
        try:
            request = _store_request(command, str(context.transfer_syntax[0]))
            if request.sop_class_uid != context.abstract_syntax:
                raise UnsupportedObject("the SOP class was not negotiated for this presentation context")
        except GatewayError as error:
            self._refusal = error
            return
        self._spool = self._hooks.open_spool(request)
        message.data_set = self._spool

    def _answer_refusal(self, context_id: int) -> None:
        if self.message is None or self._refusal is None:
            return
        command, error = self.message.command_set, self._refusal
        self.message, self._refusal = None, None
        self._hooks.on_refusal(self.assoc, safe_uid(str(command.get("AffectedSOPInstanceUID", ""))), error)
        answer = C_STORE()
        answer.MessageID = answer.MessageIDBeingRespondedTo = command.MessageID
        answer.Status = int(error.status)
        self.send_msg(answer, context_id)

    def _abort(self) -> None:
        self.dul.event_queue.put(_ABORT)


def _store_request(command: Dataset, transfer_syntax_uid: str) -> StoreRequest:
    uids: list[Any] = [command.get("AffectedSOPClassUID"), command.get("AffectedSOPInstanceUID")]
    if not all(isinstance(uid, str) and is_uid(uid) for uid in uids):
        raise UndecodableObject("a UID of the C-STORE request is missing, or is none: 1 to 64 digits and dots")
    return StoreRequest(str(uids[0]), str(uids[1]), transfer_syntax_uid)
