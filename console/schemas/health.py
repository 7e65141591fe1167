"""Whether the console can serve."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from console.record_schema import RecordSchema
from console.views import AliveProcesses


def _alive_by_kind(seen: tuple[AliveProcesses, ...]) -> dict[str, int]:
    return {one.kind: one.alive for one in seen}


class HealthForm(RecordSchema):
    """Whether the console can serve, and how many processes of each kind were at work lately."""

    database: bool
    complete: bool = Field(validation_alias="is_complete")
    processes: Annotated[dict[str, int], BeforeValidator(_alive_by_kind)]
