from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from storage.errors import ObjectMissing
from storage.objects import ObjectStore
from tests.support.dicom import MALFORMED, SeriesPlan, deeply_nested, enhanced, part10, put, series, structured_report
from workers.errors import OversizedInstance, UnreadableInstance
from workers.imaging.instances import read_header, read_headers
from workers.imaging.parsing import ReadLimits

PLAN = SeriesPlan(slope=2.0, intercept=-5.0)


def test_a_classic_header_holds_one_plane_with_its_modality_lut(objects: ObjectStore) -> None:
    instance = series(PLAN)[2]
    instance.ScanningSequence, instance.InversionTime = ["SE", "IR"], "2500"
    header = read_header(put(objects, instance), objects)
    (plane,) = header.planes
    assert plane.frame_number is None
    assert plane.position_mm == (-12.0, -8.0, 40.0)
    assert (plane.slope, plane.intercept) == (2.0, -5.0)
    assert plane.pixel_spacing_mm == (1.0, 1.5)
    assert (header.scanning_sequence, header.inversion_time_ms) == (("SE", "IR"), 2500.0)
    assert (header.rows, header.columns, header.frames) == (16, 20, 1)


def test_an_enhanced_header_holds_one_plane_for_each_frame(objects: ObjectStore) -> None:
    header = read_header(put(objects, enhanced(PLAN, order=[2, 0, 1])), objects)
    assert [plane.frame_number for plane in header.planes] == [1, 2, 3]
    assert [plane.position_mm[2] for plane in header.planes] == [40.0, 30.0, 35.0]
    assert {plane.slope for plane in header.planes} == {2.0}


def test_a_frame_without_a_position_leaves_the_instance_without_planes(objects: ObjectStore) -> None:
    instance = enhanced(PLAN)
    del instance.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    assert read_header(put(objects, instance), objects).planes == ()


def test_a_multi_frame_instance_with_one_position_for_all_frames_has_no_planes(objects: ObjectStore) -> None:
    instance = series(PLAN)[0]
    instance.NumberOfFrames = 4
    assert read_header(put(objects, instance), objects).planes == ()


def test_what_is_not_an_image_has_no_rows(objects: ObjectStore) -> None:
    header = read_header(put(objects, structured_report(PLAN)), objects)
    assert (header.rows, header.planes) == (0, ())


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_file_that_cannot_be_read_is_kept_with_its_code(objects: ObjectStore, kind: str) -> None:
    good, bad = series(PLAN)[:2]
    scan = read_headers([put(objects, good), put(objects, MALFORMED[kind](bad), like=bad)], objects)
    assert [header.stored.sop_instance_uid for header in scan.headers] == [good.SOPInstanceUID]
    assert [item.code for item in scan.unreadable] == ["unreadable_instance"]
    assert "Doe" not in scan.unreadable[0].message


def test_a_header_nested_beyond_reason_is_refused(objects: ObjectStore) -> None:
    instance = series(PLAN)[0]
    with pytest.raises(UnreadableInstance, match="RecursionError"):
        read_header(put(objects, deeply_nested(instance), like=instance), objects)


def _rows_as_text(instance: Dataset) -> bytes:
    content = part10(instance)
    at = content.index(bytes.fromhex("28001000") + b"US")
    return content[: at + 4] + b"LO\x02\x00xx" + content[at + 10 :]


def test_a_value_of_the_wrong_kind_is_refused_without_quoting_it(objects: ObjectStore) -> None:
    instance = series(PLAN)[0]
    with pytest.raises(UnreadableInstance) as refusal:
        read_header(put(objects, _rows_as_text(instance), like=instance), objects)
    assert "xx" not in str(refusal.value)
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("position", ["nan", "inf"])
def test_a_position_that_is_no_finite_number_gives_no_plane(objects: ObjectStore, position: str) -> None:
    instance = series(PLAN)[0]
    content = part10(instance).replace(b"-12.0\\-8.0\\30.0", f"{position:<5}\\-8.0\\30.0".encode())
    assert read_header(put(objects, content, like=instance), objects).planes == ()


def test_more_bytes_than_allowed_are_refused_unread(objects: ObjectStore) -> None:
    stored = put(objects, series(PLAN)[0])
    with pytest.raises(OversizedInstance, match="bytes"):
        read_header(stored, objects, limits=ReadLimits(instance_bytes=100))


def test_more_frames_than_allowed_are_refused(objects: ObjectStore) -> None:
    with pytest.raises(OversizedInstance, match="6 frames; the limit is 4"):
        read_header(put(objects, enhanced(PLAN)), objects, limits=ReadLimits(frames=4))


@pytest.mark.parametrize("claimed", [5, 7])
def test_a_frame_count_that_contradicts_the_functional_groups_is_refused(objects: ObjectStore, claimed: int) -> None:
    instance = enhanced(PLAN)
    instance.NumberOfFrames = claimed
    with pytest.raises(UnreadableInstance, match=f"NumberOfFrames is {claimed}"):
        read_header(put(objects, instance), objects)


def test_a_functional_group_without_items_counts_as_absent(objects: ObjectStore) -> None:
    instance = enhanced(PLAN)
    instance.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = Items([])
    assert read_header(put(objects, instance), objects).planes == ()


def test_an_object_that_is_gone_stops_the_scan(objects: ObjectStore) -> None:
    stored = replace(put(objects, series(PLAN)[0]), digest="0" * 64)
    with pytest.raises(ObjectMissing):
        read_headers([stored], objects)


@pytest.mark.parametrize("character_set", [b"ISO_IR 999", b"rot13     ", b"utf-16    ", b"undefined "])
def test_an_image_is_read_whatever_character_set_it_names(objects: ObjectStore, character_set: bytes) -> None:
    image = series(PLAN)[0]
    image.SpecificCharacterSet, image.SeriesDescription = "ISO_IR 100", "Sch\u00e4del"
    content = part10(image).replace(b"ISO_IR 100", character_set)
    header = read_header(put(objects, content, like=image), objects)
    assert header.description == "SCH\u00c4DEL"
    assert len(header.planes) == 1
