"""The parametric maps that oncue writes on request, read back by others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ParametricMapStorage

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.parametric_map import build_parametric_map
from dicom_gateway.objects.validation import check_object
from dicom_gateway.objects.writing import write_objects, write_parametric_map
from storage.domain import ObjectKind
from storage.errors import RecordMissing
from storage.explanations import Panel, ShownTile, Tile
from storage.objects import ObjectStore
from tests.support.readers import entity_errors, iod_errors, point_values, read_map
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, SourceStudy, store_study

AXIAL = LAYOUTS[0]
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


def write_map(study: SourceStudy, objects: ObjectStore) -> Path:
    written = write_parametric_map(study.explained(objects), objects, written_at=WRITTEN_AT, equipment=Equipment())
    assert written.kind is ObjectKind.PM
    assert written.sop_class_uid == ParametricMapStorage
    return objects.path(written.digest)


@pytest.mark.peer
@EVERY_LAYOUT
def test_dciodvfy_finds_no_error_in_a_map(layout: Layout, objects: ObjectStore) -> None:
    assert iod_errors(write_map(store_study(layout, objects), objects)) == []


@pytest.mark.peer
def test_dciodvfy_finds_no_error_where_the_region_is_not_known(objects: ObjectStore) -> None:
    assert iod_errors(write_map(store_study(AXIAL, objects, BodyPartExamined=""), objects)) == []


@pytest.mark.peer
@EVERY_LAYOUT
def test_dcmqi_reads_every_value_where_it_belongs(layout: Layout, objects: ObjectStore, tmp_path: Path) -> None:
    study = store_study(layout, objects)
    meta, read = read_map(write_map(study, objects), tmp_path / "read")
    expected = point_values((study.attention() / 255.0).astype(np.float32), study.affine)
    assert read.keys() == expected.keys()
    np.testing.assert_allclose([read[point] for point in expected], list(expected.values()), atol=1e-6)
    assert meta["MeasurementUnitsCode"]["CodeValue"] == "1"
    assert meta["QuantityValueCode"]["CodeMeaning"] == "Anomaly attention"
    assert float(meta["RealWorldValueSlope"]) == 1.0


@pytest.mark.peer
def test_a_map_shares_patient_study_and_frame_of_reference_with_its_images(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    written = write_objects(study.explained(objects), objects, written_at=WRITTEN_AT, equipment=Equipment())
    path = write_map(study, objects)
    sources = [objects.path(frame.digest) for frame in study.frames]
    assert entity_errors([*sources, objects.path(written[0].digest), path]) == []
    dataset, source = pydicom.dcmread(path), study.datasets[0]
    assert dataset.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert dataset.StudyInstanceUID == source.StudyInstanceUID
    assert dataset.PatientName == source.PatientName
    assert "not for primary diagnosis" in dataset.SeriesDescription
    named = {
        str(item.ReferencedSOPInstanceUID) for item in dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert named == {frame.sop_instance_uid for frame in study.frames}


def test_a_map_names_the_algorithm_and_its_weights(objects: ObjectStore) -> None:
    dataset = pydicom.dcmread(write_map(store_study(AXIAL, objects), objects))
    mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    texts = [
        (item.ConceptNameCodeSequence[0].CodeMeaning, item.TextValue)
        for item in mapping.QuantityDefinitionSequence
        if item.ValueType == "TEXT"
    ]
    assert ("Algorithm Name", "latent-anomaly") in texts
    assert ("Algorithm Version", "1.2.3") in texts
    assert ("Algorithm Parameters", "weights_sha256=" + "cd" * 32) in texts


def test_the_same_analysis_gives_the_same_bytes_and_other_weights_another_object(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = study.explained(objects)
    changed = replace(analysis, algorithm=replace(analysis.algorithm, weights_sha256="0" * 64))
    first, again, other = (
        write_parametric_map(item, objects, written_at=WRITTEN_AT, equipment=Equipment())
        for item in (analysis, analysis, changed)
    )
    assert first == again
    assert other.sop_instance_uid != first.sop_instance_uid


def test_an_analysis_without_an_attention_map_has_no_parametric_map(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    with pytest.raises(RecordMissing, match="no attention map"):
        write_parametric_map(
            study.analysis(study.lesion_labels()), objects, written_at=WRITTEN_AT, equipment=Equipment()
        )


def test_a_map_that_does_not_fit_its_sources_is_refused(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis, attention = study.explained(objects), study.attention()
    for bad, error in ((attention[:-1], ObjectInvalid), (attention[:, :-1], SourceUnusable)):
        with pytest.raises(error):
            build_parametric_map(analysis, bad, study.datasets, written_at=WRITTEN_AT, equipment=Equipment())


def test_values_outside_0_to_1_do_not_pass_the_check(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    dataset = pydicom.dcmread(write_map(study, objects))
    values = np.frombuffer(dataset.FloatPixelData, dtype="<f4").copy()
    values[0] = 1.5
    dataset.FloatPixelData = values.tobytes()
    with pytest.raises(ObjectInvalid, match="0 to 1"):
        check_object(dataset, references=[frame.sop_instance_uid for frame in study.frames])
    dataset.FloatPixelData = values[1:].tobytes()
    with pytest.raises(ObjectInvalid, match="frames"):
        check_object(dataset, references=[])


def test_a_map_of_a_network_s_score_does_not_call_it_attention(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = study.explained(objects)
    assert analysis.explanation is not None
    panel = Panel(1, "a" * 64, 0, 0.9, 0.1, None, None, (ShownTile(Tile.SCORE, decides=True),))
    scored = replace(analysis, explanation=replace(analysis.explanation, panels=(panel,)))
    written = write_parametric_map(scored, objects, written_at=WRITTEN_AT, equipment=Equipment())
    dataset = pydicom.dcmread(objects.path(written.digest))
    mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    quantities = {
        item.ConceptCodeSequence[0].CodeValue for item in mapping.QuantityDefinitionSequence if item.ValueType == "CODE"
    }
    assert (dataset.ContentLabel, quantities) == ("AI_SCORE", {"LESION_SCORE"})
