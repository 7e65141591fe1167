"""DIMSE command sets: requests and responses, read and written (PS3.7 6.3, Annex E)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from dicom_gateway.protocol.command_elements import (
    malformed,
    number_element,
    number_of,
    read_elements,
    tags_of,
    text_element,
    uid_element,
    uid_of,
    with_length,
)

LARGEST_COMMAND_BYTES = 16 << 10
"""No command set of the standard comes near this."""

_SOP_CLASS, _REQUESTED_SOP_CLASS, _COMMAND_FIELD = 0x0002, 0x0003, 0x0100
_MESSAGE_ID, _RESPONDS_TO, _DATA_SET_TYPE, _STATUS, _ERROR_COMMENT = 0x0110, 0x0120, 0x0800, 0x0900, 0x0902
_SOP_INSTANCE, _REQUESTED_SOP_INSTANCE, _EVENT_TYPE, _ATTRIBUTES, _ACTION_TYPE = 0x1000, 0x1001, 0x1002, 0x1005, 0x1008
_MOVE_DESTINATION = 0x0600
_REMAINING, _COMPLETED, _FAILED, _WARNING = 0x1020, 0x1021, 0x1022, 0x1023
_MOVE_ORIGINATOR, _MOVE_MESSAGE_ID = 0x1030, 0x1031
_PRIORITY = 0x0700
_NO_DATA_SET, _DATA_SET = 0x0101, 0x0001
_MEDIUM = 0x0000
_RESPONSE_BIT = 0x8000
_VERIFICATION = "1.2.840.10008.1.1"
_NUMBERS = frozenset({_COMMAND_FIELD, _MESSAGE_ID, _DATA_SET_TYPE})
_COMMENT_CHARACTERS = 64
_LARGEST_NUMBER = 0xFFFF


class CommandField(IntEnum):
    """The requests that we make or answer (PS3.7 Table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_GET_RQ = 0x0110
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    C_CANCEL_RQ = 0x0FFF


_OF_A_REQUESTED_INSTANCE = frozenset({CommandField.N_GET_RQ, CommandField.N_SET_RQ, CommandField.N_ACTION_RQ})


@dataclass(frozen=True, slots=True)
class Command:
    """A request's command set, as far as we look at it; a UID that is missing is empty, and need not be one.

    The UIDs are those of the affected, or of the requested, SOP class and instance. The ``message_id`` of a C-CANCEL is
    that of the request to be cancelled. ``attributes`` are the tags of an attribute identifier list (N-GET),
    ``event_type`` is that of an N-EVENT-REPORT, ``move_destination`` the AE title that a C-MOVE names.
    """

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str
    sop_instance_uid: str
    action_type: int | None = None
    attributes: tuple[int, ...] = ()
    event_type: int | None = None
    move_destination: str = ""


@dataclass(frozen=True, slots=True)
class SubOperations:
    """How far a C-MOVE or C-GET has come (PS3.7 9.1.3.1.6 to 9.1.3.1.9); ``remaining`` None is not said."""

    remaining: int | None
    completed: int
    failed: int
    warning: int


@dataclass(frozen=True, slots=True)
class MoveOriginator:
    """For whom an instance is sent: the AE title that asked by C-MOVE, and the message id of that (PS3.7 9.1.1.1)."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A response's command set, as far as we look at it; ``sub_operations`` where it counts any."""

    field: int
    responds_to: int
    status: int
    has_data_set: bool
    sub_operations: SubOperations | None = None


def decode(content: bytes) -> Command:
    """Read a command set; ProtocolViolation where it is malformed, or is a response, for we ask for nothing."""
    elements = read_elements(content)
    numbers = {element: number_of(elements, element) for element in _NUMBERS}
    field, message_id, data_set_type = numbers[_COMMAND_FIELD], numbers[_MESSAGE_ID], numbers[_DATA_SET_TYPE]
    if field is None or data_set_type is None:
        raise malformed("a command set lacks its command field or its data set type")
    if field & _RESPONSE_BIT:
        raise malformed("a response to a request that was never made")
    if field == CommandField.C_CANCEL_RQ:
        message_id = number_of(elements, _RESPONDS_TO) or 0
    if message_id is None:
        raise malformed("a request has no message id")
    is_of_instance = field in _OF_A_REQUESTED_INSTANCE
    return Command(
        field=field,
        message_id=message_id,
        has_data_set=data_set_type != _NO_DATA_SET,
        sop_class_uid=uid_of(elements, _REQUESTED_SOP_CLASS if is_of_instance else _SOP_CLASS),
        sop_instance_uid=uid_of(elements, _REQUESTED_SOP_INSTANCE if is_of_instance else _SOP_INSTANCE),
        action_type=number_of(elements, _ACTION_TYPE) if field == CommandField.N_ACTION_RQ else None,
        attributes=tags_of(elements, _ATTRIBUTES) if field == CommandField.N_GET_RQ else (),
        event_type=number_of(elements, _EVENT_TYPE) if field == CommandField.N_EVENT_REPORT_RQ else None,
        move_destination=uid_of(elements, _MOVE_DESTINATION).strip() if field == CommandField.C_MOVE_RQ else "",
    )


def is_response(content: bytes) -> bool:
    """Say whether a command set is a response; ProtocolViolation where it is malformed."""
    field = number_of(read_elements(content), _COMMAND_FIELD)
    return field is not None and bool(field & _RESPONSE_BIT)


def response(
    command: Command,
    status: int,
    *,
    has_data_set: bool = False,
    comment: str = "",
    sop_instance_uid: str = "",
    sub_operations: SubOperations | None = None,
) -> bytes:
    """Encode the answer to a request: its UIDs, where they are UIDs, and a status (PS3.7 9.3.1.2, 9.3.5.2, 10.3).

    ``sop_instance_uid`` is that of an instance that we chose it for; ``comment`` is cut to 64 characters.
    """
    event = b"" if command.event_type is None else number_element(_EVENT_TYPE, command.event_type)
    action = b"" if command.action_type is None else number_element(_ACTION_TYPE, command.action_type)
    body = (
        uid_element(_SOP_CLASS, command.sop_class_uid)
        + number_element(_COMMAND_FIELD, command.field | _RESPONSE_BIT)
        + number_element(_RESPONDS_TO, command.message_id)
        + number_element(_DATA_SET_TYPE, _DATA_SET if has_data_set else _NO_DATA_SET)
        + number_element(_STATUS, status)
        + (text_element(_ERROR_COMMENT, comment[:_COMMENT_CHARACTERS]) if comment else b"")
        + uid_element(_SOP_INSTANCE, sop_instance_uid or command.sop_instance_uid)
        + event
        + action
        + (b"" if sub_operations is None else _counters(sub_operations))
    )
    return with_length(body)


def store_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, *, originator: MoveOriginator | None = None
) -> bytes:
    """Encode a C-STORE request of medium priority, whose data set follows (PS3.7 9.3.1.1)."""
    return with_length(
        uid_element(_SOP_CLASS, sop_class_uid)
        + number_element(_COMMAND_FIELD, CommandField.C_STORE_RQ)
        + number_element(_MESSAGE_ID, message_id)
        + number_element(_PRIORITY, _MEDIUM)
        + number_element(_DATA_SET_TYPE, _DATA_SET)
        + uid_element(_SOP_INSTANCE, sop_instance_uid)
        + (b"" if originator is None else _originator(originator))
    )


def event_report_request(message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int) -> bytes:
    """Encode an N-EVENT-REPORT request, whose event information follows (PS3.7 10.3.1)."""
    return with_length(
        uid_element(_SOP_CLASS, sop_class_uid)
        + number_element(_COMMAND_FIELD, CommandField.N_EVENT_REPORT_RQ)
        + number_element(_MESSAGE_ID, message_id)
        + number_element(_DATA_SET_TYPE, _DATA_SET)
        + uid_element(_SOP_INSTANCE, sop_instance_uid)
        + number_element(_EVENT_TYPE, event_type)
    )


def find_request(message_id: int, sop_class_uid: str) -> bytes:
    """Encode a C-FIND request of medium priority, whose identifier follows (PS3.7 9.3.2.1)."""
    return with_length(
        uid_element(_SOP_CLASS, sop_class_uid)
        + number_element(_COMMAND_FIELD, CommandField.C_FIND_RQ)
        + number_element(_MESSAGE_ID, message_id)
        + number_element(_PRIORITY, _MEDIUM)
        + number_element(_DATA_SET_TYPE, _DATA_SET)
    )


def action_request(message_id: int, sop_class_uid: str, sop_instance_uid: str, action_type: int) -> bytes:
    """Encode an N-ACTION request, whose action information follows (PS3.7 10.3.4)."""
    return with_length(
        uid_element(_REQUESTED_SOP_CLASS, sop_class_uid)
        + number_element(_COMMAND_FIELD, CommandField.N_ACTION_RQ)
        + number_element(_MESSAGE_ID, message_id)
        + number_element(_DATA_SET_TYPE, _DATA_SET)
        + uid_element(_REQUESTED_SOP_INSTANCE, sop_instance_uid)
        + number_element(_ACTION_TYPE, action_type)
    )


def echo_request(message_id: int) -> bytes:
    """Encode a C-ECHO request (PS3.7 9.3.5.1)."""
    return with_length(
        uid_element(_SOP_CLASS, _VERIFICATION)
        + number_element(_COMMAND_FIELD, CommandField.C_ECHO_RQ)
        + number_element(_MESSAGE_ID, message_id)
        + number_element(_DATA_SET_TYPE, _NO_DATA_SET)
    )


def decode_answer(content: bytes) -> Answer:
    """Read the command set of a response; ProtocolViolation where it is malformed, or is a request."""
    elements = read_elements(content)
    wanted = (_COMMAND_FIELD, _RESPONDS_TO, _STATUS, _DATA_SET_TYPE)
    numbers = [number_of(elements, element) for element in wanted]
    field, responds_to, status, data_set_type = numbers
    if field is None or responds_to is None or status is None or data_set_type is None:
        raise malformed("a response lacks its command field, message id, status or data set type")
    if not field & _RESPONSE_BIT:
        raise malformed("a request where a response is due")
    return Answer(field & ~_RESPONSE_BIT, responds_to, status, data_set_type != _NO_DATA_SET, _sub_operations(elements))


def _sub_operations(elements: dict[int, bytes]) -> SubOperations | None:
    remaining, *done = (number_of(elements, element) for element in (_REMAINING, _COMPLETED, _FAILED, _WARNING))
    if remaining is None and all(count is None for count in done):
        return None
    completed, failed, warning = (count or 0 for count in done)
    return SubOperations(remaining, completed, failed, warning)


def _counters(counted: SubOperations) -> bytes:
    """Encode the numbers of sub-operations, which have room for no more than 65535 of a kind."""
    remaining = b"" if counted.remaining is None else _counter(_REMAINING, counted.remaining)
    completed, failed = _counter(_COMPLETED, counted.completed), _counter(_FAILED, counted.failed)
    return remaining + completed + failed + _counter(_WARNING, counted.warning)


def _counter(element: int, count: int) -> bytes:
    return number_element(element, min(count, _LARGEST_NUMBER))


def _originator(originator: MoveOriginator) -> bytes:
    title = text_element(_MOVE_ORIGINATOR, originator.ae_title)
    return title + number_element(_MOVE_MESSAGE_ID, originator.message_id)
