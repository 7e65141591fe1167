"""Same input, same weights, same parameters: the same object, byte for byte."""

from __future__ import annotations

import logging
import struct
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pydicom
import pytest

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.writing import write_objects
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from storage.domain import Analysis
from storage.errors import ObjectCorrupt, ObjectMissing
from storage.objects import ObjectStore
from storage.volumes import LabelMap
from storage.written_objects import WrittenObject
from tests.conftest import ROOT
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, store_study


def write(analysis: Analysis, objects: ObjectStore) -> tuple[WrittenObject, ...]:
    return write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())


@pytest.mark.parametrize("layout", [LAYOUTS[0], LAYOUTS[6]], ids=lambda layout: layout.name)
@pytest.mark.slow
def test_two_builds_are_byte_identical(layout: Layout, objects: ObjectStore) -> None:
    study = store_study(layout, objects)
    analysis = study.analysis(study.lesion_labels())
    first = write(analysis, objects)
    # The clock has moved on since, so a reading of it, like a random UID, would show in the digest.
    assert write(analysis, objects) == first


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    here = [item.digest for item in write(study.analysis(study.lesion_labels()), objects)]
    program = (
        "import sys; from pathlib import Path; from storage.objects import ObjectStore;"
        "from tests.support.sources import *; from dicom_gateway.objects.writing import write_objects;"
        "from dicom_gateway.objects.equipment import Equipment;"
        "store = ObjectStore(Path(sys.argv[1])); study = store_study(LAYOUTS[0], store);"
        "print(*[item.digest for item in write_objects(study.analysis(study.lesion_labels()), store,"
        "written_at=WRITTEN_AT, equipment=Equipment())])"
    )
    there = subprocess.run(
        [sys.executable, "-c", program, str(objects.root)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert there.stdout.split() == here


@pytest.mark.slow
def test_other_input_weights_or_parameters_give_another_object(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    analysis = study.analysis(study.lesion_labels())
    assert analysis.classifier is not None
    variants = (
        analysis,
        replace(analysis, input_sha256="12" * 32),
        replace(analysis, algorithm=replace(analysis.algorithm, weights_sha256="34" * 32)),
        replace(analysis, algorithm=replace(analysis.algorithm, parameters='{"steps":51}')),
        replace(analysis, classifier=replace(analysis.classifier, weights_sha256="56" * 32)),
        replace(analysis, classifier=None),
    )
    written = [item for variant in variants for item in write(variant, objects)]
    assert len({item.sop_instance_uid for item in written}) == 2 * len(variants)
    assert len({item.series_instance_uid for item in written}) == 2 * len(variants)


def test_a_later_job_on_the_same_input_overwrites_rather_than_adds(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    analysis = study.analysis(study.lesion_labels())
    first = write(analysis, objects)
    later = write_objects(analysis, objects, written_at=WRITTEN_AT + timedelta(hours=1), equipment=Equipment())
    assert [item.sop_instance_uid for item in later] == [item.sop_instance_uid for item in first]
    assert [item.digest for item in later] != [item.digest for item in first]


def test_what_is_written_is_what_the_record_says(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    for item in write(study.analysis(study.lesion_labels()), objects):
        dataset = pydicom.dcmread(objects.path(item.digest))
        assert objects.path(item.digest).stat().st_size == item.size_bytes
        assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == item.sop_instance_uid
        assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == item.sop_class_uid
        assert dataset.SeriesInstanceUID == item.series_instance_uid
        assert dataset.file_meta.TransferSyntaxUID == item.transfer_syntax_uid
        assert dataset.Modality == item.kind


def test_a_source_without_time_zone_gets_the_sites(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects, TimezoneOffsetFromUTC="")
    analysis = study.analysis(study.lesion_labels())
    at_home = write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment(utc_offset="-0330"))
    dataset = pydicom.dcmread(objects.path(at_home[0].digest))
    assert (dataset.TimezoneOffsetFromUTC, dataset.ContentTime) == ("-0330", "013607")
    nowhere = pydicom.dcmread(objects.path(write(analysis, objects)[0].digest))
    assert "TimezoneOffsetFromUTC" not in nowhere
    assert nowhere.ContentTime == "050607"


def test_a_source_that_is_gone_from_the_store_is_named(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    objects.path(study.frames[2].digest).unlink()
    with pytest.raises(ObjectMissing, match=study.frames[2].digest[:12]):
        write(study.analysis(study.lesion_labels()), objects)


def test_a_source_that_cannot_be_read_is_refused_and_one_that_rotted_is_named_so(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    analysis = study.analysis(study.lesion_labels())
    text = replace(analysis.frames[0], digest=objects.put(b"no image"))
    with pytest.raises(SourceUnusable):
        write(replace(analysis, frames=(text, *analysis.frames[1:])), objects)
    objects.path(study.frames[1].digest).write_bytes(b"rotted")
    with pytest.raises(ObjectCorrupt):
        write(analysis, objects)


def test_ill_formed_source_values_are_kept_and_never_quoted(
    objects: ObjectStore, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    keep_identifiers_out_of_logs()
    caplog.set_level(logging.DEBUG)
    study = store_study(
        LAYOUTS[0],
        objects,
        PatientBirthDate="1960-13-45",
        PatientName="Nobody but a family name that is longer than a group of sixty-four characters may be",
        StudyInstanceUID="1.2.03.4",
        FrameOfReferenceUID="1.2.03.5",
    )
    for item in write(study.analysis(study.lesion_labels()), objects):
        dataset = pydicom.dcmread(objects.path(item.digest))
        assert dataset.PatientBirthDate == "1960-13-45"
        assert dataset.StudyInstanceUID == "1.2.03.4"
    assert "1960-13-45" not in caplog.text
    assert "Nobody" not in caplog.text
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (b"ISO_IR 999", "Müller^Jörg".encode("latin-1")),
        (b"ISO-8859-1", "Müller^Jörg".encode("latin-1")),
        (b"ISO_IR 192", "Müller^Jörg".encode("latin-1")),
        (b"ISO_IR 192", "Müller^Jörg".encode()),
        (b"ISO_IR 100", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (b"ISO 2022 IR 87", "山田^太郎".encode("shift_jis")),
        (rb"\ISO 2022 IR 87", "山田^太郎".encode("shift_jis")),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's word on each of these
@pytest.mark.slow
def test_a_patient_keeps_the_name_whatever_character_set_it_is_in(
    character_set: bytes, name: bytes, objects: ObjectStore
) -> None:
    study = store_study(LAYOUTS[0], objects, SpecificCharacterSet="ISO_IR 100", PatientName="N" * 46)
    even, padded = character_set.ljust(len(character_set) + len(character_set) % 2), name.ljust(46)

    def with_text(content: bytes) -> bytes:
        renamed = content.replace(b"N" * 46, padded)
        return renamed.replace(b"CS\x0a\x00ISO_IR 100", b"CS" + struct.pack("<H", len(even)) + even)

    frames = tuple(replace(frame, digest=objects.put(with_text(objects.get(frame.digest)))) for frame in study.frames)
    analysis = replace(
        study.analysis(study.lesion_labels()), frames=frames, label_map=LabelMap(study.lesion_labels(), frames)
    )
    for written in write(analysis, objects):
        content = objects.get(written.digest)
        assert b"PN\x2e\x00" + padded in content
        assert b"CS" + struct.pack("<H", len(even)) + even in content
        assert pydicom.dcmread(objects.path(written.digest)).PatientID == study.datasets[0].PatientID


@pytest.mark.slow
def test_a_character_set_that_is_none_is_not_written_on(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects, SpecificCharacterSet="ISO_IR 100", PatientName="M\u00fcller^J\u00f6rg")
    contents = (objects.get(frame.digest).replace(b"ISO_IR 100", b"utf-16    ") for frame in study.frames)
    frames = tuple(
        replace(frame, digest=objects.put(content)) for frame, content in zip(study.frames, contents, strict=True)
    )
    labels = study.lesion_labels()
    for written in write(replace(study.analysis(labels), frames=frames, label_map=LabelMap(labels, frames)), objects):
        content = objects.get(written.digest)
        assert "M\u00fcller^J\u00f6rg".encode("latin-1") in content
        assert "SpecificCharacterSet" not in pydicom.dcmread(objects.path(written.digest))
