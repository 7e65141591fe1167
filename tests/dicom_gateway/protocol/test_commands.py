from __future__ import annotations

import io
import struct

import pytest
from pydicom.filereader import read_dataset

from dicom_gateway.errors import ProtocolViolation
from dicom_gateway.protocol.commands import (
    Command,
    MoveOriginator,
    SubOperations,
    decode,
    decode_answer,
    event_report_request,
    response,
    store_request,
)


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHL", group, number, len(value)) + value


def us(number: int, value: int) -> bytes:
    return element(number, struct.pack("<H", value))


_WHOLE = element(2, b"1.2.3\0") + us(0x100, 1) + us(0x110, 7) + us(0x800, 1) + element(0x1000, b"1.2.3.4\0")


def test_a_request_is_read() -> None:
    group_length = element(0, struct.pack("<L", len(_WHOLE)))
    assert decode(group_length + _WHOLE) == Command(1, 7, True, "1.2.3", "1.2.3.4")


def test_another_implementation_reads_our_answer() -> None:
    encoded = response(decode(_WHOLE), 0xA700)
    read = read_dataset(io.BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert read.CommandGroupLength == len(encoded) - 12
    assert (read.CommandField, read.MessageIDBeingRespondedTo, read.Status) == (0x8001, 7, 0xA700)
    assert (read.AffectedSOPClassUID, read.AffectedSOPInstanceUID) == ("1.2.3", "1.2.3.4")
    assert read.CommandDataSetType == 0x0101


def test_a_request_about_an_instance_names_the_requested_one() -> None:
    tags = struct.pack("<HHHH", 0x0074, 0x1200, 0x0010, 0x0010)
    content = (
        element(3, b"1.2.3\0") + us(0x100, 0x110) + us(0x110, 7) + us(0x800, 0x101)
        + element(0x1001, b"1.2.3.4\0") + element(0x1005, tags)
    )  # fmt: skip # reads by its lines
    asked = decode(content)
    assert (asked.sop_class_uid, asked.sop_instance_uid, asked.has_data_set) == ("1.2.3", "1.2.3.4", False)
    assert asked.attributes == (0x00741200, 0x00100010)


def test_an_answer_tells_action_comment_and_the_instance_that_was_made() -> None:
    content = (
        element(3, b"1.2.3\0") + us(0x100, 0x130) + us(0x110, 7) + us(0x800, 1)
        + element(0x1001, b"1.2.3.4\0") + us(0x1008, 1)
    )  # fmt: skip # reads by its lines
    encoded = response(decode(content), 0xC301, has_data_set=True, comment="ü" * 70, sop_instance_uid="1.2.9")
    read = read_dataset(io.BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert (read.CommandField, read.ActionTypeID, read.Status) == (0x8130, 1, 0xC301)
    assert (read.ErrorComment, read.AffectedSOPInstanceUID) == ("?" * 64, "1.2.9")
    assert read.CommandDataSetType != 0x0101
    assert [int(one.tag) for one in read] == sorted(int(one.tag) for one in read)


def test_a_cancel_names_the_request_that_it_ends() -> None:
    assert decode(us(0x100, 0xFFF) + us(0x120, 9) + us(0x800, 0x101)).message_id == 9


def test_what_is_no_uid_is_not_sent_back() -> None:
    named = decode(_WHOLE.replace(b"1.2.3.4\0", b"Doe^John"))
    assert named.sop_instance_uid == "Doe^John"
    assert b"Doe" not in response(named, 0xC000)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        us(0x100, 1) + us(0x800, 1),
        us(0x100, 1) + us(0x110, 1),
        us(0x110, 1) + us(0x800, 1),
        us(0x100, 0x8001) + us(0x110, 1) + us(0x800, 1),
        us(0x100, 1) + element(0x110, b"\1") + us(0x800, 1),
        _WHOLE + us(0x110, 8),
        _WHOLE + element(0x16, b"", group=8),
        _WHOLE[:-1],
        _WHOLE + struct.pack("<HHL", 0, 0x1030, 0xFFFFFFFF),
        b"\xff" * 500,
        us(0x100, 0x110) + us(0x110, 1) + us(0x800, 0x101) + element(0x1005, b"\0\0"),
    ],
    ids=[
        "empty", "cut", "no message id", "no data set type", "no field", "response", "odd number", "twice",
        "other group", "cut value", "endless value", "noise", "half a tag",
    ],
)  # fmt: skip # reads by its lines
def test_a_malformed_command_is_a_violation(content: bytes) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        decode(content)
    assert caught.value.code == "invalid_command"


def test_an_event_report_is_read_as_it_was_written_and_its_answer_names_the_event() -> None:
    asked = decode(event_report_request(9, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", 2))
    assert asked == Command(0x0100, 9, True, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", event_type=2)
    read = read_dataset(io.BytesIO(response(asked, 0)), is_implicit_VR=True, is_little_endian=True)
    assert (read.CommandField, read.EventTypeID, read.AffectedSOPInstanceUID) == (0x8100, 2, "1.2.840.10008.1.20.1.1")


def test_a_move_names_its_destination() -> None:
    asked = decode(element(2, b"1.2.3\0") + us(0x100, 0x21) + us(0x110, 7) + element(0x600, b"WS 1  ") + us(0x800, 1))
    assert asked.move_destination == "WS 1"


def test_numbers_of_sub_operations_are_told_and_read() -> None:
    counted = SubOperations(70_000, 3, 2, 1)
    encoded = response(decode(_WHOLE), 0xFF00, sub_operations=counted)
    read = read_dataset(io.BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert (read.NumberOfRemainingSuboperations, read.NumberOfCompletedSuboperations) == (0xFFFF, 3)
    assert (read.NumberOfFailedSuboperations, read.NumberOfWarningSuboperations) == (2, 1)
    assert decode_answer(encoded).sub_operations == SubOperations(0xFFFF, 3, 2, 1)
    last = response(decode(_WHOLE), 0, sub_operations=SubOperations(None, 3, 0, 0))
    assert decode_answer(last).sub_operations == SubOperations(None, 3, 0, 0)
    assert decode_answer(response(decode(_WHOLE), 0)).sub_operations is None


def test_a_stored_instance_says_who_asked_for_it() -> None:
    encoded = store_request(3, "1.2", "1.2.3", originator=MoveOriginator("WS1", 7))
    read = read_dataset(io.BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    assert (read.MoveOriginatorApplicationEntityTitle, read.MoveOriginatorMessageID) == ("WS1", 7)
