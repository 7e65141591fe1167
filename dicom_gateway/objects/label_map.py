"""DICOM Label Map Segmentation (PS3.3 A.51 and C.8.20.2, Segmentation Type LABELMAP): one number for each pixel.

It holds what the binary segmentation holds, under UIDs of its own: the same segments with the same numbers and tracking
UIDs, and a background segment 0. Frames have 8 bits, for there are at most 255 segments; those without a segment are
left out. Pixels are MONOCHROME2 and each segment has its recommended colour; with a palette there would be no such
colours, and readers that know none would show nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydicom.dataset import Dataset

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.segmentation import build_of_kind
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Analysis, ObjectKind


def build_label_map(
    analysis: Analysis,
    sources: Sequence[Dataset],
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,
) -> Dataset:
    """Build the label map segmentation of an analysis that found a lesion or drew an organ; as ``build_segmentation``.

    Raises SourceUnusable where the sources do not carry the label map, ObjectInvalid where the label map is empty or
    contradicts findings and structures.
    """
    return build_of_kind(
        ObjectKind.LABELMAP,
        analysis,
        sources,
        written_at=written_at,
        equipment=equipment,
        predecessor=predecessor,
        style=style,
    )
