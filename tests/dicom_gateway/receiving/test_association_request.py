from __future__ import annotations

import struct
import time
from collections.abc import Iterable

import pytest

from dicom_gateway.errors import ProtocolViolation
from dicom_gateway.protocol.pdus import DICOM_APPLICATION_CONTEXT as APPLICATION_CONTEXT
from dicom_gateway.protocol.pdus import Roles
from dicom_gateway.receiving.association_request import ProposedContext, decode
from tests.support.senders import associate_request

_CT, _IMPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2"


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def context(context_id: int = 1, abstract: str = _CT, syntaxes: Iterable[str] = (_IMPLICIT,)) -> bytes:
    inner = item(0x30, abstract.encode()) + b"".join(item(0x40, syntax.encode()) for syntax in syntaxes)
    return item(0x20, bytes((context_id, 0, 0, 0)) + inner)


def request(*items: bytes, application: bytes = item(0x10, APPLICATION_CONTEXT.encode())) -> memoryview:
    titles = b"ONCUE".ljust(16) + b"CT".ljust(16) + bytes(32)
    return memoryview(b"\0\x01\0\0" + titles + application + b"".join(items))


def test_what_pynetdicom_sends_is_understood() -> None:
    found = decode(memoryview(associate_request())[6:])
    assert (found.calling_aet, found.called_aet) == ("HOSTILE", "ONCUE")
    assert found.application_context == APPLICATION_CONTEXT
    assert found.maximum_pdu_bytes == 16384
    assert found.contexts == (ProposedContext(1, _CT, ("1.2.840.10008.1.2.1",)),)
    assert len(found.titles) == 64


def test_what_is_not_negotiated_is_stepped_over() -> None:
    identity = item(0x58, b"\x01\x01\0\x04user\0\0")
    length = item(0x51, struct.pack(">L", 4096))
    window, unknown = item(0x53, struct.pack(">HH", 0, 0)), item(0x77, b"?")
    found = decode(request(context(), unknown, item(0x50, identity + window + length + unknown)))
    assert found.maximum_pdu_bytes == 4096


def role(uid: str, roles: bytes) -> bytes:
    return item(0x54, struct.pack(">H", len(uid)) + uid.encode() + roles)


def test_roles_are_those_of_the_first_item_of_each_class() -> None:
    items = role(_CT, b"\0\1") + role("1.2.3", b"\1\0") + role(_CT, b"\1\1") + role("\x1b" * 3000, b"\2\xff")
    found = decode(request(context(), item(0x50, items)))
    assert found.roles[_CT] == Roles(_CT, is_scu=False, is_scp=True)
    assert found.roles["1.2.3"] == Roles("1.2.3", is_scu=True, is_scp=False)
    (last,) = (roles for uid, roles in found.roles.items() if uid not in (_CT, "1.2.3"))
    assert (len(last.sop_class_uid), last.is_scu, last.is_scp) == (65, False, False)


@pytest.mark.parametrize(
    "body",
    [
        memoryview(bytes(67)),
        request(),
        request(context(2)),
        request(context(0)),
        request(context(1), context(1)),
        request(item(0x20, b"\1")),
        request(item(0x20, b"\1\0\0\0")),
        request(item(0x20, b"\1\0\0\0" + item(0x30, _CT.encode()))),
        request(item(0x20, b"\1\0\0\0" + item(0x30, b"1.2") * 2 + item(0x40, b"1.2"))),
        request(context(), application=b""),
        request(context(), b"\x50"),
        request(context(), b"\x50\0\xff\xff"),
        request(context(), item(0x50, b"\x51\0\xff\xff\0")),
        request(context(), item(0x50, item(0x51, b"\0"))),
        request(context(), *[item(0x77, b"")] * 300),
        request(context(syntaxes=["1.2"] * 300)),
        request(context(), item(0x50, item(0x77, b"") * 2000)),
        request(context(), item(0x50, item(0x54, b"\0\0\0"))),
        request(context(), item(0x50, item(0x54, b"\0\x05" + b"1.2" + b"\1\1"))),
        request(context(), item(0x50, item(0x54, b"\0\x03" + b"1.2" + b"\1\1\1"))),
    ],
    ids=[
        "short", "no context", "even id", "id zero", "id twice", "cut context", "empty context", "no transfer syntax",
        "two abstract syntaxes", "no application context", "cut item", "item too long", "sub-item too long",
        "odd maximum length", "many items", "many syntaxes", "many sub-items",
        "cut role", "role of a longer class", "role with more behind it",
    ],
)  # fmt: skip # reads by its lines
def test_a_request_that_breaks_its_own_structure_is_a_violation(body: memoryview) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        decode(body)
    assert caught.value.code == "invalid_pdu"


def test_hostile_text_is_neither_a_fault_nor_a_match() -> None:
    found = decode(request(context(abstract="\x1b" * 3000)))
    assert len(found.contexts[0].abstract_syntax) <= 65


def test_the_cost_of_a_large_request_grows_with_its_length_alone() -> None:
    contexts = [context(number, syntaxes=[f"1.2.{number}.{n}" for n in range(100)]) for number in range(1, 256, 2)]
    started = time.perf_counter()
    assert len(decode(request(*contexts)).contexts) == 128
    assert time.perf_counter() - started < 2.0
