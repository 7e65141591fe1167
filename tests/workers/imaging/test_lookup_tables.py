from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from workers.imaging.lookup_tables import read_table


def _item(descriptor: list[int], data: object, vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    item.add_new("LUTData", vr, data)
    return item


def test_values_beyond_the_table_take_its_ends() -> None:
    table = read_table(_item([3, 10, 8], [5, 6, 7]), signed=False)
    assert table is not None
    assert table.apply(np.array([0, 10, 11, 12, 99])).tolist() == [5, 5, 6, 7, 7]
    assert table.highest == 255


def test_the_first_value_of_a_signed_image_may_be_negative() -> None:
    table = read_table(_item([3, 65526, 8], [5, 6, 7]), signed=True)
    assert table is not None
    assert table.first == -10


@pytest.mark.parametrize("data", [b"\x05\x06\x07\x00", b"\x05\x00\x06\x00\x07\x00"], ids=["bytes", "words"])
def test_entries_may_be_packed_as_bytes_or_words(data: bytes) -> None:
    table = read_table(_item([3, 0, 8], data, "OW"), signed=False)
    assert table is not None
    assert table.entries.tolist() == [5, 6, 7]


def test_a_length_of_zero_means_all_values_of_sixteen_bits() -> None:
    table = read_table(_item([0, 0, 16], bytes(2 * 65536), "OW"), signed=False)
    assert table is not None
    assert len(table.entries) == 65536


@pytest.mark.parametrize(
    ("descriptor", "data"), [([4, 0, 8], [1, 2, 3]), ([3, 0], [1, 2, 3]), ([3, 0, 40], [1, 2, 3]), ([3, 0, 8], None)]
)
def test_a_table_that_breaks_its_promise_is_none(descriptor: list[int], data: object) -> None:
    assert read_table(_item(descriptor, data), signed=False) is None
