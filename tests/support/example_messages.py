"""Messages of an invented study, as the documentation shows them."""

from __future__ import annotations

import json
from typing import Any

from dicom_gateway.announcing.fhir_resources import result_resources
from dicom_gateway.announcing.fhir_sender import transaction
from dicom_gateway.announcing.fhir_task import reading_task
from dicom_gateway.announcing.hl7_message import order_message, result_message
from dicom_gateway.announcing.options import FhirOptions, Hl7Options
from tests.support.announced_studies import announcement

_COLUMNS = 150


def hl7_example() -> str:
    """Return the result and the order update, one segment a line."""
    options = Hl7Options(
        sending_facility="CLINIC", receiving_application="RIS", receiving_facility="HOSPITAL", assigning_authority="KIS"
    )
    made = (result_message(announcement(), options), order_message(announcement(), options))
    texts = (str(message).strip().replace("\r", "\n") for message in made)
    return "```\n" + "\n\n".join(texts) + "\n```"


def fhir_example() -> str:
    """Return the transaction for a channel without patient data, in as few lines as can be read."""
    told, options = announcement(patient=None, accession_number=None), FhirOptions()
    resources = result_resources(told, options)
    task = reading_task(told, options, present=None)
    bundle = json.loads(transaction([*resources, task], None).model_dump_json())
    return "```json\n" + _laid_out(bundle, 0) + "\n```"


def _laid_out(value: Any, indent: int) -> str:
    """Return JSON with a line for each part that does not fit on one."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= _COLUMNS or not isinstance(value, dict | list):
        return line
    deeper = " " * (indent + 1)
    if isinstance(value, dict):
        parts = [f"{deeper}{json.dumps(name)}: {_laid_out(one, indent + 1)}" for name, one in value.items()]
        return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(deeper + _laid_out(one, indent + 1) for one in value) + "\n" + " " * indent + "]"
