"""DICOM Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010): the frames that matter, marked as being of interest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.contribution import contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import ObjectIdentity, object_identity, settle
from dicom_gateway.objects.key_pictures import key_frames
from dicom_gateway.objects.key_references import leave_references_unnamed
from dicom_gateway.objects.observers import device_observer
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.reading_priority import key_object_title, private_scheme
from dicom_gateway.objects.references import frames_by_instance
from dicom_gateway.objects.sources import Sources, copy_identity, reference_header, source_series
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Analysis, FrameRef, ObjectKind, Priority

_DESCRIPTION = "Frames in which oncue AI found lesions - not for primary diagnosis"


def build_key_objects(
    analysis: Analysis,
    sources: Sources,
    *,
    results: Sequence[Dataset] = (),
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,
) -> Dataset | None:
    """Build the key object selection of an analysis that found a lesion; None where it found none.

    ``results`` are written objects of the same analysis that it names after the frames, such as segmentation and
    report; they are a part of its identity. Raises SourceUnusable where the sources do not hold the frames.
    """
    series = source_series(sources)
    frames = key_frames(analysis)
    if not frames:
        return None
    identity = object_identity(
        analysis,
        ObjectKind.KO,
        study_instance_uid=series.study_instance_uid,
        predecessor=predecessor,
        style=style,
        refers_to=[str(result.SOPInstanceUID) for result in results],
    )
    by_uid = series.by_uid()
    missing = {frame.sop_instance_uid for frame in frames} - by_uid.keys()
    if missing:
        raise SourceUnusable("a frame that matters names an instance that is not among the sources")
    evidence = [_image(by_uid[uid]) for _, uid in frames_by_instance(frames)]
    evidence += [_result(result) for result in results]
    priority = analysis.decision.priority if style.shows_priority else None
    document = _highdicom_document(
        evidence, identity, equipment=style.applied_to(equipment, analysis.decision.priority), priority=priority
    )
    if priority is not None:
        document.CodingSchemeIdentificationSequence = [private_scheme()]
    _name_frames(document, frames)
    leave_references_unnamed(document)
    copy_identity(series.first, document)
    settle(document, identity, written_at=written_at, equipment=equipment)
    return document


def _image(source: Dataset) -> Dataset:
    header = reference_header(source)
    header.Rows, header.Columns = int(source.Rows), int(source.Columns)
    return header


def _result(result: Dataset) -> Dataset:
    """Return a header to refer to a result by; what has rows and columns is referred to as an image."""
    return _image(result) if "Rows" in result else reference_header(result)


def _name_frames(document: Dataset, frames: Sequence[FrameRef]) -> None:
    """Say which frames of a multi-frame instance matter (PS3.3 C.18.4): the builder names instances alone."""
    numbers = {uid: those for (_, uid), those in frames_by_instance(frames).items() if those}
    for item in document.ContentSequence:
        for reference in item.get("ReferencedSOPSequence", ()):
            those = numbers.get(str(reference.ReferencedSOPInstanceUID))
            if those:
                reference.ReferencedFrameNumber = those if len(those) > 1 else those[0]


def _highdicom_document(
    evidence: Sequence[Dataset], identity: ObjectIdentity, *, equipment: Equipment, priority: Priority | None
) -> Dataset:
    # Loaded when the first document is written: few destinations ask for them.
    from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument

    content = KeyObjectSelection(
        document_title=key_object_title(priority),
        referenced_objects=evidence,
        observer_device_context=device_observer(equipment),
        description=f"Reading priority {priority}. {_DESCRIPTION}" if priority else _DESCRIPTION,
    )
    try:
        return KeyObjectSelectionDocument(
            evidence=evidence,
            content=content,
            series_instance_uid=identity.series_instance_uid,
            series_number=equipment.key_object_series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=1,
            manufacturer=equipment.manufacturer,
            series_description=equipment.series_description,
            manufacturer_model_name=equipment.model_name,
            software_versions=equipment.software_version,
            device_serial_number=equipment.device_serial_number,
            contributing_equipment=[contribution(equipment)],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceUnusable(f"no key object can be written on these sources: {type(error).__name__}") from error
