"""The reading priority in written objects: in every report, and where a destination shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.forms import write_forms
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Analysis, ObjectKind, Priority, TriageDecision
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject
from tests.support.peers import executable, run
from tests.support.pictured import pictured
from tests.support.readers import iod_errors, read_report
from tests.support.sources import LAYOUTS, WRITTEN_AT, store_study

FORMS = (ObjectKind.SEG, ObjectKind.LABELMAP, ObjectKind.SR, ObjectKind.SC, ObjectKind.GSPS, ObjectKind.KO)
SHOWN = ObjectStyle(shows_priority=True)
POLICY = "ab" * 32


@pytest.fixture
def analysis(objects: ObjectStore) -> Analysis:
    return read_at_once(objects)


def read_at_once(objects: ObjectStore) -> Analysis:
    """Return an analysis with lesions and pictures, whose study is to be read at once."""
    study = store_study(LAYOUTS[0], objects)
    return decided(pictured(study, study.lesion_labels(), objects), Priority.STAT)


def decided(analysis: Analysis, priority: Priority, rule: str = "large lesion") -> Analysis:
    return replace(analysis, decision=TriageDecision(priority, rule, POLICY, "{}"))


def written(
    analysis: Analysis, objects: ObjectStore, style: ObjectStyle = DEFAULT_STYLE
) -> dict[ObjectKind, WrittenObject]:
    found = write_forms(analysis, objects, FORMS, written_at=WRITTEN_AT, equipment=Equipment(), style=style)
    assert [item.flaw for item in found] == [None] * len(found)
    return {item.kind: item for item in found}


def evaluations(report: Dataset) -> list[tuple[str, str, str]]:
    """Return the value type, the name and the value of what a report says of the study as a whole."""
    [container] = [item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "C0034375"]
    return [
        (
            item.ValueType,
            item.ConceptNameCodeSequence[0].CodeValue,
            item.ConceptCodeSequence[0].CodeValue if item.ValueType == "CODE" else item.TextValue,
        )
        for item in container.ContentSequence
    ]


@pytest.mark.parametrize("priority", Priority)
def test_a_report_says_the_priority_with_its_rule_and_the_digest_of_the_policy(
    priority: Priority, analysis: Analysis, objects: ObjectStore
) -> None:
    report = written(decided(analysis, priority), objects)[ObjectKind.SR]
    assert evaluations(pydicom.dcmread(objects.path(report.digest))) == [
        ("CODE", "READING_PRIORITY", priority.value),
        ("TEXT", "TRIAGE_RULE", "large lesion"),
        ("TEXT", "TRIAGE_POLICY", POLICY),
    ]


def test_a_rule_in_any_writing_can_stand_in_a_report(analysis: Analysis, objects: ObjectStore) -> None:
    report = written(decided(analysis, Priority.HIGH, "Größe\\ > 5 ml\n"), objects)[ObjectKind.SR]
    found = evaluations(pydicom.dcmread(objects.path(report.digest)))
    assert found[1] == ("TEXT", "TRIAGE_RULE", "Groe > 5 ml")


@pytest.mark.peer
def test_other_readers_take_a_report_with_its_priority(
    analysis: Analysis, objects: ObjectStore, tmp_path: Path
) -> None:
    path = objects.path(written(analysis, objects)[ObjectKind.SR].digest)
    assert iod_errors(path) == []
    dump = run(executable("dsrdump"), "+Pc", path)
    assert dump.returncode == 0
    assert "Warning" not in dump.stdout
    assert '(READING_PRIORITY,99ONCUE,"Reading priority")=(STAT,99ONCUE,"Read at once")' in dump.stdout
    assert len(read_report(path, tmp_path)["Measurements"]) == len(analysis.findings)


def test_another_priority_makes_another_report_and_leaves_the_segmentation(
    analysis: Analysis, objects: ObjectStore
) -> None:
    urgent, calm = written(analysis, objects), written(decided(analysis, Priority.LOW), objects)
    assert urgent[ObjectKind.SR].sop_instance_uid != calm[ObjectKind.SR].sop_instance_uid
    assert urgent[ObjectKind.SEG] == calm[ObjectKind.SEG]


def test_a_style_that_shows_it_has_the_priority_in_front_of_every_description(
    analysis: Analysis, objects: ObjectStore
) -> None:
    for item in written(analysis, objects, SHOWN).values():
        described = pydicom.dcmread(objects.path(item.digest)).SeriesDescription
        assert described == "STAT: oncue AI - not for primary diagnosis"


@pytest.mark.peer
def test_a_key_object_that_shows_it_has_the_priority_in_its_title(analysis: Analysis, objects: ObjectStore) -> None:
    path = objects.path(written(analysis, objects, SHOWN)[ObjectKind.KO].digest)
    assert iod_errors(path) == []
    dump = run(executable("dsrdump"), "+Pc", path)
    assert dump.returncode == 0
    assert '(KEY_STAT,99ONCUE,"Of Interest, priority STAT")' in dump.stdout
    dataset = pydicom.dcmread(path)
    assert dataset.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99ONCUE"
    [described] = [
        item.TextValue
        for item in dataset.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "113012"
    ]
    assert described.startswith("Reading priority STAT. Frames in which")


def test_objects_that_show_another_priority_are_other_objects(analysis: Analysis, objects: ObjectStore) -> None:
    calm = decided(analysis, Priority.ROUTINE)
    everything = [
        item.sop_instance_uid
        for items in (written(analysis, objects, SHOWN), written(calm, objects, SHOWN), written(analysis, objects))
        for item in items.values()
    ]
    assert len(set(everything)) == len(everything)
    assert written(calm, objects, SHOWN) == written(calm, objects, SHOWN)
