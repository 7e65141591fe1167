"""Our item of the Contributing Equipment Sequence (PS3.3 C.12.1)."""

from __future__ import annotations

from highdicom import ContributingEquipment

from dicom_gateway.objects.codes import PROCESSING_EQUIPMENT
from dicom_gateway.objects.equipment import Equipment

FOUND_LESIONS = "Detected, segmented and classified lesions automatically"
TOLD = "Told that the study was not analysed"
TOOK_BACK = "Took back results of its own"


def contribution(equipment: Equipment, what: str = FOUND_LESIONS) -> ContributingEquipment:
    """Say which equipment made an object, and by doing what."""
    return ContributingEquipment(
        manufacturer=equipment.manufacturer,
        purpose_of_reference=PROCESSING_EQUIPMENT,
        manufacturer_model_name=equipment.model_name,
        software_versions=equipment.software_version,
        device_serial_number=equipment.device_serial_number,
        contribution_description=what,
    )
