"""What an answer says: the attributes that were asked for, of the object, its series, its study and its patient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from storage.attributes import Attributes, Element, element
from storage.holdings.question import HoldingsQuestion, Level
from storage.holdings.related import Contents, Totals
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow
from storage.holdings.tags import Tag

_ONLINE = "ONLINE"
_NAMES: Mapping[Level, frozenset[str]] = {
    Level.PATIENT: frozenset({Tag.PatientID}),
    Level.STUDY: frozenset({Tag.StudyInstanceUID}),
    Level.SERIES: frozenset({Tag.StudyInstanceUID, Tag.SeriesInstanceUID}),
    Level.IMAGE: frozenset({Tag.StudyInstanceUID, Tag.SeriesInstanceUID, Tag.SOPInstanceUID, Tag.SOPClassUID}),
}
"""What each answer holds, asked for or not: which one it is."""
_NOT_ANSWERED = frozenset({Tag.SpecificCharacterSet, Tag.QueryRetrieveLevel, Tag.RetrieveAETitle})
"""What whoever sends the answer says: how it is written, and where it comes from."""
OF_STUDY = frozenset(
    {
        Tag.ModalitiesInStudy,
        Tag.SOPClassesInStudy,
        Tag.NumberOfStudyRelatedSeries,
        Tag.NumberOfStudyRelatedInstances,
        Tag.NumberOfSeriesRelatedInstances,
    }
)
"""What is worked out from the contents of studies."""
OF_PATIENT = frozenset(
    {Tag.NumberOfPatientRelatedStudies, Tag.NumberOfPatientRelatedSeries, Tag.NumberOfPatientRelatedInstances}
)


class HeldImage(NamedTuple):
    """One object as answers name it. ``attributes`` is JSON, None where its header was not read."""

    study_id: int
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None
    attributes: str | None
    series_number: int | None


def wants(question: HoldingsQuestion, tags: frozenset[Tag]) -> bool:
    """Say whether a question asks for one of some attributes."""
    return question.includes_all or any(tag in question.keys or tag in question.included for tag in tags)


def answer(question: HoldingsQuestion, said: Mapping[str, Element]) -> Attributes:
    """Return the part of what is said that was asked for; a key that nothing is said of is answered empty."""
    if question.includes_all:
        found = dict(said)
    else:
        wanted = _NAMES[question.level].union(question.keys, question.included)
        found = {tag: said[tag] for tag in wanted if tag in said}
    for tag in question.keys:
        if tag not in found:
            found[tag] = {"vr": question.keys.elements[tag]["vr"]}
    return Attributes({tag: found[tag] for tag in found if tag not in _NOT_ANSWERED})


def of_patient(row: HeldStudyRow, totals: Totals | None) -> dict[str, Element]:
    """Return what is said of a patient, by one study."""
    of_all = Attributes.parse(row.attributes).elements
    said = {tag: found for tag, found in of_all.items() if tag.startswith("0010") and tag not in _OF_THE_VISIT}
    return {Tag.PatientID: _text("LO", row.patient_id), **said, **_totals(totals)}


def of_study(row: HeldStudyRow, contents: Contents | None, totals: Totals | None) -> dict[str, Element]:
    """Return what is said of a study and its patient; what no header said stands as the database knows it."""
    said: dict[str, Element] = {
        Tag.StudyDate: _text("DA", row.study_date),
        Tag.AccessionNumber: _text("SH", row.accession_number),
        Tag.StudyDescription: _text("LO", row.description),
        Tag.PatientID: _text("LO", row.patient_id),
        **Attributes.parse(row.attributes).elements,
        Tag.StudyInstanceUID: element("UI", row.study_instance_uid),
        Tag.InstanceAvailability: element("CS", _ONLINE),
        **_totals(totals),
    }
    if contents is not None:
        said[Tag.ModalitiesInStudy] = element("CS", *sorted(contents.modalities))
        said[Tag.SOPClassesInStudy] = element("UI", *sorted(contents.sop_class_uids))
        said[Tag.NumberOfStudyRelatedSeries] = element("IS", len(contents.instances))
        said[Tag.NumberOfStudyRelatedInstances] = element("IS", sum(contents.instances.values()))
    return said


def of_series(row: HeldSeriesRow, contents: Contents | None) -> dict[str, Element]:
    """Return what is said of a series, beside its study."""
    said: dict[str, Element] = {
        Tag.Modality: _text("CS", row.modality),
        **Attributes.parse(row.attributes).elements,
        Tag.SeriesInstanceUID: element("UI", row.series_instance_uid),
    }
    if contents is not None:
        said[Tag.NumberOfSeriesRelatedInstances] = element("IS", contents.instances.get(row.series_instance_uid, 0))
    return said


def of_image(image: HeldImage) -> dict[str, Element]:
    """Return what is said of an object, beside its series and study."""
    return {
        **Attributes.parse(image.attributes or "{}").elements,
        Tag.SeriesInstanceUID: element("UI", image.series_instance_uid),
        Tag.SOPInstanceUID: element("UI", image.sop_instance_uid),
        Tag.SOPClassUID: element("UI", image.sop_class_uid),
        Tag.AvailableTransferSyntaxUID: element("UI", image.transfer_syntax_uid),
    }


_OF_THE_VISIT = frozenset({"00101010", "00101020", "00101030", "00102180", "001021B0"})
"""Attributes of the patient that are those of one study: age, size, weight, occupation, history (PS3.3 C.7.2.2)."""


def _totals(totals: Totals | None) -> dict[str, Element]:
    if totals is None:
        return {}
    return {
        Tag.NumberOfPatientRelatedStudies: element("IS", totals.studies),
        Tag.NumberOfPatientRelatedSeries: element("IS", totals.series),
        Tag.NumberOfPatientRelatedInstances: element("IS", totals.instances),
    }


def _text(vr: str, value: str) -> Element:
    return element(vr, value) if value else element(vr)
