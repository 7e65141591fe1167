"""How a record becomes JSON: a schema reads the attributes of the record, each field by its own name or its alias."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

IsoTime = Annotated[str, BeforeValidator(datetime.isoformat)]
"""A time as ISO 8601 text with its offset."""


class RecordSchema(BaseModel):
    """A frozen JSON object that ``model_validate`` fills from the attributes of a record."""

    model_config = ConfigDict(frozen=True, from_attributes=True, json_schema_serialization_defaults_required=True)
