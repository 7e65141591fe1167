"""DICOM Segmentation (PS3.3 A.51): binary, on the source grid, one segment for each lesion and each organ.

A label map segmentation is the same content in another form; ``label_map`` says what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from highdicom.seg import Segmentation as DicomSegmentation
from highdicom.seg import SegmentationTypeValues
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects.contribution import contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.flat_images import flat_header, is_flat, orient
from dicom_gateway.objects.identity import ObjectIdentity, object_identity, settle
from dicom_gateway.objects.planes import plane_headers
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.references import name_true_frames
from dicom_gateway.objects.segments import lesions, organs, segment_descriptions
from dicom_gateway.objects.sources import Sources, SourceSeries, copy_identity, source_series
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Analysis, LabelMap, ObjectKind

_CONTENT = {
    (True, False): ("AI_LESIONS", "Lesions found by oncue AI - not for primary diagnosis"),
    (True, True): ("AI_LESION_ORGAN", "Lesions, organs drawn by oncue AI - not for primary diagnosis"),
    (False, True): ("AI_ORGANS", "Organs drawn by oncue AI - not for primary diagnosis"),
}
"""ContentLabel (CS) and ContentDescription (LO), by whether there are lesions and organs."""


def build_segmentation(
    analysis: Analysis,
    sources: Sources,
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,
) -> Dataset:
    """Build the SEG of an analysis that found a lesion or drew an organ.

    ``sources`` are the headers of its distinct source instances, in any order. Frames without a voxel are omitted. An
    image without a place in the patient gives one plane without a place; ``predecessor`` is what its report replaces.
    Raises SourceUnusable where the sources do not carry the label map, ObjectInvalid where the label map is empty or
    contradicts findings and structures.
    """
    return build_of_kind(
        ObjectKind.SEG,
        analysis,
        sources,
        written_at=written_at,
        equipment=equipment,
        predecessor=predecessor,
        style=style,
    )


def build_of_kind(
    kind: ObjectKind,
    analysis: Analysis,
    sources: Sources,
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None,
    style: ObjectStyle,
) -> Dataset:
    """Build the segmentation of an analysis as one of its two kinds, SEG or LABELMAP; as ``build_segmentation``."""
    series = source_series(sources)
    label_map = _checked_label_map(analysis)
    identity = object_identity(
        analysis, kind, study_instance_uid=series.study_instance_uid, predecessor=predecessor, style=style
    )
    flat = is_flat(series, label_map.frames)
    headers = [flat_header(series, label_map.frames[0])] if flat else plane_headers(series, label_map.frames)
    dataset = _highdicom_segmentation(
        analysis,
        label_map,
        series,
        identity,
        equipment=style.applied_to(equipment, analysis.decision.priority),
        headers=headers,
        kind=kind,
    )
    if flat or any(frame.frame_number is not None for frame in label_map.frames):
        name_true_frames(dataset, label_map.frames, series)
    if flat:
        orient(dataset, series.first)
    copy_identity(series.first, dataset)
    settle(dataset, identity, written_at=written_at, equipment=equipment)
    return dataset


def _checked_label_map(analysis: Analysis) -> LabelMap:
    """Return the label map, or raise ObjectInvalid where it is missing, empty, or its numbers are not the segments'."""
    label_map = analysis.label_map
    if label_map is None:
        raise ObjectInvalid("there is no label map to write a segmentation from")
    if label_map.labels.ndim != 3 or label_map.labels.shape[0] != len(label_map.frames):  # noqa: PLR2004 - [z, y, x]
        raise ObjectInvalid("the label map does not have one plane for each of its frames")
    drawn = set(np.unique(label_map.labels).tolist()) - {0}
    if not drawn:
        raise ObjectInvalid("the label map is empty; nothing found is a report, not an empty segmentation")
    if drawn != {one.number for one in lesions(analysis)} | {one.number for one in organs(analysis)}:
        raise ObjectInvalid("the label map, the findings and the structures do not hold the same segment numbers")
    return label_map


def _highdicom_segmentation(
    analysis: Analysis,
    label_map: LabelMap,
    series: SourceSeries,
    identity: ObjectIdentity,
    *,
    equipment: Equipment,
    headers: Sequence[Dataset],
    kind: ObjectKind,
) -> Dataset:
    if label_map.labels.shape[1:] != (headers[0].Rows, headers[0].Columns):
        raise SourceUnusable("the label map and the source planes differ in size")
    as_label_map = kind is ObjectKind.LABELMAP
    content_label, content_description = _CONTENT[bool(lesions(analysis)), bool(analysis.structures)]
    try:
        return DicomSegmentation(
            source_images=headers,
            pixel_array=label_map.labels,
            segmentation_type=SegmentationTypeValues.LABELMAP if as_label_map else SegmentationTypeValues.BINARY,
            segment_descriptions=segment_descriptions(analysis, series.first),
            series_instance_uid=identity.series_instance_uid,
            series_number=(equipment.label_map_series_number if as_label_map else equipment.segmentation_series_number),
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=1,
            manufacturer=equipment.manufacturer,
            manufacturer_model_name=equipment.model_name,
            software_versions=equipment.software_version,
            device_serial_number=equipment.device_serial_number,
            content_label=content_label,
            content_description=content_description,
            content_creator_name=equipment.content_creator,
            series_description=equipment.series_description,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            omit_empty_frames=True,
            contributing_equipment=[contribution(equipment)],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceUnusable(f"no segmentation can be written on these sources: {type(error).__name__}") from error
