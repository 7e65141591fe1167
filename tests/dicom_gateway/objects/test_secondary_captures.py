"""Secondary captures: the picture as it was, what stands around it, and how others decode it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects.captions import caption_of
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.key_pictures import KeyPicture, key_pictures
from dicom_gateway.objects.secondary_captures import build_secondary_captures
from dicom_gateway.objects.validation import check_object
from storage import arrays
from storage.domain import Analysis
from storage.explanations import Prediction, SaliencyMap
from storage.objects import ObjectStore
from tests.support.drawn_organs import drawn_alone
from tests.support.flat_sources import CR, FLAT_PLANS, SC, FlatPlan, lesion_labels, store_flat
from tests.support.peers import executable, run
from tests.support.pictured import headers, pictured, saved, with_pictures
from tests.support.readers import iod_errors
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, store_study

AXIAL, OBLIQUE, SAGITTAL, ANISOTROPIC, ENHANCED = (LAYOUTS[place] for place in (0, 1, 3, 4, 5))
WHITE = (255, 255, 255)


def build(analysis: Analysis, sources: tuple[Dataset, ...], objects: ObjectStore) -> tuple[Dataset, ...]:
    pictures = key_pictures(analysis, objects)
    return build_secondary_captures(analysis, sources, pictures, written_at=WRITTEN_AT, equipment=Equipment())


def built(layout: Layout, objects: ObjectStore, **attributes: object) -> tuple[Dataset, ...]:
    study = store_study(layout, objects, **attributes)
    return build(pictured(study, study.lesion_labels(), objects), study.datasets, objects)


def bar_pixels(capture: NDArray[np.uint8], picture_height: int) -> int:
    """Return the length of the scale: the longest run of white below the picture."""
    below = (capture[picture_height:] == WHITE).all(axis=2)
    longest = 0
    for row in below:
        ends = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        longest = max([longest, *(ends[1::2] - ends[::2]).tolist()])
    return longest


@pytest.mark.peer
@pytest.mark.parametrize("layout", [AXIAL, OBLIQUE, ENHANCED], ids=lambda layout: layout.name)
def test_dciodvfy_finds_no_error_and_dcmtk_shows_the_pixels(
    layout: Layout, objects: ObjectStore, tmp_path: Path
) -> None:
    captures = built(layout, objects)
    assert len(captures) == 3
    for number, capture in enumerate(captures):
        path = saved(capture, tmp_path / f"{number}.dcm")
        assert iod_errors(path) == []
        check_object(capture, references=())
        shown = tmp_path / f"{number}.ppm"
        assert run(executable("dcm2pnm"), "+op", path, shown).returncode == 0
        assert (np.array(Image.open(shown)) == capture.pixel_array).all()


@pytest.mark.peer
@pytest.mark.parametrize("plan", FLAT_PLANS, ids=lambda plan: plan.name)
def test_dciodvfy_finds_no_error_on_a_flat_image(plan: FlatPlan, objects: ObjectStore, tmp_path: Path) -> None:
    source = store_flat(plan, objects)
    (capture,) = build(pictured(source, lesion_labels(), objects), headers(source), objects)
    assert iod_errors(saved(capture, tmp_path / "capture.dcm")) == []
    assert capture.get("PatientOrientation") == source.dataset.get("PatientOrientation", "")
    assert "PixelSpacing" not in capture


def test_nothing_of_the_picture_is_covered_but_by_numbers_beside_lesions(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    one = np.where(study.lesion_labels() == 1, 1, 0).astype(np.uint8)
    for labels, most_changed in ((one, 0), (study.lesion_labels(), 900)):
        analysis = pictured(study, labels, objects)
        captures = build(analysis, study.datasets, objects)
        for capture, digest in zip(captures, analysis.overlays, strict=True):
            picture = np.array(Image.open(io.BytesIO(objects.get(digest))))
            pixels = capture.pixel_array
            left = (pixels.shape[1] - picture.shape[1]) // 2
            places = range(pixels.shape[0] - picture.shape[0])
            changed = min(
                int((pixels[top : top + len(picture), left : left + picture.shape[1]] != picture).any(axis=2).sum())
                for top in places
            )
            assert changed <= most_changed


@pytest.mark.parametrize(
    ("layout", "orientation"),
    [(AXIAL, ["L", "P"]), (SAGITTAL, ["P", "F"]), (ENHANCED, ["L", "P"]), (OBLIQUE, ["LPF", "PAL"])],
    ids=lambda value: value.name if isinstance(value, Layout) else "",
)
def test_it_says_which_way_the_picture_lies(layout: Layout, orientation: list[str], objects: ObjectStore) -> None:
    stated = list(built(layout, objects)[0].PatientOrientation)
    if layout is OBLIQUE:  # the direction cosines say which axes it leans to
        assert [letters[0] for letters in stated] == ["L", "P"]
        assert all(len(letters) >= 2 for letters in stated)
    else:
        assert stated == orientation


@pytest.mark.parametrize("layout", [AXIAL, ANISOTROPIC], ids=lambda layout: layout.name)
def test_the_scale_is_as_long_as_it_says(layout: Layout, objects: ObjectStore) -> None:
    study = store_study(layout, objects)
    analysis = pictured(study, study.lesion_labels(), objects)
    capture = build(analysis, study.datasets, objects)[0]
    picture = Image.open(io.BytesIO(objects.get(analysis.overlays[0])))
    width_mm = layout.shape[2] * layout.spacing[2]
    spacing = float(capture.PixelSpacing[0])
    assert spacing == pytest.approx(width_mm / picture.width, rel=1e-6)
    bar = bar_pixels(capture.pixel_array, picture.height + 100)
    assert bar * spacing == pytest.approx(10.0, abs=3 * spacing)


def test_a_flat_image_has_the_scale_that_its_lesions_were_measured_by_and_else_none(objects: ObjectStore) -> None:
    source = store_flat(CR, objects)
    analysis = pictured(source, lesion_labels(), objects)
    (capture,) = build(analysis, headers(source), objects)
    picture = Image.open(io.BytesIO(objects.get(analysis.overlays[0])))
    bar = bar_pixels(capture.pixel_array, picture.height + 100)
    assert bar == pytest.approx(5.0 / (20 * 0.5 / picture.width), abs=3)
    unknown = store_flat(SC, objects)
    (capture,) = build(pictured(unknown, lesion_labels(), objects), headers(unknown), objects)
    assert bar_pixels(capture.pixel_array, picture.height + 100) < 20


def test_each_names_the_image_that_it_was_made_of(objects: ObjectStore) -> None:
    single = store_study(AXIAL, objects)
    captures = build(pictured(single, single.lesion_labels(), objects), single.datasets, objects)
    uids = [capture.SourceImageSequence[0].ReferencedSOPInstanceUID for capture in captures]
    assert uids == [single.frames[z].sop_instance_uid for z in (1, 2, 4)]
    assert [capture.InstanceNumber for capture in captures] == [1, 2, 3]
    assert len({capture.SeriesInstanceUID for capture in captures}) == 1
    assert len({capture.SOPInstanceUID for capture in captures}) == 3
    frames = [capture.SourceImageSequence[0].ReferencedFrameNumber for capture in built(ENHANCED, objects)]
    assert frames == [2, 3, 5]


@pytest.mark.parametrize("stated", ["YES", "NO", None])
def test_burned_in_text_and_loss_are_those_of_the_source(stated: str | None, objects: ObjectStore) -> None:
    lossy = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 12,
        "LossyImageCompressionMethod": "ISO_10918_1",
    }
    source = store_flat(CR, objects, BurnedInAnnotation=stated, **lossy)
    (capture,) = build(pictured(source, lesion_labels(), objects), headers(source), objects)
    assert capture.get("BurnedInAnnotation") == stated
    assert (capture.LossyImageCompression, capture.LossyImageCompressionRatio) == ("01", 12)


def test_the_caption_says_what_was_found_where_and_by_what(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = study.analysis(study.lesion_labels())
    caption = caption_of(analysis, KeyPicture(b"", 1), study.datasets[1], Equipment(software_version="9.8"))
    assert caption.findings == (
        "Lesion 1: 0.19 ml, longest 12.3 mm, certainty 88%, low-grade glioma 75%",
        "and 1 more in this series",
    )
    assert caption.origin == (
        "Slice 2 of 6, series 3, image 2",
        "oncue triage 9.8",
        "latent-anomaly 1.2.3, weights cdcdcdcdcdcd",
        "prototypes 0.4.0, weights efefefefefef",
    )
    nothing = study.analysis(np.zeros_like(study.lesion_labels()))
    assert caption_of(nothing, KeyPicture(b"", 1), study.datasets[1], Equipment()).findings == (
        "Lesion: none found, certainty 93%",
    )


def test_patients_are_not_named_in_a_caption(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    caption = caption_of(study.analysis(study.lesion_labels()), KeyPicture(b"", 1), study.datasets[1], Equipment())
    text = " ".join((*caption.findings, *caption.origin))
    assert not any(word in text for word in ("Gr", "PATIENT", "ACC-4711", "1960", "2026"))


def test_many_lesions_are_counted_and_not_all_listed(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    labels = np.zeros_like(study.lesion_labels())
    for number in range(1, 13):
        labels[2, 2 * (number // 4) : 2 * (number // 4) + 1, 4 * (number % 4) : 4 * (number % 4) + 2] = number
    caption = caption_of(study.analysis(labels), KeyPicture(b"", 2), study.datasets[2], Equipment())
    assert len(caption.findings) == 6
    assert caption.findings[-1] == "and 7 more in this series"


def test_a_label_of_the_whole_image_is_shown_with_where_the_classifier_looked(objects: ObjectStore) -> None:
    source = store_flat(CR, objects)
    saliency = arrays.save_saliency(objects, SaliencyMap((0,), np.ones((1, 24, 20), np.float32)))
    analysis = source.assessment(Prediction(1, saliency=saliency), label="consolidation", label_probability=0.81)
    picture = with_pictures(analysis, np.zeros((1, 24, 20), np.uint8), objects).overlays[0]
    plain, heated = key_pictures(replace(analysis, overlays=(picture, picture)), objects)
    assert [(one.slice_index, one.is_heated) for one in (plain, heated)] == [(0, False), (0, True)]
    assert caption_of(analysis, plain, source.dataset, Equipment()).findings == ("Whole image: consolidation 81%",)
    assert "where the classifier looked" in caption_of(analysis, heated, source.dataset, Equipment()).findings[-1]
    assert len(build(replace(analysis, overlays=(picture, picture)), headers(source), objects)) == 2


@pytest.mark.peer
def test_organs_alone_have_captures_without_a_scale_of_lesions(objects: ObjectStore, tmp_path: Path) -> None:
    study = store_study(AXIAL, objects)
    analysis = drawn_alone(study)
    assert analysis.label_map is not None
    organs = analysis.label_map.labels
    shown = with_pictures(analysis, np.zeros_like(organs), objects, organs=organs)
    captures = build(shown, study.datasets, objects)
    assert len(captures) == len(shown.overlays) > 0
    assert iod_errors(saved(captures[0], tmp_path / "capture.dcm")) == []
    assert caption_of(shown, KeyPicture(b"", 1), None, Equipment()).findings[0].startswith("Organs drawn: ")


def test_pictures_of_another_rule_are_not_said_to_show_a_slice(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = pictured(study, study.lesion_labels(), objects)
    more = replace(analysis, overlays=analysis.overlays * 2)
    captures = build(more, study.datasets, objects)
    assert [len(capture.SourceImageSequence) for capture in captures] == [6] * 6


def test_what_is_no_picture_is_refused(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = study.analysis(study.lesion_labels(), overlays=(objects.put(b"no picture"),))
    with pytest.raises(SourceUnusable):
        build(analysis, study.datasets, objects)


@pytest.mark.parametrize("damage", ["pixels", "colours"])
def test_a_capture_that_contradicts_itself_does_not_leave(damage: str, objects: ObjectStore) -> None:
    capture = built(AXIAL, objects)[0]
    if damage == "pixels":
        capture.PixelData = capture.PixelData[:-10]
    else:
        capture.PhotometricInterpretation = "YBR_FULL"
    with pytest.raises(ObjectInvalid, match="capture"):
        check_object(capture, references=())
