"""Keys as conditions of the database: which attributes are matched at which level, and how (PS3.4 C.2.2.2, C.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement

from storage.attributes import Attributes
from storage.errors import QuestionInvalid
from storage.holdings.question import HoldingsQuestion, Level
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow, ObjectHeaderRow
from storage.holdings.tags import Tag
from storage.holdings.values import Match, date, name, number, text, time, uid

MOST_VALUES = 1000
"""Values that one key may list."""
_LONGEST_VALUE = 1024
_STUDY: Mapping[Tag, Match] = {
    Tag.StudyInstanceUID: uid(HeldStudyRow.study_instance_uid),
    Tag.StudyDate: date(HeldStudyRow.study_date),
    Tag.StudyTime: time(HeldStudyRow.study_time),
    Tag.AccessionNumber: text(HeldStudyRow.accession_number),
    Tag.StudyID: text(HeldStudyRow.study_number),
    Tag.StudyDescription: text(HeldStudyRow.description),
    Tag.ReferringPhysicianName: name(HeldStudyRow.folded_referrer),
    Tag.PatientID: text(HeldStudyRow.patient_id),
    Tag.PatientName: name(HeldStudyRow.folded_name, HeldStudyRow.ideographic_name, HeldStudyRow.phonetic_name),
    Tag.PatientBirthDate: date(HeldStudyRow.birth_date),
    Tag.PatientSex: text(HeldStudyRow.sex),
}
_SERIES: Mapping[Tag, Match] = {
    Tag.SeriesInstanceUID: uid(HeldSeriesRow.series_instance_uid),
    Tag.Modality: text(HeldSeriesRow.modality),
    Tag.SeriesNumber: number(HeldSeriesRow.series_number),
    Tag.SeriesDescription: text(HeldSeriesRow.description),
    Tag.BodyPartExamined: text(HeldSeriesRow.body_part),
    Tag.SeriesDate: date(HeldSeriesRow.series_date),
    Tag.SeriesTime: time(HeldSeriesRow.series_time),
    Tag.PerformedProcedureStepStartDate: date(HeldSeriesRow.performed_date),
    Tag.PerformedProcedureStepStartTime: time(HeldSeriesRow.performed_time),
}
_HEADERS: Mapping[Tag, Match] = {
    Tag.InstanceNumber: number(ObjectHeaderRow.instance_number),
    Tag.Rows: number(ObjectHeaderRow.pixel_rows),
    Tag.Columns: number(ObjectHeaderRow.pixel_columns),
    Tag.NumberOfFrames: number(ObjectHeaderRow.frames),
}
_MATCHED: Mapping[Level, frozenset[str]] = {
    Level.PATIENT: frozenset({Tag.PatientID, Tag.PatientName, Tag.PatientBirthDate, Tag.PatientSex}),
    Level.STUDY: frozenset({*_STUDY, Tag.ModalitiesInStudy, Tag.SOPClassesInStudy}),
    Level.SERIES: frozenset(_SERIES),
    Level.IMAGE: frozenset({*_HEADERS, Tag.SOPInstanceUID, Tag.SOPClassUID}),
}
_SAID = frozenset({Tag.SpecificCharacterSet, Tag.QueryRetrieveLevel, Tag.RetrieveAETitle})
"""What a question says beside its keys."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What rows of studies, series and objects must meet.

    ``modalities`` is a condition on some series of the study, ``sop_classes`` those of which it has an object.
    ``headers`` are conditions on ``object_headers``; UIDs of objects stand in their own rows. Empty is no condition.
    """

    studies: tuple[ColumnElement[bool], ...] = ()
    series: tuple[ColumnElement[bool], ...] = ()
    headers: tuple[ColumnElement[bool], ...] = ()
    sop_instance_uids: tuple[str, ...] = ()
    sop_class_uids: tuple[str, ...] = ()
    modalities: ColumnElement[bool] | None = None
    sop_classes: tuple[str, ...] = ()


def conditions(question: HoldingsQuestion) -> Conditions:
    """Return what rows must meet; QuestionInvalid where a value is none of its attribute, or there are too many.

    Keys of the levels below the question's are not looked at.
    """
    keys, level = question.keys, question.level
    modalities = _values(keys, Tag.ModalitiesInStudy)
    is_of_series, is_of_image = level in (Level.SERIES, Level.IMAGE), level is Level.IMAGE
    return Conditions(
        studies=tuple(_all(keys, _STUDY)),
        series=tuple(_all(keys, _SERIES)) if is_of_series else (),
        headers=tuple(_all(keys, _HEADERS)) if is_of_image else (),
        sop_instance_uids=_values(keys, Tag.SOPInstanceUID) if is_of_image else (),
        sop_class_uids=_values(keys, Tag.SOPClassUID) if is_of_image else (),
        modalities=text(HeldSeriesRow.modality)(modalities) if modalities else None,
        sop_classes=_values(keys, Tag.SOPClassesInStudy),
    )


def unmatched(question: HoldingsQuestion) -> frozenset[str]:
    """Return the tags of keys with values that are not looked at: answers need not match them (PS3.4 C.4.1.1.4)."""
    levels = list(Level)[: list(Level).index(question.level) + 1]
    looked_at = _SAID.union(*(_MATCHED[level] for level in levels), _MATCHED[Level.STUDY])
    return frozenset(tag for tag in question.keys if tag not in looked_at and _has_value(question.keys, tag))


def _all(keys: Attributes, table: Mapping[Tag, Match]) -> Iterator[ColumnElement[bool]]:
    for tag, match in table.items():
        if values := _values(keys, tag):
            yield match(values)


def _values(keys: Attributes, tag: Tag) -> tuple[str, ...]:
    """Return the values that a key is held against; empty where it matches anything (PS3.4 C.2.2.2.3)."""
    found = [_spoken(value) for value in keys.values(tag)]
    if len(found) > MOST_VALUES or any(len(value) > _LONGEST_VALUE for value in found):
        raise QuestionInvalid(f"a key lists more than {MOST_VALUES} values, or a longer one than any attribute has")
    wanted = tuple(dict.fromkeys(value for value in found if value))
    return () if any(set(value) == {"*"} for value in wanted) else wanted


def _spoken(value: Any) -> str:
    """Return a value as text, of a name its component groups with ``=`` between them."""
    if isinstance(value, Mapping):
        groups = (str(value.get(group) or "") for group in ("Alphabetic", "Ideographic", "Phonetic"))
        value = "=".join(groups).rstrip("=")
    return str(value).replace("\0", "").strip()


def _has_value(keys: Attributes, tag: str) -> bool:
    if keys.elements[tag].get("vr") == "SQ":
        return any(_has_value(item, inner) for item in keys.items(tag) for inner in item)
    return any(set(_spoken(value)) - {"*"} for value in keys.values(tag))
