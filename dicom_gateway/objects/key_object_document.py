"""Key Object Selection documents (PS3.3 A.35.4), whatever they say of what they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.contribution import FOUND_LESIONS, contribution
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import ObjectIdentity
from dicom_gateway.objects.key_references import leave_references_unnamed
from dicom_gateway.objects.observers import device_observer
from dicom_gateway.objects.sources import reference_header


@dataclass(frozen=True, slots=True)
class KeyObjectStatement:
    """What a document says: its title and description, its series' number, and what oncue did."""

    title: Code
    description: str
    series_number: int
    contributed: str = FOUND_LESIONS


def key_object_document(
    named: Sequence[Dataset], statement: KeyObjectStatement, identity: ObjectIdentity, *, equipment: Equipment
) -> Dataset:
    """Build a document on objects, whose headers these are; SourceUnusable where the builder cannot refer to them."""
    # Loaded when the first document is written: few destinations ask for one.
    from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument

    content = KeyObjectSelection(
        document_title=statement.title,
        referenced_objects=named,
        observer_device_context=device_observer(equipment),
        description=statement.description,
    )
    try:
        document: Dataset = KeyObjectSelectionDocument(
            evidence=named,
            content=content,
            series_instance_uid=identity.series_instance_uid,
            series_number=statement.series_number,
            sop_instance_uid=identity.sop_instance_uid,
            instance_number=1,
            manufacturer=equipment.manufacturer,
            series_description=equipment.series_description,
            manufacturer_model_name=equipment.model_name,
            software_versions=equipment.software_version,
            device_serial_number=equipment.device_serial_number,
            contributing_equipment=[contribution(equipment, statement.contributed)],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceUnusable(f"no key object can be written on these objects: {type(error).__name__}") from error
    leave_references_unnamed(document)
    return document


def named_object(dataset: Dataset) -> Dataset:
    """Return a header to refer to an object by; what has rows and columns is referred to as an image."""
    header = reference_header(dataset)
    for keyword in ("Rows", "Columns"):
        if keyword in dataset:
            header.add(dataset[keyword])
    return header
