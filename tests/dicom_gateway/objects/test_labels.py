"""What a report says of a label, read back by others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.writing import write_objects, write_parametric_map, write_saliency_map
from storage import arrays
from storage.domain import Finding
from storage.errors import RecordMissing
from storage.explanations import Neighbour, Prediction, SaliencyMap
from storage.objects import ObjectStore
from tests.dicom_gateway.objects.test_report import items
from tests.support.readers import iod_errors, read_report
from tests.support.sources import LAYOUTS, WRITTEN_AT, SourceStudy, store_study

NEAREST = (Neighbour(7, "benign", 0.9), Neighbour(9, "malignant", 0.8), Neighbour(3, "benign", 0.7))
PREDICTION = Prediction(4, ("benign", "malignant"), 0.1, NEAREST, attends_to_lesion=True, in_mask_share=0.625)


@pytest.fixture
def study(objects: ObjectStore) -> SourceStudy:
    return store_study(LAYOUTS[0], objects)


def _report(study: SourceStudy, objects: ObjectStore, **changes: object) -> Path:
    analysis = study.analysis(study.lesion_labels())
    findings: tuple[Finding, ...] = tuple(replace(one, **changes) for one in analysis.findings)  # type: ignore[arg-type]  # tests name fields of Finding
    written = write_objects(replace(analysis, findings=findings), objects, written_at=WRITTEN_AT, equipment=Equipment())
    return objects.path(written[-1].digest)


@pytest.mark.peer
def test_a_label_comes_with_its_grounds(study: SourceStudy, objects: ObjectStore, tmp_path: Path) -> None:
    path = _report(study, objects, label="benign", label_probability=0.875, prediction=PREDICTION)
    content = list(items(pydicom.dcmread(path)))
    assert content.count(("Few-shot class", "benign")) == 2
    assert ("Probability of few-shot class", "87.5 %") in content
    assert ("Saliency inside the lesion", "62.5 %") in content
    assert content.count(("Class not ruled out", "malignant")) == 2
    assert content.count(("Nearest support case", "benign")) == 4
    assert ("Shuffled-mask control", "Region decides") in content
    assert iod_errors(path) == []
    assert len(read_report(path, tmp_path)["Measurements"]) == 2


@pytest.mark.peer
def test_an_abstention_defers_to_the_reader_and_claims_nothing(study: SourceStudy, objects: ObjectStore) -> None:
    prediction = replace(PREDICTION, attends_to_lesion=False, in_mask_share=None)
    changes = {"label": None, "label_probability": None, "abstained": "ambiguous_set", "prediction": prediction}
    path = _report(study, objects, **changes)
    content = list(items(pydicom.dcmread(path)))
    assert ("Few-shot class", "Abstained") in content
    assert ("Reason for abstention", "ambiguous_set") in content
    assert ("Advice", "Defer to reader") in content
    assert ("Shuffled-mask control", "Not shown to decide") in content
    assert "Saliency inside the lesion" not in dict(content)
    assert iod_errors(path) == []


@pytest.mark.peer
def test_where_the_classifier_looked_is_a_parametric_map_on_request(study: SourceStudy, objects: ObjectStore) -> None:
    labels = study.lesion_labels()
    values = np.zeros((1, *labels.shape[1:]), np.float32)
    values[0, 2, 3] = 1.0
    prediction = replace(PREDICTION, saliency=arrays.save_saliency(objects, SaliencyMap((1,), values)))
    analysis = study.analysis(labels)
    first, *others = analysis.findings
    with pytest.raises(RecordMissing, match="saliency"):
        write_saliency_map(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())
    explained = replace(analysis, findings=(replace(first, prediction=prediction), *others))
    written = write_saliency_map(explained, objects, written_at=WRITTEN_AT, equipment=Equipment())
    path = objects.path(written.digest)
    dataset = pydicom.dcmread(path)
    frames = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(labels.shape)
    assert frames.max() == 1.0
    assert np.count_nonzero(frames) == 1
    assert dataset.ContentLabel == "AI_SALIENCY"
    assert iod_errors(path) == []
    again = write_saliency_map(explained, objects, written_at=WRITTEN_AT, equipment=Equipment())
    assert again == written
    with pytest.raises(RecordMissing, match="attention"):
        write_parametric_map(explained, objects, written_at=WRITTEN_AT, equipment=Equipment())
