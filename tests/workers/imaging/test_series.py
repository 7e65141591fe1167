from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from storage.routes.file import load_routes
from tests.support.dicom import (
    MALFORMED,
    SeriesPlan,
    enhanced,
    put,
    put_all,
    secondary_capture,
    series,
    structured_report,
)
from workers.errors import NoUsableSeries, TwoPatients
from workers.imaging.instances import HeaderScan, read_headers
from workers.imaging.series import LeftOutReason, SelectionRules, choose_series, select_series

HEAD_MR = SelectionRules(preferences=load_routes().named("head-mr").prefer)
GOOD = SeriesPlan(key="good")
ODD = SeriesPlan(key="odd", description="other")


def _scan(objects: ObjectStore, *datasets: Dataset) -> HeaderScan:
    return read_headers(put_all(objects, datasets), objects)


def _changed(**values: object) -> list[Dataset]:
    instances = series(ODD)
    for instance in instances:
        for keyword, value in values.items():
            if value is None:
                delattr(instance, keyword)
            else:
                setattr(instance, keyword, value)
    return instances


def _type(*values: str) -> list[Dataset]:
    return series(replace(ODD, image_type=values))


def _own_result() -> list[Dataset]:
    report = structured_report(ODD)
    report.Manufacturer = "oncue"
    return [report]


def _repeated() -> list[Dataset]:
    copies = [series(ODD) for _ in range(3)]
    for number, copy in enumerate(copies):
        for instance in copy:
            instance.SOPInstanceUID += f".{number}"  # same numbers, same times: nothing tells the three apart
    return [instance for copy in copies for instance in copy]


_LEFT_OUT: dict[LeftOutReason, list[Callable[[], list[Dataset]]]] = {
    LeftOutReason.OWN_RESULT: [_own_result],
    LeftOutReason.NOT_AN_IMAGE: [
        lambda: [structured_report(ODD)],
        lambda: _changed(Modality="SEG"),
        lambda: _changed(Modality="RTDOSE"),
    ],
    LeftOutReason.SECONDARY_CAPTURE: [
        lambda: [secondary_capture(ODD)],
        lambda: _type("ORIGINAL", "SECONDARY", "OTHER"),
    ],
    LeftOutReason.SCREEN_SAVE: [lambda: _type("DERIVED", "SECONDARY", "SCREEN SAVE")],
    LeftOutReason.LOCALIZER: [
        lambda: _type("ORIGINAL", "PRIMARY", "LOCALIZER"),
        lambda: _type("ORIGINAL", "PRIMARY", "M", "SCOUT"),
    ],
    LeftOutReason.MOSAIC: [lambda: _type("ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC")],
    LeftOutReason.PROJECTION: [lambda: _type("DERIVED", "PRIMARY", "PROJECTION IMAGE", "MIP")],
    LeftOutReason.COLOUR: [
        lambda: _changed(PhotometricInterpretation="PALETTE COLOR"),
        lambda: _changed(SamplesPerPixel=3, PhotometricInterpretation="RGB"),
    ],
    LeftOutReason.UNSUPPORTED_CLASS: [lambda: _changed(SOPClassUID="1.2.840.10008.5.1.4.1.1.1")],
    LeftOutReason.UNSUPPORTED_MODALITY: [lambda: _changed(Modality="US")],
    LeftOutReason.NO_GEOMETRY: [
        lambda: _changed(ImagePositionPatient=None),
        lambda: _changed(ImageOrientationPatient=[1, 0, 0]),
        lambda: _changed(PixelSpacing=[0, 1]),
    ],
    LeftOutReason.TOO_FEW_SLICES: [lambda: series(replace(ODD, shape=(2, 8, 8)))],
    LeftOutReason.REPEATED_POSITIONS: [_repeated],
    LeftOutReason.LOWER_RANK: [lambda: series(ODD)],
}
_CASES = [
    pytest.param(reason, build, id=f"{reason}-{index}")
    for reason, builders in _LEFT_OUT.items()
    for index, build in enumerate(builders)
]


@pytest.mark.parametrize(("reason", "build"), _CASES)
def test_what_is_no_volume_of_the_patient_is_left_out_with_its_reason(
    objects: ObjectStore, reason: LeftOutReason, build: Callable[[], list[Dataset]]
) -> None:
    odd = build()
    selection = select_series(_scan(objects, *odd, *series(GOOD)), rules=HEAD_MR)
    assert selection.chosen is not None
    assert selection.chosen.series_instance_uid == GOOD.uid("series")
    assert [(item.series_instance_uid, item.reason, item.instances) for item in selection.left_out] == [
        (ODD.uid("series"), reason, len(odd))
    ]


def test_every_reason_has_a_test() -> None:
    apart = {
        LeftOutReason.UNREADABLE,
        LeftOutReason.ODD_GEOMETRY,
        LeftOutReason.IDENTICAL_COPY,
        LeftOutReason.NO_VOLUME,
        LeftOutReason.CONTINUES,
        LeftOutReason.DERIVED,
        LeftOutReason.PLANAR,
        LeftOutReason.FOR_PROCESSING,
        LeftOutReason.BEYOND_LIMIT,
        LeftOutReason.NO_IMAGE,
    }
    assert set(_LEFT_OUT) | apart == set(LeftOutReason)


def test_a_series_with_one_unreadable_instance_is_left_out_whole(objects: ObjectStore) -> None:
    first, *rest = series(ODD)
    broken = put(objects, MALFORMED["text"](first), like=first)
    selection = select_series(read_headers([broken, *put_all(objects, rest)], objects))
    assert selection.chosen is None
    assert [(item.reason, item.instances) for item in selection.left_out] == [(LeftOutReason.UNREADABLE, 1)]


def test_a_localizer_inside_a_series_does_not_spoil_the_rest(objects: ObjectStore) -> None:
    first, *rest = series(GOOD)
    first.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    selection = select_series(_scan(objects, first, *rest))
    assert selection.chosen is not None
    assert selection.chosen.slices == len(rest)
    assert [(item.reason, item.instances) for item in selection.left_out] == [(LeftOutReason.LOCALIZER, 1)]


def _scout() -> Dataset:
    scout = series(GOOD)[0]
    scout.SOPInstanceUID += ".2"
    scout.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    return scout


def _larger() -> Dataset:
    larger = series(replace(GOOD, shape=(6, 32, 32)))[0]
    larger.SOPInstanceUID += ".2"
    return larger


@pytest.mark.parametrize("odd", [_scout, _larger])
def test_a_plane_that_fits_no_stack_is_set_aside_and_the_stack_is_taken(
    objects: ObjectStore, odd: Callable[[], Dataset]
) -> None:
    selection = select_series(_scan(objects, odd(), *series(GOOD)))
    assert selection.chosen is not None
    assert selection.chosen.slices == GOOD.shape[0]
    assert [(item.reason, item.instances) for item in selection.left_out] == [(LeftOutReason.ODD_GEOMETRY, 1)]


@pytest.mark.parametrize("image_type", [("DERIVED", "PRIMARY", "M", "DIS3D"), ("DERIVED", "SECONDARY", "MPR")])
def test_computed_images_are_taken_where_there_is_no_original(
    objects: ObjectStore, image_type: tuple[str, ...]
) -> None:
    computed = _type(*image_type)
    chosen = select_series(_scan(objects, *computed), rules=HEAD_MR).chosen
    assert chosen is not None
    both = select_series(_scan(objects, *computed, *series(replace(GOOD, description="AX T2"))), rules=HEAD_MR).chosen
    assert both is not None
    assert both.series_instance_uid == GOOD.uid("series")
    strict = replace(HEAD_MR, derived=False)
    left_out = select_series(_scan(objects, *computed), rules=strict).left_out
    assert [item.reason for item in left_out] == [LeftOutReason.DERIVED]


def _twice(**second: object) -> list[Dataset]:
    """A series that holds every slice twice; ``second`` tells the later half apart."""
    again = series(GOOD)
    for number, instance in enumerate(again, start=101):
        instance.SOPInstanceUID += ".2"
        instance.InstanceNumber = number
        for keyword, value in second.items():
            setattr(instance, keyword, value)
    first = series(GOOD)
    for number, instance in enumerate(first, start=1):
        instance.InstanceNumber = number
    return [*first, *again]


@pytest.mark.parametrize(
    ("second", "part"),
    [
        ({"EchoTime": "80"}, "echo 80 (2 of 2)"),
        ({"DiffusionBValue": 1000.0}, "b-value 1000 (2 of 2)"),
        ({"InversionTime": "900"}, "inversion 900 (2 of 2)"),
        ({"TemporalPositionIdentifier": 2}, "time point 2 (2 of 2)"),
        ({"AcquisitionNumber": 2, "AcquisitionTime": "101730"}, "acquisition 2 (2 of 2)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "NONE"]}, "component M/NONE (2 of 2)"),
        ({}, "phase (2 of 2)"),
    ],
)
def test_two_volumes_in_one_series_are_told_apart_and_the_later_is_taken(
    objects: ObjectStore, second: dict[str, object], part: str
) -> None:
    selection = select_series(_scan(objects, *_twice(**second)))
    assert [entry.slices for entry in selection.ranked] == [6, 6]
    assert selection.chosen is not None
    assert selection.chosen.part == part
    assert all(header.stored.sop_instance_uid.endswith(".2") for header in selection.chosen.headers)
    assert [(item.reason, item.part.endswith("(1 of 2)")) for item in selection.left_out] == [
        (LeftOutReason.LOWER_RANK, True)
    ]


def test_two_stacks_of_one_enhanced_instance_are_two_volumes(objects: ObjectStore) -> None:
    instance = enhanced(GOOD)
    for number, groups in enumerate(instance.PerFrameFunctionalGroupsSequence):
        groups.FrameContentSequence[0].StackID = "1" if number < 3 else "2"
        if number >= 3:
            turned = Dataset()
            turned.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
            groups.PlaneOrientationSequence = [turned]
    ranked = select_series(_scan(objects, instance)).ranked
    assert sorted(entry.part for entry in ranked) == ["orientation 1 of 2", "orientation 2 of 2"]
    assert [entry.slices for entry in ranked] == [3, 3]


def test_images_of_two_patients_never_give_one_result(objects: ObjectStore) -> None:
    other = series(ODD)
    for instance in other:
        instance.PatientID = "SOMEBODY-ELSE"
    with pytest.raises(TwoPatients, match="2 patients") as refusal:
        choose_series(_scan(objects, *series(GOOD), *other))
    assert "SOMEBODY" not in str(refusal.value)


def test_lossy_compression_alone_does_not_make_a_series_derived(objects: ObjectStore) -> None:
    instances = series(replace(GOOD, image_type=("DERIVED", "PRIMARY", "OTHER")))
    for instance in instances:
        instance.LossyImageCompression = "01"
    assert select_series(_scan(objects, *instances)).chosen is not None


def test_one_doubled_slice_is_left_for_the_volume_builder_to_refuse(objects: ObjectStore) -> None:
    doubled = series(GOOD)[2]
    doubled.SOPInstanceUID += ".2"
    assert select_series(_scan(objects, *series(GOOD), doubled)).chosen is not None


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("Ax FLAIR", "Ax T2"),
        ("t2_tirm_tra_dark-fluid", "t2_tse_tra"),
        ("AX T2", "AX T1"),
        ("AX T1", "DWI b1000"),
        ("AX T2 FSE", "AX T2* GRE"),
        ("AX T1 POST", "TOF_3D"),
    ],
)
def test_the_series_named_for_what_the_analyser_wants_wins(objects: ObjectStore, better: str, worse: str) -> None:
    winner, loser = (
        SeriesPlan(key="b", description=better),
        SeriesPlan(key="a", description=worse, shape=(9, 16, 20)),
    )
    selection = select_series(_scan(objects, *series(loser), *series(winner)), rules=HEAD_MR)
    assert [entry.series_instance_uid for entry in selection.ranked] == [winner.uid("series"), loser.uid("series")]


def test_an_unnamed_inversion_recovery_is_known_by_its_inversion_time(objects: ObjectStore) -> None:
    flair = series(SeriesPlan(key="x", description="series 4"))
    for instance in flair:
        instance.ScanningSequence, instance.InversionTime = ["SE", "IR"], "2500"
    scan = _scan(objects, *series(SeriesPlan(key="y", description="AX T2")), *flair)
    selection = select_series(scan, rules=HEAD_MR)
    assert selection.chosen is not None
    assert selection.chosen.description == "SERIES 4"


def test_of_equal_series_the_one_with_more_slices_wins_whatever_order_they_come_in(objects: ObjectStore) -> None:
    small = series(SeriesPlan(key="a"))
    large = series(SeriesPlan(key="b", shape=(9, 16, 20)))
    for datasets in ([*small, *large], [*large, *small]):
        chosen = select_series(_scan(objects, *datasets)).chosen
        assert chosen is not None
        assert chosen.slices == 9


def test_an_enhanced_instance_is_a_series_of_its_frames(objects: ObjectStore) -> None:
    chosen = select_series(_scan(objects, enhanced(GOOD))).chosen
    assert chosen is not None
    assert chosen.slices == 6


def test_a_study_without_a_usable_series_is_refused_with_every_reason(objects: ObjectStore) -> None:
    datasets = [*_type("ORIGINAL", "PRIMARY", "LOCALIZER"), structured_report(GOOD)]
    with pytest.raises(NoUsableSeries, match=r"series [0-9.]{13,}: localizer, 6 images") as refusal:
        choose_series(_scan(objects, *datasets))
    assert ": not_an_image, 1 image" in str(refusal.value)
    assert "Doe" not in str(refusal.value)


def test_an_empty_study_is_refused() -> None:
    with pytest.raises(NoUsableSeries, match="empty"):
        choose_series(HeaderScan((), ()))


def test_an_analyser_may_take_one_modality_only(objects: ObjectStore) -> None:
    scan = _scan(objects, *series(replace(GOOD, modality="CT", image_type=("ORIGINAL", "PRIMARY", "AXIAL"))))
    assert select_series(scan).chosen is not None
    selection = select_series(scan, rules=SelectionRules(modalities=frozenset({"MR"})))
    assert [item.reason for item in selection.left_out] == [LeftOutReason.UNSUPPORTED_MODALITY]
