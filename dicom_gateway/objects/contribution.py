"""Our item of the Contributing Equipment Sequence (PS3.3 C.12.1)."""

from __future__ import annotations

from highdicom import ContributingEquipment

from dicom_gateway.objects.codes import PROCESSING_EQUIPMENT
from dicom_gateway.objects.equipment import Equipment


def contribution(equipment: Equipment) -> ContributingEquipment:
    """Say which equipment processed the images, and to what end."""
    return ContributingEquipment(
        manufacturer=equipment.manufacturer,
        purpose_of_reference=PROCESSING_EQUIPMENT,
        manufacturer_model_name=equipment.model_name,
        software_versions=equipment.software_version,
        device_serial_number=equipment.device_serial_number,
        contribution_description="Detected, segmented and classified lesions automatically",
    )
