"""A data set leaves in P-DATA-TFs no longer than the peer takes, byte for byte, whatever its size."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_gateway.protocol.data_set_pdus import BytesSource, DataSetPdus, FileSource
from dicom_gateway.protocol.pdus import HEADER, PduType, fragments


def taken_apart(stream: bytes) -> tuple[bytes, list[int], list[bool]]:
    """Return the content of a stream of P-DATA-TFs, the length of each, and whether it says that it is the last."""
    content, lengths, last = b"", [], []
    while stream:
        kind, length = HEADER.unpack_from(stream)
        assert kind == PduType.P_DATA_TF
        (fragment,) = fragments(memoryview(stream)[HEADER.size : HEADER.size + length])
        assert (fragment.context_id, fragment.is_command) == (7, False)
        content += bytes(fragment.content)
        lengths.append(length)
        last.append(fragment.is_last)
        stream = stream[HEADER.size + length :]
    return content, lengths, last


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 70_000), maximum=st.sampled_from([0, 16, 100, 4096, 16384, 131_072]))
def test_what_is_sent_is_what_was_stored(size: int, maximum: int) -> None:
    data_set = bytes(number % 251 for number in range(size))
    stream = b"".join(bytes(window) for window in DataSetPdus(maximum).of(7, BytesSource(data_set)))
    content, lengths, last = taken_apart(stream)
    assert content == data_set
    assert not maximum or max(lengths) <= maximum
    assert last == [False] * (len(last) - 1) + [True]


def test_a_file_is_sent_from_its_data_set_on_in_several_windows(tmp_path: Path) -> None:
    data_set = bytes(range(256)) * 12_000
    path = tmp_path / "file"
    path.write_bytes(b"header" + data_set)
    windows = [bytes(window) for window in DataSetPdus(16_384).of(7, FileSource(path, len(b"header")))]
    assert len(windows) > 1
    assert taken_apart(b"".join(windows))[0] == data_set


def test_a_file_that_becomes_shorter_is_an_error_before_the_first_byte_goes_out(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1000))
    source = FileSource(path, 0)
    path.write_bytes(bytes(10))
    with pytest.raises(OSError, match="ends before"):
        next(DataSetPdus(0).of(7, source))
