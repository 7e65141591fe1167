"""Data sets of workitems: what comes is read or refused, whatever it is; what goes is read by pydicom."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_gateway import data_sets
from dicom_gateway.errors import UndecodableObject
from storage import matching
from storage.attributes import Attributes, element
from storage.errors import QuestionInvalid
from storage.workitems import requirements
from storage.workitems.refusals import WorkitemRefused
from tests.support.senders import encoded
from tests.support.workitems import new_workitem, performed

_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
_WHOLE = {
    syntax: [encoded(dataset, syntax) for dataset in (new_workitem(), performed())] for syntax in (_EXPLICIT, _IMPLICIT)
}


@settings(max_examples=300, deadline=None)
@given(
    syntax=st.sampled_from([_EXPLICIT, _IMPLICIT]),
    which=st.integers(0, 1),
    cuts=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 6), st.binary(max_size=6)), max_size=4),
)
def test_bytes_that_were_tampered_with_are_read_or_refused(
    syntax: str, which: int, cuts: list[tuple[int, int, bytes]]
) -> None:
    content = bytearray(_WHOLE[syntax][which])
    for at, size, replacement in cuts:
        content[at : at + size] = replacement
    try:
        read = data_sets.decode(bytes(content), syntax)
        matching.matches(read, read)
        requirements.created(read)
        data_sets.encode(read, syntax)
    except (UndecodableObject, QuestionInvalid, WorkitemRefused):
        return


@pytest.mark.parametrize("content", [b"\0", b"no data set", b"\xff" * 64])
def test_what_is_no_data_set_is_refused(content: bytes) -> None:
    with pytest.raises(UndecodableObject):
        data_sets.decode(content, _EXPLICIT)


def test_sequences_without_an_end_are_refused_before_anything_is_built_of_them() -> None:
    nested = b"\x40\x00\x18\x40SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    with pytest.raises(UndecodableObject):
        data_sets.decode(nested, _EXPLICIT)


def test_private_attributes_are_left_out() -> None:
    dataset = Dataset()
    dataset.ProcedureStepLabel = "Read"
    dataset.private_block(0x0075, "SOMEBODY", create=True).add_new(1, "LO", "x")
    assert list(data_sets.decode(encoded(dataset, _EXPLICIT), _EXPLICIT)) == ["00741204"]


def test_a_value_that_is_none_of_its_vr_does_not_leave() -> None:
    with pytest.raises(UndecodableObject):
        data_sets.encode(Attributes({"00280010": element("US", "many")}), _EXPLICIT)
