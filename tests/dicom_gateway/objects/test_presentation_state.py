"""Presentation states: their graphics held against the masks, and their grey values as DCMTK renders them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.presentation_state import build_presentation_states
from dicom_gateway.objects.validation import check_object
from storage.domain import Analysis
from storage.objects import ObjectStore
from tests.support.flat_sources import CR, DX, FLAT_PLANS, US, FlatPlan, lesion_labels, store_flat
from tests.support.peers import executable, run
from tests.support.pictured import headers, saved
from tests.support.readers import iod_errors
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, SourceStudy, part10_bytes, store_study

AXIAL, ENHANCED = LAYOUTS[0], LAYOUTS[5]
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


def build(analysis: Analysis, sources: tuple[Dataset, ...]) -> tuple[Dataset, ...]:
    return build_presentation_states(analysis, sources, written_at=WRITTEN_AT, equipment=Equipment())


def built(study: SourceStudy) -> tuple[Dataset, ...]:
    return build(study.analysis(study.lesion_labels()), study.datasets)


def drawn(states: tuple[Dataset, ...], study: SourceStudy) -> NDArray[np.uint8]:
    """Return the lesions that the graphics of states enclose, by the numbers of their layers."""
    labels = np.zeros(study.layout.shape, np.uint8)
    places = {(frame.sop_instance_uid, frame.frame_number): z for z, frame in enumerate(study.frames)}
    for state in states:
        for annotation in state.GraphicAnnotationSequence:
            (image,) = annotation.ReferencedImageSequence
            z = places[image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")]
            for graphic in annotation.GraphicObjectSequence:
                enlarged = Image.new("1", (4 * labels.shape[2], 4 * labels.shape[1]))
                points = [4 * value for value in graphic.GraphicData]
                ImageDraw.Draw(enlarged).polygon(points, fill=1)
                labels[z][np.array(enlarged)[2::4, 2::4]] = int(annotation.GraphicLayer.removeprefix("LESION_"))
    return labels


@pytest.mark.peer
@EVERY_LAYOUT
def test_dciodvfy_finds_no_error_and_the_graphics_enclose_the_lesions(
    layout: Layout, objects: ObjectStore, tmp_path: Path
) -> None:
    study = store_study(layout, objects)
    states = built(study)
    assert len(states) == 1
    assert iod_errors(saved(states[0], tmp_path / "state.dcm")) == []
    check_object(states[0], references=())
    assert (drawn(states, study) == study.lesion_labels()).all()


@pytest.mark.peer
@pytest.mark.parametrize("plan", [plan for plan in FLAT_PLANS if plan is not US], ids=lambda plan: plan.name)
def test_dciodvfy_finds_no_error_on_a_flat_image(plan: FlatPlan, objects: ObjectStore, tmp_path: Path) -> None:
    source = store_flat(plan, objects)
    (state,) = build(source.analysis(lesion_labels()), headers(source))
    assert iod_errors(saved(state, tmp_path / "state.dcm")) == []
    (image,) = state.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert image.ReferencedSOPInstanceUID == source.dataset.SOPInstanceUID
    assert image.get("ReferencedFrameNumber") == plan.frame_number


def test_each_lesion_is_named_and_tracked_in_a_layer_of_its_own(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = study.analysis(study.lesion_labels())
    (state,) = build(analysis, study.datasets)
    assert [layer.GraphicLayer for layer in state.GraphicLayerSequence] == ["LESION_1", "LESION_2"]
    tracked = {
        annotation.GraphicLayer: (
            annotation.GraphicObjectSequence[0].TrackingUID,
            annotation.TextObjectSequence[0].UnformattedTextValue,
        )
        for annotation in state.GraphicAnnotationSequence
    }
    first, second = (finding.tracking_uid for finding in analysis.findings)
    assert tracked == {"LESION_1": (first, "Lesion 1"), "LESION_2": (second, "Lesion 2")}


@pytest.mark.peer
@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
def test_dcmtk_shows_the_grey_values_as_the_image_states_them(
    polarity: str, objects: ObjectStore, tmp_path: Path
) -> None:
    study = store_study(
        AXIAL,
        objects,
        WindowCenter=[500, 40],
        WindowWidth=[1000, 80],
        RescaleSlope=2,
        RescaleIntercept=20,
        RescaleType="HU",
        PhotometricInterpretation=polarity,
    )
    state = saved(built(study)[0], tmp_path / "state.dcm")
    image = tmp_path / "image.dcm"
    image.write_bytes(part10_bytes(study.datasets[2]))
    result = run(executable("dcmp2pgm"), "-p", state, image, tmp_path / "shown.pgm")
    assert result.returncode == 0, result.stdout
    stored = study.datasets[2].pixel_array.astype(float)
    expected = np.clip(((stored * 2 + 20 - 499.5) / 999 + 0.5) * 255, 0, 255)
    expected = 255 - expected if polarity == "MONOCHROME1" else expected
    assert np.ptp(expected) > 200
    np.testing.assert_allclose(np.array(Image.open(tmp_path / "shown.pgm")), expected, atol=1.5)


def test_an_image_without_window_is_shown_in_the_range_of_its_pixels(objects: ObjectStore) -> None:
    study = store_study(
        AXIAL, objects, SmallestImagePixelValue=100, LargestImagePixelValue=900, RescaleSlope=1, RescaleIntercept=-50
    )
    (window,) = built(study)[0].SoftcopyVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth) == (450, 800)
    assert "SoftcopyVOILUTSequence" not in built(store_study(LAYOUTS[1], objects))[0]


def test_windows_that_differ_name_their_images(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    for number, dataset in enumerate(study.datasets):
        dataset.WindowCenter, dataset.WindowWidth = 100 + number % 2, 300
    (state,) = built(study)
    shown = {
        int(item.WindowCenter): [image.ReferencedSOPInstanceUID for image in item.ReferencedImageSequence]
        for item in state.SoftcopyVOILUTSequence
    }
    uids = [frame.sop_instance_uid for frame in study.frames]
    assert shown == {101: [uids[1], uids[3]], 100: [uids[2], uids[4]]}


@pytest.mark.peer
def test_images_of_other_slopes_have_a_state_of_their_own(objects: ObjectStore, tmp_path: Path) -> None:
    study = store_study(AXIAL, objects)
    for number, dataset in enumerate(study.datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = 1 + 0.25 * (number // 3), 0
    states = built(study)
    assert [state.RescaleSlope for state in states] == [1, 1.25]
    assert [len(state.ReferencedSeriesSequence[0].ReferencedImageSequence) for state in states] == [2, 2]
    assert [state.InstanceNumber for state in states] == [1, 2]
    assert len({state.SOPInstanceUID for state in states}) == 2
    assert len({state.SeriesInstanceUID for state in states}) == 1
    assert (drawn(states, study) == study.lesion_labels()).all()
    assert [iod_errors(saved(state, tmp_path / "state.dcm")) for state in states] == [[], []]


@pytest.mark.peer
def test_frames_of_an_enhanced_instance_are_named_and_shown_as_their_own_groups_say(
    objects: ObjectStore, tmp_path: Path
) -> None:
    study = store_study(ENHANCED, objects)
    for number, group in enumerate(study.datasets[0].PerFrameFunctionalGroupsSequence):
        values, window = Dataset(), Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1 + number // 3, -5, "US"
        window.WindowCenter, window.WindowWidth = 40, 400
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [values], [window]
    states = built(study)
    named = [state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedFrameNumber for state in states]
    assert named == [[2, 3], [4, 5]]
    assert [state.RescaleSlope for state in states] == [1, 2]
    assert [state.SoftcopyVOILUTSequence[0].WindowWidth for state in states] == [400, 400]
    assert (drawn(states, study) == study.lesion_labels()).all()
    assert [iod_errors(saved(state, tmp_path / "state.dcm")) for state in states] == [[], []]


@pytest.mark.parametrize(
    ("attributes", "spacing", "ratio"),
    [
        ({"PixelSpacing": [0.5, 0.25]}, [0.5, 0.25], None),
        ({"PixelSpacing": None, "PixelAspectRatio": [4, 3]}, None, [4, 3]),
        ({"PixelSpacing": None}, None, [1, 1]),
    ],
)
def test_pixels_keep_their_shape(
    attributes: dict[str, object], spacing: list[float] | None, ratio: list[int] | None, objects: ObjectStore
) -> None:
    source = store_flat(CR, objects, **attributes)
    (state,) = build(source.analysis(lesion_labels()), headers(source))
    (area,) = state.DisplayedAreaSelectionSequence
    assert area.get("PresentationPixelSpacing") == spacing
    assert area.get("PresentationPixelAspectRatio") == ratio


def test_a_radiograph_keeps_its_shutter(objects: ObjectStore) -> None:
    edges = {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 2, "ShutterRightVerticalEdge": 18,
             "ShutterUpperHorizontalEdge": 1, "ShutterLowerHorizontalEdge": 23}  # fmt: skip # reads by its lines
    source = store_flat(DX, objects, **edges)
    (state,) = build(source.analysis(lesion_labels()), headers(source))
    assert {keyword: state[keyword].value for keyword in edges} == edges


def test_a_modality_table_stays_that_of_its_image(objects: ObjectStore) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType, table.LUTData = [2, 0, 16], "OD", b"\0\0\xff\xff"
    source = store_flat(CR, objects, ModalityLUTSequence=[table])
    (state,) = build(source.analysis(lesion_labels()), headers(source))
    assert state.ModalityLUTSequence[0].LUTData == b"\0\0\xff\xff"
    assert "RescaleSlope" not in state


def test_colour_images_and_findings_without_a_lesion_have_none(objects: ObjectStore) -> None:
    ultrasound = store_flat(US, objects)
    assert build(ultrasound.analysis(lesion_labels()), headers(ultrasound)) == ()
    assert build(ultrasound.assessment(label="benign"), headers(ultrasound)) == ()
    study = store_study(AXIAL, objects)
    assert build(study.analysis(np.zeros_like(study.lesion_labels())), study.datasets) == ()


def test_a_frame_that_no_source_holds_is_refused(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    with pytest.raises(SourceUnusable):
        build(study.analysis(study.lesion_labels()), study.datasets[:2])


def test_an_outline_of_very_many_points_is_drawn_in_pieces(objects: ObjectStore, tmp_path: Path) -> None:
    study = store_study(replace(AXIAL, name="comb", shape=(1, 130, 130)), objects)
    labels = np.zeros(study.layout.shape, np.uint8)
    labels[0, ::4] = labels[0, 1::4, ::2] = labels[0, :, 0] = 1  # a comb with toothed teeth
    path = saved(build(study.analysis(labels), study.datasets)[0], tmp_path / "state.dcm")
    state = pydicom.dcmread(path)
    points = [graphic.NumberOfGraphicPoints for graphic in state.GraphicAnnotationSequence[0].GraphicObjectSequence]
    assert max(points) == 8001
    check_object(state, references=())


@pytest.mark.parametrize("damage", ["layer", "image", "points", "outside"])
def test_a_state_that_contradicts_itself_does_not_leave(damage: str, objects: ObjectStore) -> None:
    (state,) = built(store_study(AXIAL, objects))
    annotation = state.GraphicAnnotationSequence[0]
    if damage == "layer":
        annotation.GraphicLayer = "ELSEWHERE"
    elif damage == "image":
        annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID = pydicom.uid.UID("2.25.1")
    elif damage == "points":
        annotation.GraphicObjectSequence[0].NumberOfGraphicPoints = 3
    else:
        annotation.GraphicObjectSequence[0].GraphicData = [
            value + 15 for value in annotation.GraphicObjectSequence[0].GraphicData
        ]
    with pytest.raises(ObjectInvalid, match="presentation state"):
        check_object(state, references=())
