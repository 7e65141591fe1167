"""The notice that a study was not analysed: a small Basic Text SR (PS3.3 A.35.1) without any finding.

It says why in words and as a code, and names the study, the series that were there, and what routes asked of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentSequence,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from highdicom.sr import CodedConcept as Coded
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects import codes
from dicom_gateway.objects.contribution import TOLD, contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import ObjectIdentity, derived_identity, settle
from dicom_gateway.objects.notice_reasons import words_for
from dicom_gateway.objects.observers import device_observer
from dicom_gateway.objects.plain_text import plain
from dicom_gateway.objects.sources import copy_identity, leave_blank
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from dicom_gateway.objects.unanalysed_study import UnanalysedStudy
from storage.domain import ObjectKind, StoredInstance

_MOST_SERIES = 100
_MOST_CONDITIONS = 20
_TEXT_CHARACTERS = 1024
_CONTAINS = RelationshipTypeValues.CONTAINS


def build_notice(
    subject: UnanalysedStudy, source: Dataset, *, equipment: Equipment, style: ObjectStyle = DEFAULT_STYLE
) -> Dataset:
    """Build the notice; patient and study are those of ``source``, the header of one of the instances.

    The same subject gives the same bytes. Raises SourceUnusable where there is no image, or it names no study.
    """
    study_instance_uid = str(source.get("StudyInstanceUID") or "")
    if not study_instance_uid or not subject.instances:
        raise SourceUnusable("a notice needs an image of the study that it is about")
    identity = _identity(subject, study_instance_uid, style)
    dataset = _document(identity, study_instance_uid, equipment=style.applied_to(equipment))
    dataset.CurrentRequestedProcedureEvidenceSequence = [_evidence(subject.instances, study_instance_uid)]
    dataset.ContentSequence = _content(subject, study_instance_uid, equipment)
    copy_identity(source, dataset)
    settle(dataset, identity, written_at=subject.stated_at, equipment=equipment)
    return dataset


def _identity(subject: UnanalysedStudy, study_instance_uid: str, style: ObjectStyle) -> ObjectIdentity:
    return derived_identity(
        ObjectKind.SR,
        "notice",
        study_instance_uid,
        str(subject.revision),
        subject.route,
        subject.code,
        subject.stated_at.isoformat(),
        *style.identity_parts,
    )


def _document(identity: ObjectIdentity, study_instance_uid: str, *, equipment: Equipment) -> Dataset:
    """Return the object without its content: series, equipment and document modules (PS3.3 C.17.1, C.7.5.1, C.17.2)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = BasicTextSRStorage
    dataset.SOPInstanceUID = identity.sop_instance_uid
    leave_blank(dataset)
    dataset.StudyInstanceUID = study_instance_uid
    dataset.SeriesInstanceUID = identity.series_instance_uid
    dataset.Modality = "SR"
    dataset.SeriesNumber = equipment.notice_series_number
    dataset.SeriesDescription = equipment.series_description
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.Manufacturer = equipment.manufacturer
    dataset.ManufacturerModelName = equipment.model_name
    dataset.DeviceSerialNumber = equipment.device_serial_number
    dataset.SoftwareVersions = equipment.software_version
    dataset.ContributingEquipmentSequence = [contribution(equipment, TOLD)]
    dataset.CodingSchemeIdentificationSequence = [
        CodingSchemeIdentificationItem(
            codes.PRIVATE_SCHEME, name=codes.PRIVATE_SCHEME_NAME, responsible_organization="oncue"
        )
    ]
    dataset.InstanceNumber = 1
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PerformedProcedureCodeSequence = []
    dataset.ValueType = "CONTAINER"
    dataset.ConceptNameCodeSequence = [Coded.from_code(codes.NOT_ANALYSED)]
    dataset.ContinuityOfContent = "SEPARATE"
    return dataset


def _content(subject: UnanalysedStudy, study_instance_uid: str, equipment: Equipment) -> ContentSequence:
    words = words_for(subject.code)
    value = codes.site_code(subject.code).value
    language = CodeContentItem(codes.LANGUAGE, codes.ENGLISH, RelationshipTypeValues.HAS_CONCEPT_MOD)
    reason = Coded(value, codes.PRIVATE_SCHEME, words.meaning)
    items = [
        language,
        *device_observer(equipment),
        CodeContentItem(codes.REASON, reason, _CONTAINS),
        TextContentItem(codes.COMMENT, f"{words.sentence} Code: {plain(subject.code)}.", _CONTAINS),
        UIDRefContentItem(codes.STUDY_INSTANCE_UID, study_instance_uid, _CONTAINS),
        *([TextContentItem(codes.ROUTE, plain(subject.route), _CONTAINS)] if subject.route else []),
        *_conditions(subject.conditions),
        *_series(subject.instances),
    ]
    return ContentSequence(items)


def _conditions(lines: Sequence[str]) -> Iterator[TextContentItem]:
    for line in lines[:_MOST_CONDITIONS]:
        yield TextContentItem(codes.UNMET, plain(line, _TEXT_CHARACTERS), _CONTAINS)


def _series(instances: Sequence[StoredInstance]) -> Iterator[ContainerContentItem]:
    """Name each series with its modality and how many images it has; the evidence names them all, however many."""
    ordered = sorted(instances, key=lambda one: one.series_instance_uid)
    for place, (uid, group) in enumerate(groupby(ordered, lambda one: one.series_instance_uid)):
        if place == _MOST_SERIES:
            return
        members = list(group)
        container = ContainerContentItem(
            codes.SERIES_RECEIVED, is_content_continuous=False, relationship_type=_CONTAINS
        )
        container.ContentSequence = ContentSequence(
            [
                UIDRefContentItem(codes.SERIES_INSTANCE_UID, uid, _CONTAINS),
                TextContentItem(codes.MODALITY, plain(members[0].modality) or "unknown", _CONTAINS),
                TextContentItem(codes.IMAGES, str(len(members)), _CONTAINS),
            ]
        )
        yield container


def _evidence(instances: Sequence[StoredInstance], study_instance_uid: str) -> Dataset:
    """Return the hierarchical reference to the instances (PS3.3 C.17.2.1, Table C.17-3b)."""
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    ordered = sorted(instances, key=lambda one: (one.series_instance_uid, one.sop_instance_uid))
    study.ReferencedSeriesSequence = [
        _referenced_series(uid, list(group)) for uid, group in groupby(ordered, lambda one: one.series_instance_uid)
    ]
    return study


def _referenced_series(uid: str, instances: Sequence[StoredInstance]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = uid
    series.ReferencedSOPSequence = [_reference(instance) for instance in instances]
    return series


def _reference(instance: StoredInstance) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = instance.sop_class_uid
    reference.ReferencedSOPInstanceUID = instance.sop_instance_uid
    return reference
