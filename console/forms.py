"""What other programs read: the JSON forms of the listings, equal on the command line and in the HTTP API.

Scripts rely on these names. A field may be added to a record of the API, never renamed or taken away.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from console.fewshot.schemas import PredictionForm
from storage.audit import AuditEvent
from storage.deliveries import Delivery
from storage.domain import DeliveryState, Finding, JobState, Lane, ObjectKind, Presence, Priority, StudyState
from storage.explanations import Panel
from storage.jobs import Job
from storage.study_record import Dossier, Result
from storage.worklist import StudyEntry


@dataclass(frozen=True, slots=True)
class StudyForm:
    """One study in ``oncue studies list --json``."""

    study_instance_uid: str
    revision: int
    state: StudyState
    priority: Priority | None
    instances: int
    finding: str | None
    volume_ml: float | None
    confidence: float | None

    @classmethod
    def of(cls, entry: StudyEntry) -> Self:
        """Take over what the list shows of a study."""
        return cls(
            entry.study_instance_uid,
            entry.revision,
            entry.state,
            entry.priority,
            entry.instances,
            entry.finding,
            entry.volume_ml,
            entry.confidence,
        )


@dataclass(frozen=True, slots=True)
class WorklistForm(StudyForm):
    """One study in reading order: the study's form, our number for it, and what else the reader weighs."""

    id: int
    label: str | None
    result_revision: int | None
    job_id: int | None
    code: str | None
    last_instance_at: str

    @classmethod
    def of(cls, entry: StudyEntry) -> Self:
        """Take over what the worklist shows of a study, without the patient."""
        return cls(
            id=entry.id,
            **asdict(StudyForm.of(entry)),
            label=entry.label,
            result_revision=entry.result_revision,
            job_id=entry.job_id,
            code=entry.code,
            last_instance_at=entry.last_instance_at.isoformat(),
        )


@dataclass(frozen=True, slots=True)
class JobForm:
    """One job in ``oncue jobs list --json``."""

    id: int
    study_instance_uid: str
    revision: int
    state: JobState
    attempts: int
    code: str | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Take over what the list shows of a job."""
        return cls(job.id, job.study_instance_uid, job.revision, job.state, job.attempts, job.code)


@dataclass(frozen=True, slots=True)
class JobDetailForm(JobForm):
    """One job in ``oncue jobs show --json``: the list's form, and why and when."""

    reason: str | None
    lane: Lane
    opened_at: str
    started_at: str | None
    finished_at: str | None
    worker: str | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Take over everything known of a job."""
        return cls(
            **asdict(JobForm.of(job)),
            reason=job.reason,
            lane=job.lane,
            opened_at=job.opened_at.isoformat(),
            started_at=job.started_at.isoformat() if job.started_at else None,
            finished_at=job.finished_at.isoformat() if job.finished_at else None,
            worker=job.lease_owner,
        )


@dataclass(frozen=True, slots=True)
class DeliveryForm:
    """One delivery in ``oncue deliveries list --json``; ``status`` is the DIMSE status as a number."""

    sop_instance_uid: str
    kind: ObjectKind
    destination: str
    state: DeliveryState
    status: int | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Take over what the list shows of a delivery."""
        written = delivery.written
        return cls(written.sop_instance_uid, written.kind, delivery.destination, delivery.state, delivery.status)


@dataclass(frozen=True, slots=True)
class EventForm:
    """One event of the audit chain; ``details`` never holds patient data."""

    seq: int
    at: str
    tag: str
    subject: str
    actor: str
    details: dict[str, Any]
    previous_hash: str
    hash: str

    @classmethod
    def of(cls, event: AuditEvent) -> Self:
        """Take over an event with its details unpacked."""
        details = json.loads(event.details)
        return cls(event.seq, event.at, event.tag, event.subject, event.actor, details, event.previous_hash, event.hash)


@dataclass(frozen=True, slots=True)
class FindingForm:
    """One finding of an analysis, with its code and the identifiers that SEG and SR carry."""

    number: int
    presence: Presence
    finding: str
    code: str
    scheme: str
    confidence: float
    volume_ml: float
    longest_diameter_mm: float
    tracking_uid: str
    label: str | None
    label_probability: float | None
    abstained: str | None
    prediction: PredictionForm | None
    """Why: None where no adapter was asked."""

    @classmethod
    def of(cls, finding: Finding) -> Self:
        """Take over a finding."""
        return cls(
            number=finding.number,
            presence=finding.presence,
            finding=finding.concept.meaning,
            code=finding.concept.value,
            scheme=finding.concept.scheme,
            confidence=finding.confidence,
            volume_ml=finding.volume_ml,
            longest_diameter_mm=finding.longest_diameter_mm,
            tracking_uid=finding.tracking_uid,
            label=finding.label,
            label_probability=finding.label_probability,
            abstained=finding.abstained,
            prediction=PredictionForm.model_validate(finding.prediction) if finding.prediction else None,
        )


@dataclass(frozen=True, slots=True)
class PanelForm:
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

    @classmethod
    def of(cls, panel: Panel, *, picture: str) -> Self:
        """Take over a panel; ``picture`` is where its picture is."""
        return cls(**(asdict(panel) | {"picture": picture}))


@dataclass(frozen=True, slots=True)
class ResultForm:
    """What one job found, by which code, weights and rule, and how long each stage took."""

    job_id: int
    revision: int
    algorithm: str
    weights_sha256: str
    case_score: float
    out_of_distribution: float
    unlike_training: bool
    priority: Priority
    rule: str
    policy_sha256: str
    findings: list[FindingForm]
    seconds: dict[str, float]
    overlays: list[str]
    panels: list[PanelForm]
    left_out: list[str]

    @classmethod
    def of(cls, result: Result) -> Self:
        """Take over a result; pictures become addresses of this server."""
        return cls(
            job_id=result.job_id,
            revision=result.revision,
            algorithm=f"{result.algorithm.name} {result.algorithm.version}",
            weights_sha256=result.algorithm.weights_sha256,
            case_score=result.case_score,
            out_of_distribution=result.out_of_distribution,
            unlike_training=result.is_unfamiliar,
            priority=result.decision.priority,
            rule=result.decision.rule,
            policy_sha256=result.decision.policy_sha256,
            findings=[FindingForm.of(finding) for finding in result.findings],
            seconds={timing.stage: timing.seconds for timing in result.timings},
            overlays=[overlay_path(result.job_id, digest) for digest in result.overlays],
            panels=_panels(result),
            left_out=list(result.notes),
        )


@dataclass(frozen=True, slots=True)
class StudyDetailForm:
    """One study with everything on record of it."""

    study: WorklistForm
    jobs: list[JobDetailForm]
    result: ResultForm | None
    deliveries: list[DeliveryForm]
    events: list[EventForm]

    @classmethod
    def of(cls, dossier: Dossier) -> Self:
        """Take over a dossier."""
        return cls(
            study=WorklistForm.of(dossier.entry),
            jobs=[JobDetailForm.of(job) for job in dossier.jobs],
            result=ResultForm.of(dossier.result) if dossier.result else None,
            deliveries=[DeliveryForm.of(delivery) for delivery in dossier.deliveries],
            events=[EventForm.of(event) for event in dossier.events],
        )


def _panels(result: Result) -> list[PanelForm]:
    shown = result.explanation.panels if result.explanation else ()
    return [PanelForm.of(panel, picture=panel_path(result.job_id, panel.picture)) for panel in shown]


def overlay_path(job_id: int, digest: str) -> str:
    """Return the address of an overlay picture."""
    return f"/jobs/{job_id}/overlays/{digest}.png"


def panel_path(job_id: int, digest: str) -> str:
    """Return the address of a finding's panel."""
    return f"/jobs/{job_id}/panels/{digest}.png"
