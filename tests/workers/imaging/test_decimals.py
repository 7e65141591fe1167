from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from storage.objects import ObjectStore
from tests.support.dicom import SeriesPlan, part10, put, series
from workers.errors import UnreadableInstance
from workers.imaging.decimals import decimal, decimals
from workers.imaging.instances import read_header


def holding(vr: str, value: bytes) -> Dataset:
    dataset, tag = Dataset(), Tag("PixelSpacing")
    dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=True)
    return dataset


@pytest.mark.parametrize(
    ("vr", "value", "wanted"),
    [
        ("DS", b"0.5\\0.5", (0.5, 0.5)),
        ("DS", b"0,5\\0,75 ", (0.5, 0.75)),
        ("UT", b"0.5\\0.5 ", (0.5, 0.5)),
        ("DS", b"1.234,5\\1", ()),
        ("DS", b"half\\0.5", ()),
        ("DS", b"nan\\1", ()),
        ("DS", b"1e999\\1", ()),
        ("DS", b"", ()),
        ("DS", b"-.5e1", (-5.0,)),
    ],
)
def test_numbers_are_read_where_their_meaning_is_certain(vr: str, value: bytes, wanted: tuple[float, ...]) -> None:
    assert decimals(holding(vr, value), "PixelSpacing") == wanted


def test_several_values_are_not_one() -> None:
    assert decimal(holding("DS", b"1\\2"), "PixelSpacing") is None
    assert decimal(Dataset(), "PixelSpacing") is None


@pytest.mark.parametrize(("bad", "good"), [(b"1.0\\1.5 ", b"1,0\\1,5 ")])
def test_a_stored_image_with_decimal_commas_keeps_its_place_in_the_patient(
    objects: ObjectStore, bad: bytes, good: bytes
) -> None:
    instance = series(SeriesPlan())[0]
    content = part10(instance)
    changed = content.replace(bad, good)
    assert changed != content
    assert dcmread(BytesIO(changed)).SOPInstanceUID == instance.SOPInstanceUID
    (plane,) = read_header(put(objects, changed, like=instance), objects).planes
    assert plane.pixel_spacing_mm == (1.0, 1.5)


def test_an_implicit_value_is_read_as_the_dictionary_has_it() -> None:
    dataset, tag = Dataset(), Tag("Rows")
    dataset[tag] = RawDataElement(tag, None, 2, b"\x10\x00", 0, is_implicit_VR=True, is_little_endian=True)
    assert decimal(dataset, "Rows") == 16


def spoiled(keyword: str, value: bytes) -> tuple[bytes, Dataset]:
    """Return an image with eight bytes as the value of an attribute, which no library would write."""
    instance = series(SeriesPlan())[0]
    setattr(instance, keyword, "77777777")
    content = part10(instance)
    assert content.count(b"77777777") == 1
    return content.replace(b"77777777", value), instance


@pytest.mark.parametrize("value", [b"about 2 ", b"1\\2     "])
def test_a_slope_that_is_no_number_leaves_an_image_without_units(objects: ObjectStore, value: bytes) -> None:
    content, instance = spoiled("RescaleSlope", value)
    with pytest.raises(UnreadableInstance):
        read_header(put(objects, content, like=instance), objects)


def test_an_empty_slope_is_the_usual_one(objects: ObjectStore) -> None:
    content, instance = spoiled("RescaleSlope", b" " * 8)
    (plane,) = read_header(put(objects, content, like=instance), objects).planes
    assert plane.slope == 1.0


@pytest.mark.parametrize(
    "keyword",
    ["EchoTime", "InversionTime", "AcquisitionNumber", "TriggerTime", "TemporalPositionIdentifier", "SliceThickness"],
)
@pytest.mark.parametrize("value", [b"about 2 ", b"\xff\xfe\x00\x01abcd"], ids=["words", "bytes"])
def test_a_bad_value_costs_its_attribute_and_not_the_image(objects: ObjectStore, keyword: str, value: bytes) -> None:
    content, instance = spoiled(keyword, value)
    (plane,) = read_header(put(objects, content, like=instance), objects).planes
    assert plane.position_mm == tuple(instance.ImagePositionPatient)
