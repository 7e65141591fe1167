"""The device that states what a document says (PS3.16 TID 1002 and TID 1004)."""

from __future__ import annotations

from highdicom.sr import CodedConcept, DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.sr.codedict import codes as standard

from dicom_gateway.objects.equipment import Equipment


def device_observer(equipment: Equipment) -> ObserverContext:
    """Name this equipment as the observer."""
    attributes = DeviceObserverIdentifyingAttributes(
        uid=equipment.device_uid,
        name=equipment.model_name,
        manufacturer_name=equipment.manufacturer,
        model_name=equipment.model_name,
        serial_number=equipment.device_serial_number,
    )
    return ObserverContext(
        observer_type=CodedConcept.from_code(standard.DCM.Device), observer_identifying_attributes=attributes
    )
