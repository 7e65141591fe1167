"""Whatever bytes are brought to an inlet, they are an image or refused with a code."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dicom_gateway.inlets.json_objects import data_sets_of, file_of
from dicom_gateway.inlets.part10 import read_head
from storage.attributes import Attributes
from storage.errors import OncueError
from tests.support.part10 import part10

_FILE = part10()
_HEAD = 400
_UIDS = {
    "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3"]},
}
_VR_NAMES = "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN"
_VRS = st.sampled_from(sorted(_VR_NAMES.split()))
_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=8), st.just({"Alphabetic": "A^B"}), st.just({})
)
_ELEMENTS = st.one_of(
    st.fixed_dictionaries({"vr": _VRS, "Value": st.lists(_VALUES, max_size=3)}),
    st.fixed_dictionaries({"vr": _VRS, "InlineBinary": st.one_of(_VALUES, st.just("AAAA"))}),
    st.fixed_dictionaries({"vr": _VRS, "BulkDataURI": st.one_of(_VALUES, st.sampled_from(["here", "nowhere"]))}),
    st.fixed_dictionaries({"vr": st.sampled_from(["ZZ", "OX", "UR"])}),
)
_TAGS = st.sampled_from(
    ["00080005", "00080018", "00080020", "00100010", "00280010", "00540016", "7FE00010", "FFFEE000", "00011001"]
)


@given(at=st.integers(0, _HEAD - 1), value=st.integers(0, 255), cut=st.integers(0, _HEAD))
def test_a_damaged_head_is_read_or_refused(at: int, value: int, cut: int) -> None:
    content = bytearray(_FILE)
    content[at] = value
    for damaged in (bytes(content), bytes(content[:cut])):
        with contextlib.suppress(OncueError):
            assert read_head(io.BytesIO(damaged)).request.sop_class_uid


@given(st.dictionaries(_TAGS, _ELEMENTS, max_size=5))
@example({"00280010": {"vr": "US", "Value": [10**9]}})
@example({"00540016": {"vr": "SQ", "Value": [{"00080005": {"vr": "CS", "BulkDataURI": "nowhere"}}]}})
def test_metadata_becomes_a_file_or_is_refused(elements: dict[str, Any]) -> None:
    with contextlib.suppress(OncueError):
        content = file_of(Attributes.of_json({**_UIDS, **elements}), {"here": b"\0\0"})
        assert content[128:132] == b"DICM"


@given(st.text(max_size=30))
@example("[" * 100_000)
def test_text_that_is_no_metadata_is_refused(text: str) -> None:
    with contextlib.suppress(OncueError):
        data_sets_of(text.encode("utf-8", errors="surrogatepass"))
