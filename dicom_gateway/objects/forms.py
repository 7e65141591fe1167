"""Write an analysis in the forms that somebody takes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from dicom_gateway.objects.writing import write_objects, write_parametric_map
from storage.deliveries import WrittenObject
from storage.domain import Analysis, ObjectKind
from storage.objects import ObjectStore


def write_forms(
    analysis: Analysis,
    objects: ObjectStore,
    forms: Collection[ObjectKind],
    *,
    written_at: datetime,
    equipment: Equipment,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,  # noqa: ARG001 - its objects are written by the builders of the forms
) -> tuple[WrittenObject, ...]:
    """Build, check and store an analysis in some forms; one that does not apply is left out."""
    written = write_objects(analysis, objects, written_at=written_at, equipment=equipment, predecessor=predecessor)
    if ObjectKind.PM in forms and analysis.explanation is not None:
        shown = write_parametric_map(
            analysis, objects, written_at=written_at, equipment=equipment, predecessor=predecessor
        )
        written = (*written, shown)
    return tuple(item for item in written if item.kind in forms)
