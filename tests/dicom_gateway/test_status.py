from __future__ import annotations

import pytest

from dicom_gateway.errors import OutOfResources, PeerRefused, PeerUnreachable
from dicom_gateway.status import PeerAnswer, answer_of, meaning, written


@pytest.mark.parametrize("status", [0x0000, 0x0001, 0x0107, 0x0111, 0x0116, 0xB000, 0xB006, 0xB007])
def test_success_and_warnings_mean_that_the_peer_has_the_object(status: int) -> None:
    assert answer_of(status) is PeerAnswer.STORED


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0x0110, 0x0213])
def test_a_peer_in_trouble_is_asked_again(status: int) -> None:
    assert answer_of(status) is PeerAnswer.TRANSIENT


@pytest.mark.parametrize("status", [0x0122, 0x0124, 0x0117, 0xA900, 0xC000, 0xC123, 0x1234])
def test_an_object_that_a_peer_will_not_take_is_not_offered_for_ever(status: int) -> None:
    assert answer_of(status) is PeerAnswer.PERMANENT


def test_a_status_is_written_as_the_standard_writes_it() -> None:
    assert written(0xA700) == "0xA700"
    assert written(0x0110) == "0x0110"


def test_each_error_knows_the_status_that_it_answers_with() -> None:
    assert PeerRefused.status == 0x0124
    assert OutOfResources.status == 0xA700
    assert OutOfResources.retryable
    assert PeerUnreachable.retryable


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0x0111, "already"),
        (0x0122, "does not store this SOP class"),
        (0xA702, "out of resources"),
        (0xA900, "does not match"),
        (0xB007, "stored"),
        (0xC123, "cannot understand"),
        (0x1234, "does not name"),
    ],
)
def test_a_status_is_said_in_words(status: int, words: str) -> None:
    assert words in meaning(status)
