"""What one job found, and what policies make of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasPath, BeforeValidator, Field, ValidationInfo, field_validator

from console.picture_paths import overlay_path, panel_path
from console.record_schema import RecordSchema
from console.result_words import named_version
from console.schemas.findings import FindingForm, StructureForm
from console.schemas.panels import PanelForm
from storage.domain import Priority, StageTiming


def _seconds(timings: tuple[StageTiming, ...]) -> dict[str, float]:
    return {timing.stage: timing.seconds for timing in timings}


class ShadowForm(RecordSchema):
    """What a policy on trial said of a result; the name is the one that it has now."""

    policy: str = Field(validation_alias="policy_name")
    policy_sha256: str
    priority: Priority
    rule: str


class ResultForm(RecordSchema):
    """What one job found, by which code, weights and rule, and how long each stage took.

    ``findings`` is empty where a model draws organs alone, which are the ``structures``.
    ``policy`` is empty where the policy is not on record; ``shadows`` are what others, on trial, said.
    ``overlays`` and the panels' ``picture`` are addresses of this server. ``withheld`` says why it is not sent;
    ``superseded_by`` is the job whose result took its place, null where its route no longer applies.
    """

    job_id: int
    route: str
    revision: int
    algorithm: Annotated[str, BeforeValidator(named_version)]
    weights_sha256: str = Field(validation_alias=AliasPath("algorithm", "weights_sha256"))
    case_score: float
    out_of_distribution: float | None
    unlike_training: bool = Field(validation_alias="is_unfamiliar")
    priority: Priority = Field(validation_alias=AliasPath("decision", "priority"))
    rule: str = Field(validation_alias=AliasPath("decision", "rule"))
    policy: str = Field(validation_alias=AliasPath("decision", "policy_name"))
    policy_sha256: str = Field(validation_alias=AliasPath("decision", "policy_sha256"))
    shadows: list[ShadowForm] = Field(default_factory=list)
    findings: list[FindingForm]
    seconds: Annotated[dict[str, float], BeforeValidator(_seconds)] = Field(validation_alias="timings")
    overlays: list[str]
    panels: list[PanelForm] = Field(validation_alias=AliasPath("explanation", "panels"), default_factory=list)
    left_out: list[str] = Field(validation_alias="notes")
    withheld: str | None
    superseded: bool = Field(validation_alias="is_superseded")
    superseded_by: int | None
    structures: list[StructureForm] = Field(default_factory=list)

    @field_validator("overlays")
    @classmethod
    def _address_overlays(cls, digests: list[str], info: ValidationInfo) -> list[str]:
        return [overlay_path(info.data["job_id"], digest) for digest in digests]

    @field_validator("panels")
    @classmethod
    def _address_panels(cls, panels: list[PanelForm], info: ValidationInfo) -> list[PanelForm]:
        job_id = info.data["job_id"]
        return [panel.model_copy(update={"picture": panel_path(job_id, panel.picture)}) for panel in panels]
