"""What other programs read: the JSON objects of the listings, equal on the command line and in the HTTP API.

Scripts rely on these names. A field may be added to a record of the API, never renamed or taken away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AliasPath, BeforeValidator, Field, Json, ValidationInfo, field_validator

from console.fewshot.schemas import PredictionForm
from console.record_schema import IsoTime, RecordSchema
from console.retention_forms import DeletionForm, KeptStudyForm
from console.urgent.schemas import UrgentStudyForm
from console.views import AliveProcesses
from storage.domain import Algorithm, Lane, ObjectKind, Presence, Priority, Site, StageTiming
from storage.explanations import Prediction
from storage.states import DeliveryState, JobState, ProofState, StudyState
from storage.volumes import Extent

_MEASURES: Mapping[Extent, tuple[str, ...]] = {
    Extent.VOLUME: ("volume_ml", "longest_diameter_mm"),
    Extent.AREA: ("area_mm2", "longest_diameter_mm"),
    Extent.UNKNOWN: (),
}

_WITHHELD: Mapping[str, str] = {
    "unlike_training_data": "unlike the training data",
    "nothing_drawn": "no organ was drawn, and no lesion was looked for",
}


def measures_of(extent: Extent) -> tuple[str, ...]:
    """Return the measures of a finding that mean anything, by what is known of its image's size."""
    return _MEASURES[extent]


def named_site(site: Site | None) -> str:
    """Return in words where in the body something lies; an empty text where nobody says."""
    if site is None:
        return ""
    side = f", {site.laterality.meaning.lower()}" if site.laterality else ""
    return f"{site.concept.meaning}{side}"


def why_not_sent(withheld: str | None) -> str:
    """Return in words why a result is kept and not sent; an empty text where it is sent."""
    return f"not sent: {_WITHHELD.get(withheld, withheld)}" if withheld else ""


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


class RouteResultForm(RecordSchema):
    """What one route's analysis of a study came to so far, in ``oncue studies list --json``.

    ``state`` and ``code`` are its job's. The result's values are null where there is none; ``volume_ml`` also where the
    images tell no volumes.
    """

    route: str
    state: JobState
    code: str | None
    finding: str | None
    volume_ml: float | None
    confidence: float | None
    priority: Priority | None


class RouteResultDetailForm(RouteResultForm):
    """The same for the worklist and the API; ``withheld`` says why the result is not sent."""

    label: str | None
    withheld: str | None
    out_of_distribution: float | None
    job_id: int
    result_job_id: int | None
    result_revision: int | None


class StudyForm(RecordSchema):
    """One study in ``oncue studies list --json``: the leading result, and what each route came to."""

    study_instance_uid: str
    revision: int
    state: StudyState
    priority: Priority | None
    instances: int
    finding: str | None
    volume_ml: float | None
    confidence: float | None
    analyses: Sequence[RouteResultForm]


class ListedStudyForm(StudyForm):
    """The same with ``cursor``: where the list goes on behind it."""

    cursor: str | None


class WorklistForm(StudyForm):
    """One study in reading order: the study's form, our number for it, and what else the reader weighs; no patient.

    ``reasons`` say of a study that no route wants why each does not apply. ``read_at`` and ``read_by`` say when and by
    whom it was marked as read; ``unread`` is true again where a new result came since. ``waits_for`` is what an open
    study waits for, ``expected_instances`` how many images its source said to hold.
    """

    id: int
    label: str | None
    result_revision: int | None
    job_id: int | None
    code: str | None
    last_instance_at: IsoTime
    analyses: Sequence[RouteResultDetailForm]
    reasons: list[str]
    waits_for: str | None
    expected_instances: int | None
    unread: bool
    read_at: IsoTime | None
    read_by: str | None


class ListedWorklistForm(WorklistForm):
    """The same with ``cursor``: where the list goes on behind it."""

    cursor: str | None


class JobForm(RecordSchema):
    """One job in ``oncue jobs list --json``."""

    id: int
    study_instance_uid: str
    revision: int
    state: JobState
    attempts: int
    code: str | None
    route: str
    pool: str


class ListedJobForm(JobForm):
    """The same with ``cursor``: where the list goes on behind it."""

    cursor: str


class JobDetailForm(JobForm):
    """One job in ``oncue jobs show --json``: the list's form, what it is to do, and why and when.

    ``wanted`` are the Series Instance UIDs that its route wants; none stands for all.
    """

    analyser: str
    routes_sha256: str | None
    wanted: list[str]
    reason: str | None
    lane: Lane
    opened_at: IsoTime
    started_at: IsoTime | None
    finished_at: IsoTime | None
    worker: str | None = Field(validation_alias="lease_owner")


class DeliveryProofForm(RecordSchema):
    """Whether a destination shows that it keeps an object; ``resent`` is how often it was sent anew over that."""

    state: ProofState
    resent: int
    committed_at: IsoTime | None
    code: str | None
    reason: str | None


class DeliveryForm(RecordSchema):
    """One delivery in ``oncue deliveries list --json``; ``status`` is the DIMSE status as a number.

    ``proof`` is None where the destination is not to show anything.
    """

    sop_instance_uid: str = Field(validation_alias=AliasPath("written", "sop_instance_uid"))
    kind: ObjectKind = Field(validation_alias=AliasPath("written", "kind"))
    destination: str
    state: DeliveryState
    status: int | None
    id: int
    attempts: int
    code: str | None
    reason: str | None
    proof: DeliveryProofForm | None


class ListedDeliveryForm(DeliveryForm):
    """The same with ``cursor``: where the list goes on behind it."""

    cursor: str


class DeliveryDetailForm(DeliveryForm):
    """One delivery in ``oncue deliveries show --json``."""

    study_instance_uid: str
    job_id: int | None
    next_attempt_at: IsoTime
    sent_at: IsoTime | None


class EventForm(RecordSchema):
    """One event of the audit trail; ``details`` never holds patient data.

    ``previous_hash`` and ``hash`` are those of the chain that events were once linked in, and empty since.
    """

    seq: int
    at: str
    tag: str
    subject: str
    actor: str
    outcome: str
    study: str | None
    series: str | None
    patient_key: str | None
    route: str | None
    model: str | None
    weights: str | None
    details: Json[dict[str, Any]]
    previous_hash: str
    hash: str


class FindingForm(RecordSchema):
    """One finding of an analysis, with its code and the identifiers that SEG and SR carry.

    ``extent`` says what is known of its size: ``volume`` has volume and diameter, ``area`` has area and diameter,
    ``unknown`` has none; what is not known is null. ``site`` is the organ that it lies in, with its code and its side,
    null where the model does not say.
    """

    number: int
    presence: Presence
    finding: str = Field(validation_alias=AliasPath("concept", "meaning"))
    code: str = Field(validation_alias=AliasPath("concept", "value"))
    scheme: str = Field(validation_alias=AliasPath("concept", "scheme"))
    confidence: float
    extent: Extent
    volume_ml: float | None
    longest_diameter_mm: float | None
    area_mm2: float | None
    tracking_uid: str
    label: str | None
    label_probability: float | None
    abstained: str | None
    prediction: Annotated[PredictionForm | None, BeforeValidator(_prediction)]
    """Why the finding has its label; None where no adapter was asked."""
    site: str | None = Field(default=None, validation_alias=AliasPath("site", "concept", "meaning"))
    site_code: str | None = Field(default=None, validation_alias=AliasPath("site", "concept", "value"))
    laterality: str | None = Field(default=None, validation_alias=AliasPath("site", "laterality", "meaning"))

    @field_validator("volume_ml", "longest_diameter_mm", "area_mm2")
    @classmethod
    def _leave_out_unknown(cls, value: float, info: ValidationInfo) -> float | None:
        return value if info.field_name in measures_of(info.data["extent"]) else None


class StructureForm(RecordSchema):
    """One organ that a model drew, with its code and the identifiers that SEG and SR carry.

    ``volume_ml`` counts the lesions in it, and is null where the images tell no volumes; ``lesions`` are the numbers of
    the findings that lie in it.
    """

    number: int
    name: str
    organ: str = Field(validation_alias=AliasPath("site", "concept", "meaning"))
    code: str = Field(validation_alias=AliasPath("site", "concept", "value"))
    scheme: str = Field(validation_alias=AliasPath("site", "concept", "scheme"))
    laterality: str | None = Field(default=None, validation_alias=AliasPath("site", "laterality", "meaning"))
    volume_ml: float | None
    lesions: list[int]
    tracking_uid: str

    @field_validator("volume_ml")
    @classmethod
    def _leave_out_unknown(cls, value: float) -> float | None:
        return value or None


class TileForm(RecordSchema):
    """One square of a panel's picture."""

    tile: str
    decides: bool | None


class PanelForm(RecordSchema):
    """The panel of one finding: its picture, and what the maps hold inside and outside the mask, each in 0..1.

    From left to right the picture shows the ``tiles`` of one axial plane; ``decides`` says of each whether it took part
    in the decision, null where that was not recorded. ``attention`` is the score where that is a tile; a residual is
    null where none was drawn. ``slice_index`` counts the slices of the series from 0, and is null where they are not
    axial.
    """

    number: int
    picture: str
    slice_index: int | None
    attention_inside: float
    attention_outside: float
    residual_inside: float | None
    residual_outside: float | None
    tiles: list[TileForm]


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


class StudyDetailForm(RecordSchema):
    """One study with everything on record of it; ``result`` is the leading one of ``results``.

    ``deletions`` say what retention deleted of it, ``kept`` who keeps it from that. ``urgent`` holds every time that it
    became STAT or HIGH, the one that stands first.
    """

    study: WorklistForm = Field(validation_alias="entry")
    jobs: list[JobDetailForm]
    result: ResultForm | None
    results: list[ResultForm]
    deliveries: list[DeliveryForm]
    events: list[EventForm]
    deletions: list[DeletionForm]
    kept: KeptStudyForm | None
    urgent: list[UrgentStudyForm]


class HealthForm(RecordSchema):
    """Whether the console can serve, and how many processes of each kind were at work lately."""

    database: bool
    complete: bool = Field(validation_alias="is_complete")
    processes: Annotated[dict[str, int], BeforeValidator(_alive_by_kind)]


class ErrorForm(RecordSchema):
    """Why a request was not answered as asked; ``code`` is stable and safe to script against."""

    code: str
    message: str
