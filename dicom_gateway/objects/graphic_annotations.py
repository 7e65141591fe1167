"""The layers and graphics of a presentation state: each lesion's outline and name on each image that it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from highdicom.color import CIELabColor
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    TextJustificationValues,
    TextObject,
)
from numpy import bool_
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_gateway.objects.captions import lesions_on
from dicom_gateway.objects.contours import outlines
from dicom_gateway.objects.key_pictures import lesion_plane
from dicom_gateway.objects.plain_text import plain
from dicom_gateway.objects.segments import lesion_colour, lesions
from storage.domain import Analysis, Finding
from storage.volumes import LabelMap

# An element of VR FL holds 65534 bytes in Explicit VR (PS3.5 7.1.2): 8191 points of two floats.
_MOST_POINTS = 8000
_WHITE = 0xFFFF  # a P-Value


def layers_of(analysis: Analysis) -> dict[int, GraphicLayer]:
    """Return a layer for each lesion by its number, in the colour of its segment, and white on a grey display."""
    layers = {}
    for finding in lesions(analysis):
        layer = GraphicLayer(
            layer_name=f"LESION_{finding.number}",
            order=finding.number,
            description=_name(finding),
            display_color=CIELabColor.from_rgb(*lesion_colour(finding.number)),
        )
        layer.GraphicLayerRecommendedDisplayGrayscaleValue = _WHITE
        layers[finding.number] = layer
    return layers


def annotations_of(
    analysis: Analysis,
    label_map: LabelMap,
    slices: Sequence[int],
    *,
    headers: Mapping[str, Dataset],
    layers: Mapping[int, GraphicLayer],
) -> list[GraphicAnnotation]:
    """Return the outline and the name of each lesion on each of some slices; ``headers`` are by SOP Instance UID."""
    annotations = []
    for z in slices:
        frame = label_map.frames[z]
        plane = lesion_plane(analysis, label_map, z)
        for finding in lesions_on(analysis, z):
            mask = plane == finding.number
            annotations.append(
                GraphicAnnotation(
                    referenced_images=[headers[frame.sop_instance_uid]],
                    graphic_layer=layers[finding.number],
                    referenced_frame_number=frame.frame_number,
                    graphic_objects=_polylines(mask, finding),
                    text_objects=[_text(mask, finding)],
                )
            )
    return annotations


def _polylines(mask: NDArray[bool_], finding: Finding) -> list[GraphicObject]:
    return [
        GraphicObject(
            graphic_type=GraphicTypeValues.POLYLINE,
            graphic_data=piece.astype(float),
            units=AnnotationUnitsValues.PIXEL,
            tracking_id=finding.tracking_id,
            tracking_uid=finding.tracking_uid,
        )
        for outline in outlines(mask)
        # Each piece starts where the one before ends.
        for piece in (outline[start : start + _MOST_POINTS + 1] for start in range(0, len(outline) - 1, _MOST_POINTS))
    ]


def _text(mask: NDArray[bool_], finding: Finding) -> TextObject:
    """Name a lesion at the upper right corner of what is seen of it."""
    right = float(np.flatnonzero(mask.any(axis=0))[-1] + 1)
    top = float(np.flatnonzero(mask.any(axis=1))[0])
    return TextObject(
        text_value=_name(finding),
        units=AnnotationUnitsValues.PIXEL,
        anchor_point=(right, top),
        anchor_point_visible=False,
        text_justification=TextJustificationValues.LEFT,
        tracking_id=finding.tracking_id,
        tracking_uid=finding.tracking_uid,
    )


def _name(finding: Finding) -> str:
    return plain(f"{finding.concept.meaning} {finding.number}")
