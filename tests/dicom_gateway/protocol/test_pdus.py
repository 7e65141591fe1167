from __future__ import annotations

import struct

import pytest
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP, P_DATA_TF

from dicom_gateway.errors import ProtocolViolation
from dicom_gateway.protocol import pdus
from dicom_gateway.protocol.pdus import (
    AbortReason,
    ContextAnswer,
    ContextProposal,
    ContextResult,
    Identification,
    Roles,
)

_TITLES = b"ONCUE".ljust(16) + b"CT".ljust(16) + bytes(32)


def test_another_implementation_reads_our_acceptance() -> None:
    answers = (
        ContextAnswer(1, ContextResult.ACCEPTANCE, "1.2.840.10008.1.2.1"),
        ContextAnswer(3, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, "1.2.840.10008.1.2"),
    )
    ours = Identification(131_072, "1.2.3.4", "ONCUE_1")
    read = A_ASSOCIATE_AC()
    read.decode(pdus.associate_accept(_TITLES, "1.2.840.10008.3.1.1.1", answers, ours))
    assert [(item.context_id, item.result) for item in read.presentation_context] == [(1, 0), (3, 3)]
    assert read.presentation_context[0].transfer_syntax == "1.2.840.10008.1.2.1"
    assert read.user_information is not None
    assert read.user_information.maximum_length == 131_072
    assert read.user_information.implementation_class_uid == "1.2.3.4"


def test_another_implementation_reads_our_roles_in_a_request_and_in_an_acceptance() -> None:
    ours = Identification(131_072, "1.2.3.4", "ONCUE_1")
    roles = (Roles("1.2.840.10008.1.20.1", is_scu=False, is_scp=True), Roles("1.2.3", is_scu=True, is_scp=False))
    request, acceptance = A_ASSOCIATE_RQ(), A_ASSOCIATE_AC()
    request.decode(pdus.associate_request("PACS", "ONCUE", (ContextProposal(1, "1.2.3", "1.2"),), ours, roles=roles))
    acceptance.decode(pdus.associate_accept(_TITLES, "1.2.840.10008.3.1.1.1", (), ours, roles=roles))
    for read in (request, acceptance):
        assert read.user_information is not None
        said = read.user_information.role_selection
        assert said is not None
        assert {uid: (one.scu, one.scp) for uid, one in said.items()} == {
            "1.2.840.10008.1.20.1": (0, 1),
            "1.2.3": (1, 0),
        }


def test_another_implementation_reads_our_other_pdus() -> None:
    rejection, abort, release = A_ASSOCIATE_RJ(), A_ABORT_RQ(), A_RELEASE_RP()
    rejection.decode(pdus.associate_reject(2, 3, 2))
    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == (2, 3, 2)
    abort.decode(pdus.abort(AbortReason.INVALID_PARAMETER))
    assert (abort.source, abort.reason_diagnostic) == (2, 6)
    release.decode(pdus.release_response())


@pytest.mark.parametrize("longest", [0, 7, 16, 131_072])
@pytest.mark.parametrize("is_command", [True, False])
def test_an_answer_is_cut_to_what_the_peer_takes(longest: int, *, is_command: bool) -> None:
    command, received = bytes(range(100)), b""
    encode = pdus.command_pdus if is_command else pdus.data_set_pdus
    rest = memoryview(encode(5, command, maximum_pdu_bytes=longest))
    lasts: list[bool] = []
    while rest:
        kind, length = pdus.HEADER.unpack_from(rest)
        assert kind == pdus.PduType.P_DATA_TF
        assert not longest or length <= longest
        (fragment,) = pdus.fragments(rest[6 : 6 + length])
        assert (fragment.context_id, fragment.is_command) == (5, is_command)
        received += fragment.content
        lasts.append(fragment.is_last)
        rest = rest[6 + length :]
    assert received == command
    assert lasts == [False] * (len(lasts) - 1) + [True]


def test_a_peer_that_leaves_no_room_for_an_answer_breaks_the_protocol() -> None:
    with pytest.raises(ProtocolViolation):
        pdus.command_pdus(1, b"..", maximum_pdu_bytes=6)


def test_fragments_are_those_that_another_implementation_wrote() -> None:
    written = P_DATA_TF()
    body = struct.pack(">LBB", 5, 1, 3) + b"abc" + struct.pack(">LBB", 2, 1, 0)
    written.decode(struct.pack(">BBL", 4, 0, len(body)) + body)
    found = list(pdus.fragments(memoryview(written.encode())[6:]))
    assert [(bytes(item.content), item.is_command, item.is_last) for item in found] == [
        (b"abc", True, True),
        (b"", False, False),
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"\0\0\0", struct.pack(">LBB", 1, 1, 3), struct.pack(">LBB", 9, 1, 3) + b"abc", b"\xff" * 40],
    ids=["empty", "cut", "too short", "too long", "noise"],
)
def test_fragments_that_do_not_fit_are_a_violation(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        list(pdus.fragments(memoryview(body)))
