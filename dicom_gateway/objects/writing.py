"""From an analysis to stored DICOM objects: read the sources, build, check, encode, put into the object store."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import part10
from dicom_gateway.objects.parametric_map import build_parametric_map
from dicom_gateway.objects.report import build_report
from dicom_gateway.objects.segmentation import build_segmentation, lesions
from dicom_gateway.objects.sources import inherited_uids, read_sources
from dicom_gateway.objects.validation import check_object
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from storage import arrays
from storage.domain import Analysis, ObjectKind
from storage.errors import RecordMissing
from storage.objects import ObjectStore
from storage.outbound import WrittenObject


def write_objects(
    analysis: Analysis, objects: ObjectStore, *, written_at: datetime, equipment: Equipment
) -> tuple[WrittenObject, ...]:
    """Build, check and store the SEG and SR of an analysis, or the SR alone where nothing was found.

    The same analysis, moment and equipment give the same bytes, so a repetition stores nothing new. ``written_at``
    is timezone-aware and belongs to the job. Raises ObjectMissing, SourceUnusable, ObjectInvalid, StorageFull.
    """
    keep_identifiers_out_of_logs()
    sources = read_sources(analysis.frames, objects)
    uids = [str(source.SOPInstanceUID) for source in sources]
    inherited = inherited_uids(sources)
    segmentation = None
    if lesions(analysis):
        segmentation = build_segmentation(analysis, sources, written_at=written_at, equipment=equipment)
        check_object(segmentation, references=uids, inherited=inherited)
        uids.append(str(segmentation.SOPInstanceUID))
    report = build_report(analysis, sources, segmentation=segmentation, written_at=written_at, equipment=equipment)
    check_object(report, references=uids, inherited=inherited)
    written = [] if segmentation is None else [_store(segmentation, ObjectKind.SEG, objects)]
    return (*written, _store(report, ObjectKind.SR, objects))


def write_parametric_map(
    analysis: Analysis, objects: ObjectStore, *, written_at: datetime, equipment: Equipment
) -> WrittenObject:
    """Build, check and store the parametric map of an analysis's attention, on request alone.

    The same analysis, moment and equipment give the same bytes. Raises RecordMissing where the analysis kept no
    attention map; ObjectMissing, SourceUnusable, ObjectInvalid, StorageFull.
    """
    keep_identifiers_out_of_logs()
    if analysis.explanation is None:
        raise RecordMissing("this analysis kept no attention map; `oncue jobs retry` analyses the study again")
    attention = arrays.load_attention(objects, analysis.explanation.attention)
    sources = read_sources(analysis.frames, objects)
    dataset = build_parametric_map(analysis, attention, sources, written_at=written_at, equipment=equipment)
    check_object(
        dataset, references=[str(source.SOPInstanceUID) for source in sources], inherited=inherited_uids(sources)
    )
    return _store(dataset, ObjectKind.PM, objects)


def _store(dataset: Dataset, kind: ObjectKind, objects: ObjectStore) -> WrittenObject:
    content = part10(dataset)
    return WrittenObject(
        kind=kind,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        digest=objects.put(content),
        size_bytes=len(content),
    )
