"""DICOM Segmentation (PS3.3 A.51): binary, on the source grid, one segment for each lesion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg import Segmentation as DicomSegmentation
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects.anatomy import anatomic_region, laterality
from dicom_gateway.objects.codes import ARTIFICIAL_INTELLIGENCE, MORPHOLOGICALLY_ABNORMAL, dicom_code, plain
from dicom_gateway.objects.contribution import contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.flat_images import flat_header, is_flat, orient
from dicom_gateway.objects.identity import ObjectIdentity, object_identity, settle
from dicom_gateway.objects.planes import plane_headers
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.references import name_true_frames
from dicom_gateway.objects.sources import SourceSeries, copy_identity, source_series
from storage.domain import Algorithm, Analysis, Finding, LabelMap, ObjectKind, Presence

CONTENT_LABEL = "AI_LESIONS"
CONTENT_DESCRIPTION = "Lesions found by oncue AI - not for primary diagnosis"
_PARAMETER_CHARACTERS = 10_000  # AlgorithmParameters is LT: 10 240 characters
# Okabe and Ito's palette, which stays distinct in colour-blind eyes; segments beyond it start over.
_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def lesions(analysis: Analysis) -> tuple[Finding, ...]:
    """Return the findings that are present, by segment number; ObjectInvalid unless they count 1, 2, 3, ..."""
    present = sorted(
        (finding for finding in analysis.findings if finding.presence is Presence.PRESENT),
        key=lambda finding: finding.number,
    )
    if [finding.number for finding in present] != list(range(1, len(present) + 1)):
        raise ObjectInvalid("the findings are not numbered 1, 2, 3, ...; segments must be")
    return tuple(present)


def build_segmentation(
    analysis: Analysis,
    sources: Sequence[Dataset],
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
) -> Dataset:
    """Build the SEG of an analysis that found something.

    ``sources`` are the headers of its distinct source instances, in any order. Frames without a lesion are omitted. An
    image without a place in the patient gives one plane without a place; ``predecessor`` is what its report replaces.
    Raises SourceUnusable where the sources do not carry the label map, ObjectInvalid where the label map is empty or
    contradicts the findings.
    """
    series = source_series(sources)
    label_map = _checked_label_map(analysis)
    identity = object_identity(
        analysis, ObjectKind.SEG, study_instance_uid=series.study_instance_uid, predecessor=predecessor
    )
    flat = is_flat(series, label_map.frames)
    headers = [flat_header(series, label_map.frames[0])] if flat else plane_headers(series, label_map.frames)
    dataset = _highdicom_segmentation(analysis, label_map, series, identity, equipment=equipment, headers=headers)
    if flat or any(frame.frame_number is not None for frame in label_map.frames):
        name_true_frames(dataset, label_map.frames, series)
    if flat:
        orient(dataset, series.first)
    copy_identity(series.first, dataset)
    settle(dataset, identity, written_at=written_at, equipment=equipment)
    return dataset


def _checked_label_map(analysis: Analysis) -> LabelMap:
    """Return the label map, or raise ObjectInvalid where it is missing, empty, or its numbers are not the findings'."""
    label_map = analysis.label_map
    if label_map is None:
        raise ObjectInvalid("there is no label map to write a segmentation from")
    if label_map.labels.ndim != 3 or label_map.labels.shape[0] != len(label_map.frames):  # noqa: PLR2004 - [z, y, x]
        raise ObjectInvalid("the label map does not have one plane for each of its frames")
    drawn = set(np.unique(label_map.labels).tolist()) - {0}
    if not drawn:
        raise ObjectInvalid("the label map is empty; nothing found is a report, not an empty segmentation")
    if drawn != {finding.number for finding in lesions(analysis)}:
        raise ObjectInvalid("the label map and the findings do not hold the same segment numbers")
    return label_map


def _highdicom_segmentation(
    analysis: Analysis,
    label_map: LabelMap,
    series: SourceSeries,
    identity: ObjectIdentity,
    *,
    equipment: Equipment,
    headers: Sequence[Dataset],
) -> Dataset:
    if label_map.labels.shape[1:] != (headers[0].Rows, headers[0].Columns):
        raise SourceUnusable("the label map and the source planes differ in size")
    try:
        return DicomSegmentation(
            source_images=headers,
            pixel_array=label_map.labels,
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=_segment_descriptions(analysis, series),
            series_instance_uid=identity.series_instance_uid,
            series_number=equipment.segmentation_series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=1,
            manufacturer=equipment.manufacturer,
            manufacturer_model_name=equipment.model_name,
            software_versions=equipment.software_version,
            device_serial_number=equipment.device_serial_number,
            content_label=CONTENT_LABEL,
            content_description=CONTENT_DESCRIPTION,
            content_creator_name=equipment.content_creator,
            series_description=equipment.series_description,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            omit_empty_frames=True,
            contributing_equipment=[contribution(equipment)],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceUnusable(f"no segmentation can be written on these sources: {type(error).__name__}") from error


def _segment_descriptions(analysis: Analysis, series: SourceSeries) -> list[SegmentDescription]:
    algorithm = _algorithm_identification(analysis.algorithm)
    return [_segment_description(finding, algorithm, series.first) for finding in lesions(analysis)]


def _segment_description(
    finding: Finding, algorithm: AlgorithmIdentificationSequence, source: Dataset
) -> SegmentDescription:
    region, side = anatomic_region(source), laterality(source)
    description = SegmentDescription(
        segment_number=finding.number,
        segment_label=plain(f"{finding.concept.meaning} {finding.number}"),
        segmented_property_category=MORPHOLOGICALLY_ABNORMAL,
        segmented_property_type=dicom_code(finding.concept),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=finding.tracking_uid,
        tracking_id=finding.tracking_id,
        anatomic_regions=[region] if region else None,
        display_color=CIELabColor.from_rgb(*_COLOURS[(finding.number - 1) % len(_COLOURS)]),
    )
    if region is not None and side is not None:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [CodedConcept.from_code(side)]
    return description


def _algorithm_identification(algorithm: Algorithm) -> AlgorithmIdentificationSequence:
    return AlgorithmIdentificationSequence(
        name=plain(algorithm.name),
        family=ARTIFICIAL_INTELLIGENCE,
        version=plain(algorithm.version),
        source="oncue",
        parameters={
            "weights_sha256": algorithm.weights_sha256,
            "parameters": plain(algorithm.parameters, _PARAMETER_CHARACTERS),
        },
    )
