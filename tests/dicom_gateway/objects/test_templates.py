"""Every kind of document that oncue writes, against the templates of PS3.16, by PixelMed's validator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.forms import write_forms
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.unanalysed_study import UnanalysedStudy
from dicom_gateway.objects.writing import write_notice, write_objects, write_rejection
from storage.domain import Analysis, ObjectKind, Presence, StoredInstance
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject
from tests.dicom_gateway.objects.test_labels import PREDICTION
from tests.dicom_gateway.objects.test_reading_priority import read_at_once
from tests.dicom_gateway.objects.test_reading_priority import written as forms_of
from tests.support.drawn_organs import drawn_alone, drawn_beside
from tests.support.flat_sources import CR, DX, SC, XA, FlatPlan, lesion_labels, store_flat
from tests.support.pixelmed import validated
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, SourceStudy, store_study

AXIAL, ENHANCED = LAYOUTS[0], LAYOUTS[5]

KNOWN: Mapping[str, str] = {
    'Code (43468-8,LN,"XR unspecified body region") not found in context group 100': "in CID 100 since 2022",
    'Code (77343006,SCT,"Angiography") not found in context group 100': "in CID 100 since 2022",
}
"""What the validator, whose rules are of 2022, calls an error and is none, each with the reason."""


def report(analysis: Analysis, objects: ObjectStore, predecessor: PredecessorDocument | None = None) -> WrittenObject:
    written = write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment(), predecessor=predecessor)
    return written[-1]


def lesions(objects: ObjectStore, layout: Layout = AXIAL) -> WrittenObject:
    study = store_study(layout, objects)
    return report(study.analysis(study.lesion_labels(), route="head-mr", routes_sha256="9" * 64), objects)


def labelled_lesions(objects: ObjectStore) -> WrittenObject:
    study = store_study(AXIAL, objects)
    analysis = study.analysis(study.lesion_labels())
    first, second = analysis.findings
    left = replace(second, label=None, label_probability=None, abstained="ambiguous_set", prediction=PREDICTION)
    return report(replace(analysis, findings=(replace(first, prediction=PREDICTION), left)), objects)


def nothing(study: SourceStudy) -> Analysis:
    return study.analysis(np.zeros(study.layout.shape, np.uint8))


def no_lesion(objects: ObjectStore) -> WrittenObject:
    return report(nothing(store_study(AXIAL, objects)), objects)


def image_label(objects: ObjectStore) -> WrittenObject:
    analysis = nothing(store_study(AXIAL, objects))
    label = replace(
        analysis.findings[0],
        presence=Presence.ASSESSED,
        label="melanoma",
        label_probability=0.75,
        prediction=PREDICTION,
    )
    return report(replace(analysis, findings=(label,)), objects)


def organs(objects: ObjectStore) -> WrittenObject:
    return report(drawn_alone(store_study(AXIAL, objects)), objects)


def organs_with_lesions(objects: ObjectStore) -> WrittenObject:
    study = store_study(AXIAL, objects)
    return report(drawn_beside(study, study.lesion_labels()), objects)


def flat(plan: FlatPlan) -> Callable[[ObjectStore], WrittenObject]:
    return lambda objects: report(store_flat(plan, objects).analysis(lesion_labels()), objects)


def successor(objects: ObjectStore) -> WrittenObject:
    study = store_study(AXIAL, objects)
    before = PredecessorDocument.of(str(study.datasets[0].StudyInstanceUID), no_lesion(objects))
    return report(study.analysis(study.lesion_labels()), objects, before)


def with_checkpoint(objects: ObjectStore) -> WrittenObject:
    study = store_study(AXIAL, objects)
    return report(replace(nothing(study), checkpoint="a signed note"), objects)


def with_priority(objects: ObjectStore) -> WrittenObject:
    return forms_of(read_at_once(objects), objects)[ObjectKind.SR]


def notice(objects: ObjectStore) -> WrittenObject:
    study = store_study(AXIAL, objects)
    instances = tuple(
        StoredInstance(
            study_instance_uid=str(dataset.StudyInstanceUID),
            series_instance_uid=str(dataset.SeriesInstanceUID),
            sop_instance_uid=str(dataset.SOPInstanceUID),
            sop_class_uid=str(dataset.SOPClassUID),
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            modality="MR",
            digest=frame.digest,
            content_sha256=frame.digest,
            size_bytes=10,
        )
        for dataset, frame in zip(study.datasets, study.frames, strict=True)
    )
    subject = UnanalysedStudy(instances, 1, "head-mr", "not_applicable", ("route head-mr: nothing",), WRITTEN_AT)
    return write_notice(subject, objects, equipment=Equipment())


def rejection(objects: ObjectStore) -> WrittenObject:
    study = store_study(AXIAL, objects)
    written = write_objects(
        study.analysis(study.lesion_labels()), objects, written_at=WRITTEN_AT, equipment=Equipment()
    )
    return write_rejection(written, objects, written_at=WRITTEN_AT, equipment=Equipment())


def key_objects(objects: ObjectStore) -> WrittenObject:
    study = store_study(AXIAL, objects)
    analysis, forms = study.analysis(study.lesion_labels()), (ObjectKind.SEG, ObjectKind.SR, ObjectKind.KO)
    return write_forms(analysis, objects, forms, written_at=WRITTEN_AT, equipment=Equipment())[-1]


DOCUMENTS: Mapping[str, Callable[[ObjectStore], WrittenObject]] = {
    "lesions": lesions,
    "lesions on an enhanced source": lambda objects: lesions(objects, ENHANCED),
    "labelled lesions": labelled_lesions,
    "no lesion": no_lesion,
    "label of an image": image_label,
    "organs": organs,
    "organs with lesions": organs_with_lesions,
    "lesions on a radiograph": flat(CR),
    "lesions at the detector": flat(DX),
    "lesions on a capture": flat(SC),
    "lesions on an angiogram": flat(XA),
    "successor": successor,
    "with the checkpoint of the audit log": with_checkpoint,
    "notice": notice,
    "key objects": key_objects,
    "rejection note": rejection,
}
READ_AT_ONCE = "read at once"
FOUND = {
    "notice": "Found BasicTextSR IOD",
    "key objects": "Found KeyObjectSelectionDocument IOD",
    "rejection note": "Found KeyObjectSelectionDocument IOD",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[str, ...]]:
    """Return what the validator says of each kind of document."""
    objects = ObjectStore(tmp_path_factory.mktemp("documents"))
    objects.prepare()
    made = {**DOCUMENTS, READ_AT_ONCE: with_priority}
    files: dict[str, Path] = {name: objects.path(write(objects).digest) for name, write in made.items()}
    return validated(files)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_keeps_to_its_iod_and_its_templates(name: str, said: Mapping[str, tuple[str, ...]]) -> None:
    lines = said[name]
    assert lines[0] == FOUND.get(name, "Found Comprehensive3DSR IOD")
    errors = [line for line in lines if line.startswith("Error") and not any(known in line for known in KNOWN)]
    assert errors == []


@pytest.mark.peer
@pytest.mark.slow
def test_the_template_has_a_place_for_the_priority(said: Mapping[str, tuple[str, ...]]) -> None:
    lines = said[READ_AT_ONCE]
    assert lines[0] == "Found Comprehensive3DSR IOD"
    assert [line for line in lines if "Qualitative" in line or "READING" in line or "TRIAGE" in line] == []
