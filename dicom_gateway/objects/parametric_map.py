"""DICOM Parametric Map (PS3.3 A.75): where the analyser looked, on the source grid, as 32-bit floats from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import DerivedPixelContrastValues, ImageFlavorValues, ParametricMap, RealWorldValueMapping
from highdicom.sr import CodedConcept, TextContentItem
from numpy import float32, uint8
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import ExplicitVRLittleEndian

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects import codes
from dicom_gateway.objects.anatomy import anatomic_region, stated_side
from dicom_gateway.objects.contribution import contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import ObjectIdentity, object_identity, settle
from dicom_gateway.objects.plain_text import plain
from dicom_gateway.objects.planes import plane_headers
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.references import name_true_frames
from dicom_gateway.objects.sources import Sources, SourceSeries, copy_identity, source_series
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Algorithm, Analysis, ObjectKind
from storage.explanations import KeptExplanation

_FULL = 255.0
_PARAMETER_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class MapContent:
    """What a map shows: ContentLabel (CS), ContentDescription, and the quantity of its values."""

    label: str
    description: str
    quantity: DicomCode


ATTENTION_MAP = MapContent("AI_ATTENTION", "Anomaly attention of oncue AI - not for primary diagnosis", codes.ATTENTION)
SCORE_MAP = MapContent("AI_SCORE", "Lesion score of oncue AI - not for primary diagnosis", codes.LESION_SCORE)
SALIENCY_MAP = MapContent("AI_SALIENCY", "Classifier saliency of oncue AI - not for primary diagnosis", codes.SALIENCY)


def content_of(explanation: KeptExplanation) -> MapContent:
    """Return what the map of an explanation shows: where the analyser looked, or how a network scored each voxel."""
    return SCORE_MAP if explanation.shows_score else ATTENTION_MAP


def build_parametric_map(
    analysis: Analysis,
    attention: NDArray[uint8],
    sources: Sources,
    *,
    written_at: datetime,
    equipment: Equipment,
    shown: MapContent = ATTENTION_MAP,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,
) -> Dataset:
    """Build the parametric map of an analysis; ``attention`` is ``[z, y, x]`` on its frames, 255 for full attention.

    ``sources`` are the headers of the distinct source instances, in any order. Every frame is written, also those
    without attention. ``predecessor`` is what the report of the analysis replaces. Raises SourceUnusable where the
    sources do not carry the map, ObjectInvalid where it has not one plane for each frame.
    """
    series = source_series(sources)
    if attention.ndim != 3 or len(attention) != len(analysis.frames):  # noqa: PLR2004 - [z, y, x]
        raise ObjectInvalid("the attention map does not have one plane for each of its frames")
    identity = object_identity(
        analysis, ObjectKind.PM, study_instance_uid=series.study_instance_uid, predecessor=predecessor, style=style
    )
    styled = style.applied_to(equipment, analysis.decision.priority)
    dataset = _highdicom_map(analysis, attention, series, identity, equipment=styled, shown=shown)
    _sort_upwards(dataset)
    _place_in_body(dataset, series.first)
    if any(frame.frame_number is not None for frame in analysis.frames):
        name_true_frames(dataset, analysis.frames, series)
    copy_identity(series.first, dataset)
    settle(dataset, identity, written_at=written_at, equipment=equipment)
    return dataset


def _highdicom_map(
    analysis: Analysis,
    attention: NDArray[uint8],
    series: SourceSeries,
    identity: ObjectIdentity,
    *,
    equipment: Equipment,
    shown: MapContent,
) -> Dataset:
    headers = plane_headers(series, analysis.frames)
    if attention.shape[1:] != (headers[0].Rows, headers[0].Columns):
        raise SourceUnusable("the attention map and the source planes differ in size")
    try:
        return ParametricMap(
            source_images=headers,
            pixel_array=np.asarray(attention / _FULL, dtype=float32),
            series_instance_uid=identity.series_instance_uid,
            series_number=equipment.parametric_map_series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=1,
            manufacturer=equipment.manufacturer,
            manufacturer_model_name=equipment.model_name,
            software_versions=equipment.software_version,
            device_serial_number=equipment.device_serial_number,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[_mapping(analysis.algorithm, shown)],
            voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
            content_label=shown.label,
            content_description=shown.description,
            content_creator_name=equipment.content_creator,
            image_flavor=ImageFlavorValues.VOLUME,
            derived_pixel_contrast=DerivedPixelContrastValues.QUANTITY,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            contributing_equipment=[contribution(equipment)],
            series_description=equipment.series_description,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceUnusable(f"no parametric map can be written on these sources: {type(error).__name__}") from error


def _sort_upwards(dataset: Dataset) -> None:
    """Put the frames in the order of the slice normal: some readers take their order for that of their positions."""
    orientation = dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    normal = np.cross(orientation[:3], orientation[3:])
    groups = dataset.PerFrameFunctionalGroupsSequence
    heights = [np.dot(group.PlanePositionSequence[0].ImagePositionPatient, normal) for group in groups]
    order = np.argsort(heights, kind="stable")
    frames = np.frombuffer(dataset.FloatPixelData, dtype="<f4").reshape(len(groups), -1)
    dataset.FloatPixelData = frames[order].tobytes()
    dataset.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        group.FrameContentSequence[0].DimensionIndexValues = number


def _place_in_body(dataset: Dataset, source: Dataset) -> None:
    """State the region (PS3.3 C.7.6.16.2.8); where none is known, an empty laterality, which may not be left out."""
    region = anatomic_region(source)
    if region is None:
        dataset.Laterality = ""
        return
    anatomy = Dataset()
    anatomy.FrameLaterality = stated_side(source) or "U"
    anatomy.AnatomicRegionSequence = [CodedConcept.from_code(region)]
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]


def _mapping(algorithm: Algorithm, shown: MapContent) -> RealWorldValueMapping:
    """Say that values are what they are, of which quantity, and, as its characteristics, by which algorithm."""
    mapping = RealWorldValueMapping(
        lut_label=shown.quantity.value,
        lut_explanation=shown.quantity.meaning,
        unit=codes.NO_UNITS,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=shown.quantity,
    )
    mapping.QuantityDefinitionSequence.extend(_algorithm_items(algorithm))
    return mapping


def _algorithm_items(algorithm: Algorithm) -> list[Any]:
    return [
        _text(codes.ALGORITHM_NAME, algorithm.name),
        _text(codes.ALGORITHM_VERSION, algorithm.version),
        _text(codes.ALGORITHM_PARAMETERS, f"weights_sha256={algorithm.weights_sha256}"),
        _text(codes.ALGORITHM_PARAMETERS, algorithm.parameters),
    ]


def _text(name: DicomCode, value: str) -> TextContentItem:
    return TextContentItem(name=CodedConcept.from_code(name), value=plain(value, _PARAMETER_CHARACTERS))
