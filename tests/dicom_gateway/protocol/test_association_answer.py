"""Answers to our association requests: real ones read as they are, broken ones refused."""

from __future__ import annotations

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext

from dicom_gateway.errors import ProtocolViolation
from dicom_gateway.protocol.association_answer import Acceptance, Rejection, decode_acceptance, decode_rejection
from dicom_gateway.protocol.pdus import Roles


def acceptance(*results: int) -> memoryview:
    """Return the body of an A-ASSOCIATE-AC that pynetdicom encodes; contexts 1, 3, ... get these results."""
    answer = A_ASSOCIATE()
    answer.application_context_name = "1.2.840.10008.3.1.1.1"
    answer.calling_ae_title, answer.called_ae_title = "ONCUE", "PACS"
    answer.result, answer.result_source = 0, 1
    length = MaximumLengthNotification()
    length.maximum_length_received = 16382
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3"
    answer.user_information = [length, implementation]
    contexts = []
    for place, result in enumerate(results):
        context = PresentationContext()
        context.context_id, context.result = 2 * place + 1, result
        context.transfer_syntax = ["1.2.840.10008.1.2"]
        contexts.append(context)
    answer.presentation_context_definition_results_list = contexts
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(answer)
    return memoryview(pdu.encode())[6:]


def test_an_acceptance_names_the_accepted_contexts_and_the_longest_pdu() -> None:
    found = decode_acceptance(acceptance(0, 3, 0, 4))
    assert found == Acceptance({1: "1.2.840.10008.1.2", 5: "1.2.840.10008.1.2"}, 16382)


def test_an_acceptance_says_which_roles_we_have() -> None:
    role = b"\x54\0\0\x07\0\x03" + b"1.2" + b"\1\0"
    user = b"\x50\0" + len(role).to_bytes(2, "big") + role
    found = decode_acceptance(memoryview(bytes(68) + user))
    assert found.roles == {"1.2": Roles("1.2", is_scu=True, is_scp=False)}
    with pytest.raises(ProtocolViolation):
        decode_acceptance(memoryview(bytes(68) + user.replace(b"\0\x03" + b"1.2", b"\0\x04" + b"1.2")))


@pytest.mark.parametrize("cut", [70, 75, 100, 130])
def test_an_acceptance_that_is_cut_off_is_a_violation(cut: int) -> None:
    with pytest.raises(ProtocolViolation):
        decode_acceptance(acceptance(0, 0)[:cut])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\0\x01\x01\x07", Rejection(is_permanent=True, reason="called AE title not recognised")),
        (b"\0\x02\x03\x02", Rejection(is_permanent=False, reason="local limit exceeded")),
        (b"\0\x01\x09\x09", Rejection(is_permanent=True, reason="source 9, reason 9")),
    ],
)
def test_a_rejection_says_why_and_whether_later_helps(body: bytes, expected: Rejection) -> None:
    assert decode_rejection(memoryview(body)) == expected


def test_a_rejection_of_another_length_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        decode_rejection(memoryview(b"\0\x01"))
