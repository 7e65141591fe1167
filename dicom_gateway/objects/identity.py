"""Deterministic identity: the same input, weights and parameters give the same UIDs, and byte for byte the same object.

Nothing here asks the clock or a random source. What highdicom takes from either is overwritten.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_gateway.objects.equipment import IMPLEMENTATION_CLASS_UID, Equipment
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.styles import DEFAULT_STYLE, ObjectStyle
from storage.domain import Algorithm, Analysis, ObjectKind
from storage.uids import deterministic_uid

_OFFSET_CHARACTERS = len("+HHMM")
_MOMENTS_OF_SOME = (
    ("PresentationCreationDate", "PresentationCreationTime"),
    ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"),
)
"""Dates and times that some kinds of object have for the moment at which they were made."""


@dataclass(frozen=True, slots=True)
class ObjectIdentity:
    """The UIDs of one written object and of what it contains."""

    sop_instance_uid: str
    series_instance_uid: str
    dimension_organization_uid: str


def object_identity(
    analysis: Analysis,
    kind: ObjectKind,
    *,
    study_instance_uid: str,
    predecessor: PredecessorDocument | None = None,
    style: ObjectStyle = DEFAULT_STYLE,
    refers_to: Sequence[str] = (),
) -> ObjectIdentity:
    """Derive an object's UIDs from its study, its input frames, and each algorithm with weights and parameters.

    A route and a predecessor belong to it where there are any: what one job wrote can be rejected without touching
    what another wrote of the same frames. So do a style other than the default, and the UIDs of the written objects
    that it refers to, where it names other ones as the case may be. So does what it says of the reading priority.
    """
    return derived_identity(
        kind,
        study_instance_uid,
        analysis.series_instance_uid,
        analysis.input_sha256,
        *_algorithm_parts(analysis.algorithm),
        *(_algorithm_parts(analysis.classifier) if analysis.classifier else ()),
        *(("route", analysis.route) if analysis.route else ()),
        *(("predecessor", predecessor.sop_instance_uid) if predecessor else ()),
        *style.identity_parts,
        *_decision_parts(analysis, kind, style),
        *(("refers-to", *refers_to) if refers_to else ()),
    )


def _decision_parts(analysis: Analysis, kind: ObjectKind, style: ObjectStyle) -> tuple[str, ...]:
    """What an object says of the reading priority: a report the whole decision, others where their style shows it."""
    decision = analysis.decision
    if kind is ObjectKind.SR:
        return ("decision", decision.priority, decision.rule, decision.policy_sha256)
    return ("priority", decision.priority) if style.shows_priority else ()


def derived_identity(kind: ObjectKind, *parts: str) -> ObjectIdentity:
    """Derive the UIDs of an object of a kind from what it is made of."""
    return ObjectIdentity(
        sop_instance_uid=deterministic_uid(f"{kind}-instance", *parts),
        series_instance_uid=deterministic_uid(f"{kind}-series", *parts),
        dimension_organization_uid=deterministic_uid(f"{kind}-dimensions", *parts),
    )


def _algorithm_parts(algorithm: Algorithm) -> tuple[str, ...]:
    return (algorithm.name, algorithm.version, algorithm.weights_sha256, algorithm.parameters)


def settle(dataset: Dataset, identity: ObjectIdentity, *, written_at: datetime, equipment: Equipment) -> None:
    """Replace every clock reading and random UID that the library put in by the job's fixed time and derived UIDs."""
    moment = in_zone(written_at, dataset.get("TimezoneOffsetFromUTC") or equipment.utc_offset)
    if not dataset.get("TimezoneOffsetFromUTC") and equipment.utc_offset:
        dataset.TimezoneOffsetFromUTC = equipment.utc_offset
    for keyword in ("InstanceCreation", "Content", "Series"):
        setattr(dataset, f"{keyword}Date", moment.strftime("%Y%m%d"))
        setattr(dataset, f"{keyword}Time", moment.strftime("%H%M%S"))
    for date, time in _MOMENTS_OF_SOME:
        if date in dataset:
            setattr(dataset, date, moment.strftime("%Y%m%d"))
            setattr(dataset, time, moment.strftime("%H%M%S"))
    for item in dataset.get("ContributingEquipmentSequence", ()):
        if item.PurposeOfReferenceCodeSequence[0].CodeValue != "109101":  # the scanner's own time stands
            item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S")
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in dataset.get(keyword, ()):
            item.DimensionOrganizationUID = UID(identity.dimension_organization_uid)
    dataset.InstanceCreatorUID = equipment.device_uid
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    dataset.file_meta.ImplementationVersionName = f"ONCUE_{equipment.software_version}"[:16]


def in_zone(written_at: datetime, offset: str | None) -> datetime:
    """Express a moment in an offset like ``+0100``; UTC where there is none or it cannot be read."""
    text = (offset or "").strip()
    if len(text) != _OFFSET_CHARACTERS or text[0] not in "+-" or not text[1:].isdigit():
        return written_at.astimezone(UTC)
    span = timedelta(hours=int(text[1:3]), minutes=int(text[3:]))
    return written_at.astimezone(timezone(span if text[0] == "+" else -span))


def part10(dataset: Dataset) -> bytes:
    """Encode a data set as a Part 10 file."""
    with io.BytesIO() as buffer:
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
        return buffer.getvalue()
