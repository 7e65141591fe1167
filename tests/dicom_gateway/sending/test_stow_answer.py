"""Answers to STOW-RS, by the standard and by nobody's."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_gateway.errors import PeerAnswerInvalid
from dicom_gateway.sending.stow_answer import read_answer

TAGS = st.sampled_from(["00081198", "00081199", "0008119A", "00081155", "00081196", "00081197", "Value", "vr"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TAGS, inner, max_size=4))


def instance(uid: str, tag: str | None = None, reason: int = 0) -> dict[str, object]:
    item: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}}
    return item if tag is None else {**item, tag: {"vr": "US", "Value": [reason]}}


def test_instances_are_told_apart() -> None:
    body = {
        "00081190": {"vr": "UR", "Value": ["https://pacs/studies/1"]},
        "00081198": {"vr": "SQ", "Value": [instance("1.1", "00081197", 0xA700)]},
        "00081199": {"vr": "SQ", "Value": [instance("1.2"), instance("1.3", "00081196", 0xB000)]},
        "0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xC000]}}]},
    }
    for written in (body, [body]):
        answer = read_answer(json.dumps(written).encode())
        assert answer.failed == {"1.1": 0xA700}
        assert answer.stored == {"1.2": 0, "1.3": 0xB000}
        assert answer.other_failures == (0xC000,)


def test_an_empty_sequence_may_have_no_value() -> None:
    body = {"00081198": {"vr": "SQ"}, "00081199": {"vr": "SQ", "Value": [instance("1.2")]}}
    assert read_answer(json.dumps(body).encode()).stored == {"1.2": 0}


@pytest.mark.parametrize("reason", [True, 1.5, "272", -1, 0x10000, None, [1]])
def test_a_reason_that_is_no_status_makes_the_answer_invalid(reason: object) -> None:
    item = {**instance("1.1"), "00081197": {"vr": "US", "Value": [reason]}}
    with pytest.raises(PeerAnswerInvalid):
        read_answer(json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode())


@settings(max_examples=300, deadline=None)
@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=64) | st.just(b"1" * 10_000))
def test_whatever_comes_is_an_answer_or_none(body: bytes) -> None:
    with contextlib.suppress(PeerAnswerInvalid):
        answer = read_answer(body)
        assert all(0 <= reason <= 0xFFFF for reason in (*answer.failed.values(), *answer.stored.values()))
