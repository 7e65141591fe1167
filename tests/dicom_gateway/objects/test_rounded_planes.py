"""Segmentations on sources whose positions are rounded, or written in a way that only lenient readers take."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.segmentation import build_segmentation
from storage.objects import ObjectStore
from tests.support.readers import read_segments
from tests.support.sources import LAYOUTS, WRITTEN_AT, SourceStudy, part10_bytes, store_study

BY_NAME = {layout.name: layout for layout in LAYOUTS}


def jittered(study: SourceStudy, *, by_mm: float) -> SourceStudy:
    """Move every second plane of the sources along the normal."""
    orientation = [float(value) for value in study.datasets[0].ImageOrientationPatient]
    normal = np.cross(orientation[:3], orientation[3:])
    for number, dataset in enumerate(study.datasets):
        moved = np.array(dataset.ImagePositionPatient, dtype=float) + normal * (by_mm if number % 2 else -by_mm)
        dataset.ImagePositionPatient = [round(float(value), 3) for value in moved]
    return study


@pytest.mark.peer
@pytest.mark.parametrize("name", ["axial", "oblique", "reversed"])
def test_positions_to_and_fro_make_a_regular_volume(name: str, objects: ObjectStore, tmp_path: Path) -> None:
    study = jittered(store_study(BY_NAME[name], objects), by_mm=0.02)
    labels = study.lesion_labels()
    dataset = build_segmentation(study.analysis(labels), study.datasets, written_at=WRITTEN_AT, equipment=Equipment())
    path = tmp_path / "seg.dcm"
    path.write_bytes(part10_bytes(dataset))
    geometry = highdicom.seg.segread(path).get_volume_geometry(allow_missing_positions=True)
    assert geometry is not None
    assert geometry.spacing[0] == pytest.approx(study.layout.spacing[0], rel=0.01)
    segments = read_segments(path, tmp_path / "read")
    assert sorted(segments) == [1, 2]
    assert all(len(segment.points) == (labels == number).sum() for number, segment in segments.items())


def test_each_plane_of_an_even_grid_still_names_its_source(objects: ObjectStore) -> None:
    study = jittered(store_study(BY_NAME["axial"], objects), by_mm=0.02)
    labels = study.lesion_labels()
    dataset = build_segmentation(study.analysis(labels), study.datasets, written_at=WRITTEN_AT, equipment=Equipment())
    where = {str(source.SOPInstanceUID): np.array(source.ImagePositionPatient, float) for source in study.datasets}
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(position - where[source]).max() < 0.05


def test_positions_that_are_more_than_rounded_stay_those_of_the_sources(objects: ObjectStore) -> None:
    study = jittered(store_study(BY_NAME["axial"], objects), by_mm=0.2)
    dataset = build_segmentation(
        study.analysis(study.lesion_labels()), study.datasets, written_at=WRITTEN_AT, equipment=Equipment()
    )
    sources = {tuple(map(float, source.ImagePositionPatient)) for source in study.datasets}
    written = {
        tuple(map(float, groups.PlanePositionSequence[0].ImagePositionPatient))
        for groups in dataset.PerFrameFunctionalGroupsSequence
    }
    assert written <= sources


def test_numbers_that_only_lenient_readers_take_are_written_as_numbers(objects: ObjectStore) -> None:
    study = store_study(BY_NAME["axial"], objects)
    spacing = [float(value) for value in study.datasets[0].PixelSpacing]
    for dataset in study.datasets:
        text = "\\".join(str(value).replace(".", ",") for value in dataset.PixelSpacing)
        dataset[0x00280030] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(0x00280030), "UT", len(text), text.encode(), 0, is_implicit_VR=False, is_little_endian=True
        )
    dataset = build_segmentation(
        study.analysis(study.lesion_labels()), study.datasets, written_at=WRITTEN_AT, equipment=Equipment()
    )
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert [float(value) for value in measures.PixelSpacing] == pytest.approx(spacing)
