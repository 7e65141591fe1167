"""From an analysis to stored DICOM objects: read the sources, build, check, encode, put into the object store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.forms import write_forms
from dicom_gateway.objects.notice import build_notice
from dicom_gateway.objects.parametric_map import SALIENCY_MAP, MapContent, build_parametric_map, content_of
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.rejection import RejectionReason, build_rejection
from dicom_gateway.objects.sources import inherited_uids, read_header, read_sources
from dicom_gateway.objects.standard_tables import shrink_tables
from dicom_gateway.objects.storing import Expectation, require_sound, store_object
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from dicom_gateway.objects.unanalysed_study import UnanalysedStudy
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from storage import arrays
from storage.domain import Analysis, ObjectKind
from storage.errors import RecordMissing
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject


def write_objects(
    analysis: Analysis,
    objects: ObjectStore,
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
) -> tuple[WrittenObject, ...]:
    """Write the two forms of every destination: SEG and SR, or the SR alone where nothing was drawn.

    The same analysis, moment and equipment give the same bytes, so a repetition stores nothing new. ``written_at``
    is timezone-aware and belongs to the job. ``predecessor`` is the report that the SR replaces: it is named there,
    and gives both objects UIDs of their own even where nothing else has changed. Raises ObjectMissing,
    SourceUnusable, ObjectInvalid, StorageFull.
    """
    return write_forms(
        analysis,
        objects,
        (ObjectKind.SEG, ObjectKind.SR),
        written_at=written_at,
        equipment=equipment,
        predecessor=predecessor,
    )


def write_rejection(
    objects_to_reject: Sequence[WrittenObject],
    objects: ObjectStore,
    *,
    written_at: datetime,
    equipment: Equipment,
    reason: RejectionReason = RejectionReason.QUALITY,
) -> WrittenObject:
    """Build, check and store the rejection note on the written objects of one job, all that were delivered of it.

    Patient and study are those of the stored objects, also where the study has been corrected since. The same objects,
    reason, moment and equipment give the same bytes. Raises ObjectMissing, SourceUnusable, ObjectInvalid, StorageFull.
    """
    keep_identifiers_out_of_logs()
    shrink_tables()
    rejected = [read_header(item.digest, objects) for item in objects_to_reject]
    dataset = build_rejection(rejected, written_at=written_at, equipment=equipment, reason=reason)
    uids = [item.sop_instance_uid for item in objects_to_reject]
    expected = Expectation(uids, inherited_uids(rejected))
    like = objects_to_reject[0].digest
    return require_sound(store_object(dataset, ObjectKind.REJECTION, objects, like=like, expected=expected))


def write_notice(
    subject: UnanalysedStudy, objects: ObjectStore, *, equipment: Equipment, style: ObjectStyle = DEFAULT_STYLE
) -> WrittenObject:
    """Build, check and store the notice that a study was not analysed.

    The same subject, equipment and style give the same bytes. Raises ObjectMissing, SourceUnusable, ObjectInvalid,
    StorageFull.
    """
    keep_identifiers_out_of_logs()
    shrink_tables()
    if not subject.instances:
        raise SourceUnusable("no image of the study is there any more")
    like = subject.instances[0].digest
    source = read_header(like, objects)
    dataset = build_notice(subject, source, equipment=equipment, style=style)
    named = [instance.sop_instance_uid for instance in subject.instances]
    expected = Expectation(named, inherited_uids([source]) | subject.uids)
    return require_sound(store_object(dataset, ObjectKind.SR, objects, like=like, expected=expected, style=style))


def write_parametric_map(
    analysis: Analysis,
    objects: ObjectStore,
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
) -> WrittenObject:
    """Build, check and store the parametric map of an analysis's attention, on request alone.

    ``predecessor`` is that of the analysis's report, and keeps the map apart from that of an earlier revision.
    The same analysis, moment and equipment give the same bytes. Raises RecordMissing where the analysis kept no
    attention map; ObjectMissing, SourceUnusable, ObjectInvalid, StorageFull.
    """
    keep_identifiers_out_of_logs()
    shrink_tables()
    if analysis.explanation is None:
        raise RecordMissing("this analysis kept no attention map; `oncue jobs retry` analyses the study again")
    attention = arrays.load_attention(objects, analysis.explanation.attention)
    return _write_map(
        analysis,
        attention,
        objects,
        written_at=written_at,
        equipment=equipment,
        shown=content_of(analysis.explanation),
        predecessor=predecessor,
    )


def write_saliency_map(
    analysis: Analysis,
    objects: ObjectStore,
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
) -> WrittenObject:
    """Build, check and store where the classifier looked in all lesions as one parametric map, on request alone.

    The map is the classifier's: its algorithm gives the identity. Raises RecordMissing where no finding kept a
    saliency map; ObjectMissing, SourceUnusable, ObjectInvalid, StorageFull.
    """
    keep_identifiers_out_of_logs()
    shrink_tables()
    digests = [one.prediction.saliency for one in analysis.findings if one.prediction and one.prediction.saliency]
    if not digests or analysis.classifier is None or analysis.label_map is None:
        raise RecordMissing("no finding of this analysis kept a saliency map")
    together = np.zeros(analysis.label_map.labels.shape, dtype=np.uint8)
    for digest in digests:
        saliency = arrays.load_saliency(objects, digest)
        for z, plane in zip(saliency.slices, saliency.values, strict=True):
            together[z] = np.maximum(together[z], np.round(255 * np.clip(plane, 0.0, 1.0)).astype(np.uint8))
    own = replace(analysis, algorithm=analysis.classifier, classifier=None)
    return _write_map(
        own, together, objects, written_at=written_at, equipment=equipment, shown=SALIENCY_MAP, predecessor=predecessor
    )


def _write_map(
    analysis: Analysis,
    values: NDArray[np.uint8],
    objects: ObjectStore,
    *,
    written_at: datetime,
    equipment: Equipment,
    shown: MapContent,
    predecessor: PredecessorDocument | None,
) -> WrittenObject:
    sources = read_sources(analysis.frames, objects)
    dataset = build_parametric_map(
        analysis, values, sources, written_at=written_at, equipment=equipment, shown=shown, predecessor=predecessor
    )
    expected = Expectation([str(source.SOPInstanceUID) for source in sources], inherited_uids(sources))
    like = analysis.frames[0].digest
    return require_sound(store_object(dataset, ObjectKind.PM, objects, like=like, expected=expected))
