"""A peer whose every message is written by hand, over an association with roles, and that reads what it is asked."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from tests.support.pdus import (
    ABORT,
    ASSOCIATE_AC,
    COMMAND,
    IMPLICIT,
    LAST,
    NO_DATA_SET,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    association_request,
    command_set,
    context,
    element,
    fragment,
    item,
    p_data,
    pdu,
    user_information,
)

FIELD, MESSAGE_ID, RESPONDS_TO, STATUS, EVENT_TYPE = 0x0100, 0x0110, 0x0120, 0x0900, 0x1002
REMAINING, COMPLETED, FAILED, WARNING = 0x1020, 0x1021, 0x1022, 0x1023
STORE_RQ, GET_RQ, MOVE_RQ, EVENT_RQ, ACTION_RQ, CANCEL_RQ, RESPONSE = (
    0x0001, 0x0010, 0x0021, 0x0100, 0x0130, 0x0FFF, 0x8000,
)  # fmt: skip # reads by its lines
_DATA_SET = 0x0001
_ACCEPTANCE_FIXED_BYTES = 68
_FRAGMENT_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the listener: its context, the elements of its command set, and its data set."""

    context_id: int
    command: Mapping[int, bytes]
    data_set: bytes

    def number(self, tag: int) -> int | None:
        """Return the value of an element that is one number; None where it is missing."""
        value = self.command.get(tag)
        return None if value is None else int(struct.unpack("<H", value)[0])

    def uid(self, tag: int) -> str:
        """Return the value of an element that is a UID."""
        return self.command[tag].decode().rstrip("\0")


def role(sop_class_uid: str, *, scu: int, scp: int) -> bytes:
    """Return the item of a role selection (PS3.7 D.3.3.4)."""
    uid = sop_class_uid.encode()
    return item(0x54, struct.pack(">H", len(uid)) + uid + bytes((scu, scp)))


class ConversingPeer:
    """An open association. ``sop_classes`` are its contexts 1, 3, ..., each in Implicit VR unless it is a pair."""

    def __init__(
        self,
        port: int,
        sop_classes: Iterable[str | tuple[str, str]],
        *roles: bytes,
        calling_aet: str = "PACS",
        maximum_length: int = 16384,
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        pairs = [(one, IMPLICIT) if isinstance(one, str) else one for one in sop_classes]
        contexts = [context(2 * place + 1, uid, (syntax,)) for place, (uid, syntax) in enumerate(pairs)]
        user = user_information(*roles, maximum_length=maximum_length)
        self.socket.sendall(association_request(contexts, calling_aet=calling_aet, user=user))
        kind, self.acceptance = self.read_pdu()
        assert kind == ASSOCIATE_AC, kind

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def context_results(self) -> list[int]:
        """Return the results of the answered contexts, in their order."""
        return [body[2] for kind, body in _items(self.acceptance[_ACCEPTANCE_FIXED_BYTES:]) if kind == 0x21]

    def roles(self) -> dict[str, tuple[int, int]]:
        """Return the answered roles of the SCU and of the SCP, by SOP class."""
        (user,) = (body for kind, body in _items(self.acceptance[_ACCEPTANCE_FIXED_BYTES:]) if kind == 0x50)
        return {body[2:-2].decode(): (body[-2], body[-1]) for kind, body in _items(user) if kind == 0x54}

    def request(
        self, field: int, sop_class_uid: str, data_set: bytes = b"", *, context_id: int = 1, more: bytes = b""
    ) -> None:
        """Send a request of message id 7; ``more`` are further elements, of higher numbers than 0800."""
        head = element(0x0002, _even(sop_class_uid)), element(FIELD, _number(field)), element(MESSAGE_ID, _number(7))
        self.send(context_id, (*head, _type(data_set), more), data_set)

    def cancel(self, *, context_id: int = 1, message_id: int = 7) -> None:
        """Send a C-CANCEL (PS3.7 9.3.2.3)."""
        head = element(FIELD, _number(CANCEL_RQ)), element(RESPONDS_TO, _number(message_id))
        self.send(context_id, (*head, _type(b"")))

    def answer(self, asked: Message, status: int = 0, **lies: int) -> None:
        """Answer a request of the listener; ``field``, ``responds_to`` and ``context_id`` may be wrong."""
        field = lies.get("field", (asked.number(FIELD) or 0) | RESPONSE)
        responds_to = lies.get("responds_to", asked.number(MESSAGE_ID) or 0)
        elements = (
            element(0x0002, asked.command[0x0002]),
            element(FIELD, _number(field)),
            element(RESPONDS_TO, _number(responds_to)),
            _type(b""),
            element(STATUS, _number(status)),
        )
        self.send(lies.get("context_id", asked.context_id), elements)

    def send(self, context_id: int, elements: Iterable[bytes], data_set: bytes = b"") -> None:
        """Send a message of any elements."""
        content = p_data(fragment(context_id, COMMAND | LAST, command_set(*elements)))
        for at in range(0, len(data_set), _FRAGMENT_BYTES):
            is_last = at + _FRAGMENT_BYTES >= len(data_set)
            content += p_data(fragment(context_id, LAST if is_last else 0, data_set[at : at + _FRAGMENT_BYTES]))
        self.socket.sendall(content)

    def release(self) -> bool:
        """Ask for the end of the association, and say whether it is granted."""
        self.socket.sendall(pdu(RELEASE_RQ, bytes(4)))
        return self.read_pdu()[0] == RELEASE_RP

    def is_aborted(self) -> bool:
        """Wait for the listener's next word, and say whether it is an abort."""
        return self.read_pdu()[0] == ABORT

    def read(self) -> Message:
        """Read the next message of the listener, with its data set where it has one."""
        context_id, command = self._content(is_command=True)
        elements = _elements(command)
        has_data_set = struct.unpack("<H", elements[0x0800])[0] != NO_DATA_SET
        return Message(context_id, elements, self._content(is_command=False)[1] if has_data_set else b"")

    def read_pdu(self) -> tuple[int, bytes]:
        """Read one PDU: its type and its content; ConnectionError where the listener closed."""
        kind, _, length = struct.unpack(">BBL", self._exactly(6))
        return kind, self._exactly(length)

    def _content(self, *, is_command: bool) -> tuple[int, bytes]:
        content, control = b"", 0
        while not control & LAST:
            kind, body = self.read_pdu()
            if kind != P_DATA:
                raise ConnectionError(f"PDU type {kind} instead of a message")
            _, context_id, control = struct.unpack_from(">LBB", body)
            assert bool(control & COMMAND) is is_command
            content += body[6:]
        return context_id, content

    def _exactly(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            piece = self.socket.recv(count - len(received))
            if not piece:
                raise ConnectionError("the listener closed the connection")
            received += piece
        return received


def _items(content: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(content):
        kind, length = struct.unpack_from(">BxH", content, at)
        found.append((kind, content[at + 4 : at + 4 + length]))
        at += 4 + length
    return found


def _elements(content: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(content):
        _, number, length = struct.unpack_from("<HHL", content, at)
        found[number] = content[at + 8 : at + 8 + length]
        at += 8 + length
    assert list(found) == sorted(found), "the elements of a command set come by their numbers"
    return found


def _type(data_set: bytes) -> bytes:
    return element(0x0800, _number(_DATA_SET if data_set else NO_DATA_SET))


def _number(value: int) -> bytes:
    return struct.pack("<H", value)


def _even(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)
