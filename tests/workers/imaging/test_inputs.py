from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from storage.sop_kinds import ImageKind
from storage.volumes import Extent
from tests.support.dicom import SeriesPlan, enhanced, put_all, secondary_capture, series, structured_report
from tests.support.images import ImagePlan, drawn, image, picture
from tests.support.nuclear import nuclear, pet
from tests.support.required import present
from workers.errors import CineNotSupported, IncompleteVolume, NoUsableSeries, SuvUnknown, TwoPatients
from workers.imaging.inputs import Inputs, read_inputs
from workers.imaging.instances import read_headers
from workers.imaging.series import LeftOutReason, SelectionRules


def _read(objects: ObjectStore, *datasets: Dataset, modalities: str, capture: bool = False) -> Inputs:
    scan = read_headers(put_all(objects, datasets), objects)
    rules = SelectionRules(modalities=frozenset(modalities.split()))
    return read_inputs(scan, objects, rules=rules, secondary_capture=capture)


def test_a_stack_is_one_volume_with_its_series(objects: ObjectStore) -> None:
    inputs = _read(objects, *series(SeriesPlan()), secondary_capture(SeriesPlan(key="shot")), modalities="MR")
    assert inputs.kind is ImageKind.VOLUME
    assert inputs.series is not None
    assert [volume.series_instance_uid for volume in inputs.volumes] == [SeriesPlan().uid("series")]
    assert inputs.volumes[0].extent is Extent.VOLUME
    assert [item.reason for item in inputs.left_out] == [LeftOutReason.SECONDARY_CAPTURE]


def test_each_modality_of_a_mixed_study_is_read_by_the_route_that_wants_it(objects: ObjectStore) -> None:
    study = [
        *series(SeriesPlan(key="ct", modality="CT")),
        *pet(),
        nuclear(),
        image(ImagePlan("DX"), drawn()),
        structured_report(SeriesPlan(key="report")),
    ]
    for modality, kind in (("CT", "volume"), ("PT", "volume"), ("NM", "volume"), ("DX", "image")):
        inputs = _read(objects, *study, modalities=modality)
        assert (inputs.kind, [volume.modality for volume in inputs.volumes]) == (kind, [modality])


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_an_enhanced_instance_is_rescaled_as_its_frames_say(objects: ObjectStore, modality: str) -> None:
    plan = SeriesPlan(modality=modality, slope=2.0, intercept=-1000.0)
    (volume,) = _read(objects, enhanced(plan, order=[3, 1, 0, 2, 5, 4]), modalities=modality).volumes
    assert np.array_equal(volume.voxels, plan.values() * 2.0 - 1000.0)
    assert [frame.frame_number for frame in volume.frames] == [3, 2, 4, 1, 6, 5]


def test_radiographs_are_images_with_notes_on_record(objects: ObjectStore) -> None:
    frontal = image(ImagePlan(number=1), drawn(), ImagerPixelSpacing=[0.1, 0.1])
    inputs = _read(objects, frontal, structured_report(SeriesPlan(key="report")), modalities="DX CR")
    assert (inputs.kind, inputs.series) == (ImageKind.IMAGE, None)
    assert inputs.notes == (f"spacing_at_detector: image {frontal.SOPInstanceUID}",)
    assert [item.reason for item in inputs.left_out] == [LeftOutReason.NOT_AN_IMAGE]


def test_a_volume_that_cannot_be_built_is_not_replaced_by_an_image(objects: ObjectStore) -> None:
    gap = [dataset for z, dataset in enumerate(series(SeriesPlan())) if z != 3]
    capture = image(ImagePlan("MR", sop_class=uid.SecondaryCaptureImageStorage), drawn())
    with pytest.raises(IncompleteVolume):
        _read(objects, *gap, capture, modalities="MR", capture=True)


def test_only_loops_are_refused_as_loops(objects: ObjectStore) -> None:
    loop = image(ImagePlan("US", sop_class=uid.UltrasoundMultiFrameImageStorage), drawn(), NumberOfFrames=2)
    loop.PixelData = loop.PixelData * 2
    with pytest.raises(CineNotSupported):
        _read(objects, loop, modalities="US")


def test_where_nothing_can_be_read_every_reason_is_named(objects: ObjectStore) -> None:
    capture = image(ImagePlan("US", sop_class=uid.SecondaryCaptureImageStorage), drawn())
    with pytest.raises(NoUsableSeries, match="secondary_capture") as refusal:
        _read(objects, capture, nuclear(kind="STATIC"), modalities="US NM")
    assert ": planar, 1 image" in str(refusal.value)
    with pytest.raises(NoUsableSeries, match="empty"):
        _read(objects, modalities="US")


def test_images_of_two_patients_are_never_read_together(objects: ObjectStore) -> None:
    images = [image(ImagePlan(number=number), drawn(), PatientID=f"T{number}") for number in (1, 2)]
    with pytest.raises(TwoPatients):
        _read(objects, *images, modalities="DX")


def test_a_pet_without_uptake_values_fails_by_its_own_code(objects: ObjectStore) -> None:
    images = pet()
    for one in images:
        del one.PatientWeight
    with pytest.raises(SuvUnknown):
        _read(objects, *images, modalities="PT")


@pytest.mark.slow
def test_a_real_study_of_three_modalities_is_read_route_by_route(real_data: Path, objects: ObjectStore) -> None:
    folder = present(real_data / "sarcoma-ct-pet-mr") / "dicom" / "STS_051"
    study = [pydicom.dcmread(file) for file in sorted(folder.rglob("*.dcm"))]
    scan = read_headers(put_all(objects, study), objects)
    for modality in ("CT", "PT", "MR"):
        inputs = read_inputs(scan, objects, rules=SelectionRules(modalities=frozenset({modality})))
        assert (inputs.kind, inputs.volumes[0].modality) == (ImageKind.VOLUME, modality)


def test_a_real_radiograph_is_read_as_an_image(real_data: Path, objects: ObjectStore) -> None:
    values = picture(present(real_data / "covid-xray") / "images" / "covid-002.jpg")
    inputs = _read(objects, image(ImagePlan("DX"), values), modalities="DX")
    assert np.array_equal(inputs.volumes[0].voxels[0], values)
    assert inputs.volumes[0].extent is Extent.UNKNOWN
