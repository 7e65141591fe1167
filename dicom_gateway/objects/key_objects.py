"""DICOM Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010): the frames that matter, marked as being of interest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import object_identity, settle
from dicom_gateway.objects.key_object_document import KeyObjectStatement, key_object_document, named_object
from dicom_gateway.objects.key_pictures import key_frames
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.reading_priority import key_object_title, private_scheme
from dicom_gateway.objects.references import frames_by_instance
from dicom_gateway.objects.sources import Sources, copy_identity, source_series
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Analysis, ObjectKind
from storage.volumes import FrameRef

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
    named = [named_object(by_uid[uid]) for _, uid in frames_by_instance(frames)]
    named += [named_object(result) for result in results]
    priority = analysis.decision.priority if style.shows_priority else None
    styled = style.applied_to(equipment, analysis.decision.priority)
    statement = KeyObjectStatement(
        title=key_object_title(priority),
        description=f"Reading priority {priority}. {_DESCRIPTION}" if priority else _DESCRIPTION,
        series_number=styled.key_object_series_number,
    )
    document = key_object_document(named, statement, identity, equipment=styled)
    if priority is not None:
        document.CodingSchemeIdentificationSequence = [private_scheme()]
    _name_frames(document, frames)
    copy_identity(series.first, document)
    settle(document, identity, written_at=written_at, equipment=equipment)
    return document


def _name_frames(document: Dataset, frames: Sequence[FrameRef]) -> None:
    """Say which frames of a multi-frame instance matter (PS3.3 C.18.4): the builder names instances alone."""
    numbers = {uid: those for (_, uid), those in frames_by_instance(frames).items() if those}
    for item in document.ContentSequence:
        for reference in item.get("ReferencedSOPSequence", ()):
            those = numbers.get(str(reference.ReferencedSOPInstanceUID))
            if those:
                reference.ReferencedFrameNumber = those if len(those) > 1 else those[0]
