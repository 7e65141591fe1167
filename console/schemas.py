"""What other programs read: the JSON objects of the listings, equal on the command line and in the HTTP API.

Scripts rely on these names. A field may be added to a record of the API, never renamed or taken away.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasPath, BeforeValidator, Field, Json, ValidationInfo, field_validator

from console.fewshot.schemas import PredictionForm
from console.record_schema import IsoTime, RecordSchema
from console.views import AliveProcesses
from storage.domain import (
    Algorithm,
    DeliveryState,
    JobState,
    Lane,
    ObjectKind,
    Presence,
    Priority,
    StageTiming,
    StudyState,
)
from storage.explanations import Prediction


def named_version(algorithm: Algorithm) -> str:
    """Return name and version of an algorithm."""
    return f"{algorithm.name} {algorithm.version}"


def overlay_path(job_id: int, digest: str) -> str:
    """Return the address of an overlay picture."""
    return f"/jobs/{job_id}/overlays/{digest}.png"


def panel_path(job_id: int, digest: str) -> str:
    """Return the address of a finding's panel."""
    return f"/jobs/{job_id}/panels/{digest}.png"


def _seconds(timings: tuple[StageTiming, ...]) -> dict[str, float]:
    return {timing.stage: timing.seconds for timing in timings}


def _alive_by_kind(seen: tuple[AliveProcesses, ...]) -> dict[str, int]:
    return {one.kind: one.alive for one in seen}


def _prediction(prediction: Prediction | None) -> PredictionForm | None:
    return PredictionForm.model_validate(prediction) if prediction else None


class StudyForm(RecordSchema):
    """One study in ``oncue studies list --json``."""

    study_instance_uid: str
    revision: int
    state: StudyState
    priority: Priority | None
    instances: int
    finding: str | None
    volume_ml: float | None
    confidence: float | None


class WorklistForm(StudyForm):
    """One study in reading order: the study's form, our number for it, and what else the reader weighs; no patient."""

    id: int
    label: str | None
    result_revision: int | None
    job_id: int | None
    code: str | None
    last_instance_at: IsoTime


class JobForm(RecordSchema):
    """One job in ``oncue jobs list --json``."""

    id: int
    study_instance_uid: str
    revision: int
    state: JobState
    attempts: int
    code: str | None


class JobDetailForm(JobForm):
    """One job in ``oncue jobs show --json``: the list's form, and why and when."""

    reason: str | None
    lane: Lane
    opened_at: IsoTime
    started_at: IsoTime | None
    finished_at: IsoTime | None
    worker: str | None = Field(validation_alias="lease_owner")


class DeliveryForm(RecordSchema):
    """One delivery in ``oncue deliveries list --json``; ``status`` is the DIMSE status as a number."""

    sop_instance_uid: str = Field(validation_alias=AliasPath("written", "sop_instance_uid"))
    kind: ObjectKind = Field(validation_alias=AliasPath("written", "kind"))
    destination: str
    state: DeliveryState
    status: int | None


class EventForm(RecordSchema):
    """One event of the audit chain; ``details`` never holds patient data."""

    seq: int
    at: str
    tag: str
    subject: str
    actor: str
    details: Json[dict[str, Any]]
    previous_hash: str
    hash: str


class EventPageForm(RecordSchema):
    """A page of audit events, newest first; ``before`` asks for the next page, and is null on the last one."""

    events: list[EventForm]
    before: int | None


class FindingForm(RecordSchema):
    """One finding of an analysis, with its code and the identifiers that SEG and SR carry."""

    number: int
    presence: Presence
    finding: str = Field(validation_alias=AliasPath("concept", "meaning"))
    code: str = Field(validation_alias=AliasPath("concept", "value"))
    scheme: str = Field(validation_alias=AliasPath("concept", "scheme"))
    confidence: float
    volume_ml: float
    longest_diameter_mm: float
    tracking_uid: str
    label: str | None
    label_probability: float | None
    abstained: str | None
    prediction: Annotated[PredictionForm | None, BeforeValidator(_prediction)]
    """Why the finding has its label; None where no adapter was asked."""


class PanelForm(RecordSchema):
    """The panel of one finding: its picture, and what the maps hold inside and outside the mask, each in 0..1.

    From left to right the picture shows image, attention, pseudo-healthy image, residual and mask of one axial plane;
    ``slice_index`` counts the slices of the series from 0, and is null where they are not axial.
    """

    number: int
    picture: str
    slice_index: int | None
    attention_inside: float
    attention_outside: float
    residual_inside: float
    residual_outside: float


class ResultForm(RecordSchema):
    """What one job found, by which code, weights and rule, and how long each stage took.

    ``overlays`` and the panels' ``picture`` are addresses of this server.
    """

    job_id: int
    revision: int
    algorithm: Annotated[str, BeforeValidator(named_version)]
    weights_sha256: str = Field(validation_alias=AliasPath("algorithm", "weights_sha256"))
    case_score: float
    out_of_distribution: float
    unlike_training: bool = Field(validation_alias="is_unfamiliar")
    priority: Priority = Field(validation_alias=AliasPath("decision", "priority"))
    rule: str = Field(validation_alias=AliasPath("decision", "rule"))
    policy_sha256: str = Field(validation_alias=AliasPath("decision", "policy_sha256"))
    findings: list[FindingForm]
    seconds: Annotated[dict[str, float], BeforeValidator(_seconds)] = Field(validation_alias="timings")
    overlays: list[str]
    panels: list[PanelForm] = Field(validation_alias=AliasPath("explanation", "panels"), default_factory=list)
    left_out: list[str] = Field(validation_alias="notes")

    @field_validator("overlays")
    @classmethod
    def _address_overlays(cls, digests: list[str], info: ValidationInfo) -> list[str]:
        return [overlay_path(info.data["job_id"], digest) for digest in digests]

    @field_validator("panels")
    @classmethod
    def _address_panels(cls, panels: list[PanelForm], info: ValidationInfo) -> list[PanelForm]:
        job_id = info.data["job_id"]
        return [panel.model_copy(update={"picture": panel_path(job_id, panel.picture)}) for panel in panels]


class StudyDetailForm(RecordSchema):
    """One study with everything on record of it."""

    study: WorklistForm = Field(validation_alias="entry")
    jobs: list[JobDetailForm]
    result: ResultForm | None
    deliveries: list[DeliveryForm]
    events: list[EventForm]


class HealthForm(RecordSchema):
    """Whether the console can serve, and how many processes of each kind were at work lately."""

    database: bool
    complete: bool = Field(validation_alias="is_complete")
    processes: Annotated[dict[str, int], BeforeValidator(_alive_by_kind)]
