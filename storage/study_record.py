"""Everything on record of one study, read in one go: its jobs, results, objects, deliveries and history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import analyses, deletions, delivery_lists, job_lists, kept_studies, reports, worklist
from storage.announcing import unopened_studies
from storage.announcing.unopened_studies import UrgentStudy
from storage.audit import AuditEvent, event_of
from storage.audit_tables import AuditEventRow
from storage.deletions import Deletion
from storage.delivery_lists import Delivery
from storage.delivery_tables import DeliveryRow
from storage.domain import Algorithm, Finding, StageTiming, Structure, TriageDecision, is_unfamiliar
from storage.explanations import KeptExplanation
from storage.kept_studies import KeptStudy
from storage.models import JobRow
from storage.result_tables import AnalysisRow, ReportRow, ResultObjectRow
from storage.states import ReportState
from storage.triage import policies, shadows
from storage.written_objects import WrittenObject


@dataclass(frozen=True, slots=True)
class Result:
    """What one job found, without the voxels; ``report_code`` says why its DICOM objects could not be written.

    ``withheld`` says why it is not sent. ``superseded_by`` is the job whose result replaced it, None where its route no
    longer applies.
    """

    job_id: int
    route: str
    revision: int
    series_instance_uid: str
    algorithm: Algorithm
    classifier: Algorithm | None
    case_score: float
    out_of_distribution: float | None
    findings: tuple[Finding, ...]
    decision: TriageDecision
    timings: tuple[StageTiming, ...]
    overlays: tuple[str, ...]
    notes: tuple[str, ...]
    analysed_at: datetime
    report_state: ReportState
    report_code: str | None
    explanation: KeptExplanation | None
    withheld: str | None
    superseded_at: datetime | None
    superseded_by: int | None
    structures: tuple[Structure, ...] = ()
    shadows: tuple[TriageDecision, ...] = ()
    """What the policies on trial said of it."""
    pictures_deleted: bool = False
    """Whether retention deleted pictures of it."""

    @property
    def is_superseded(self) -> bool:
        """Whether a later result, or none, took its place."""
        return self.superseded_at is not None

    @property
    def is_unfamiliar(self) -> bool:
        """Whether the input is unlike what the analyser was trained on."""
        return is_unfamiliar(self.out_of_distribution)


@dataclass(frozen=True, slots=True)
class Dossier:
    """One study with all that happened to it; jobs newest first, events in the order of the chain.

    ``results`` are the leading one first, then those of the other routes, then the superseded ones; ``objects`` are
    those of results that still hold.
    """

    entry: worklist.StudyEntry
    jobs: tuple[job_lists.Job, ...]
    results: tuple[Result, ...]
    objects: tuple[WrittenObject, ...]
    deliveries: tuple[Delivery, ...]
    events: tuple[AuditEvent, ...]
    deletions: tuple[Deletion, ...] = ()
    """What retention deleted of it and is not there again."""
    kept: KeptStudy | None = None
    """Who keeps it from every rule."""
    urgent: tuple[UrgentStudy, ...] = ()
    """Every time that it became urgent, the one that stands first."""

    @property
    def result(self) -> Result | None:
        """The leading result: what the worklist shows of the study."""
        return next((result for result in self.results if not result.is_superseded), None)


def read(session: Session, study_id: int, *, events: int = 200) -> Dossier:
    """Return a study's record with its latest ``events``; RecordMissing where there is no such study."""
    entry = worklist.find(session, study_id)
    found = tuple(job_lists.find(session, job_id) for job_id in _job_ids(session, study_id))
    job_ids = [job.id for job in found]
    results = sorted(_results(session, job_ids), key=lambda result: _place(result, entry.leading_job_id))
    valid = [result.job_id for result in results if not result.is_superseded]
    return Dossier(
        entry=entry,
        jobs=found,
        results=tuple(results),
        objects=tuple(written for job_id in valid for written in reports.objects_of(session, job_id)),
        deliveries=_deliveries(session, study_id),
        events=_events(session, entry.study_instance_uid, limit=events),
        deletions=deletions.standing(session, study_id),
        kept=kept_studies.of_studies(session, [study_id]).get(study_id),
        urgent=unopened_studies.of_study(session, study_id),
    )


def _place(result: Result, leading: int | None) -> tuple[bool, bool, str, int]:
    """Return what results are ordered by: valid before superseded, the leading one first, by route, newest first."""
    return result.is_superseded, result.job_id != leading, result.route, -result.job_id


def _job_ids(session: Session, study_id: int) -> Sequence[int]:
    return session.scalars(select(JobRow.id).where(JobRow.study_id == study_id).order_by(JobRow.id.desc())).all()


def _results(session: Session, job_ids: Sequence[int]) -> tuple[Result, ...]:
    query = (
        select(AnalysisRow, JobRow, ReportRow)
        .join(JobRow, JobRow.id == AnalysisRow.job_id)
        .join(ReportRow, ReportRow.job_id == AnalysisRow.job_id)
        .where(AnalysisRow.job_id.in_(job_ids))
    )
    return tuple(_result(session, row, job, report) for row, job, report in session.execute(query))


def _result(session: Session, row: AnalysisRow, job: JobRow, report: ReportRow) -> Result:
    return Result(
        job_id=row.job_id,
        route=job.route,
        revision=job.revision,
        series_instance_uid=row.series_instance_uid,
        algorithm=Algorithm(row.algorithm_name, row.algorithm_version, row.weights_sha256, row.parameters),
        classifier=analyses.classifier_of(row),
        case_score=row.case_score,
        out_of_distribution=row.out_of_distribution,
        findings=analyses.findings_of(session, row.job_id),
        decision=replace(analyses.decision_of(row), policy_name=policies.name_of(session, row.policy_sha256)),
        timings=tuple(StageTiming(**entry) for entry in json.loads(row.timings)),
        overlays=tuple(json.loads(row.overlays)),
        notes=tuple(json.loads(row.notes)),
        analysed_at=row.analysed_at,
        report_state=ReportState(report.state),
        report_code=report.code,
        explanation=analyses.explanation_of(session, row.job_id),
        withheld=row.withheld,
        superseded_at=row.superseded_at,
        superseded_by=row.superseded_by,
        structures=analyses.structures_of(session, row.job_id),
        shadows=shadows.of_job(session, row.job_id),
        pictures_deleted=deletions.lacks_pictures(session, row.job_id),
    )


def _deliveries(session: Session, study_id: int) -> tuple[Delivery, ...]:
    query = (
        select(DeliveryRow.id)
        .join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
        .where(ResultObjectRow.study_id == study_id)
        .order_by(DeliveryRow.id.desc())
    )
    return delivery_lists.chosen(session, session.scalars(query).all())[::-1]


def _events(session: Session, uid: str, *, limit: int) -> tuple[AuditEvent, ...]:
    """Return the latest events that concern the study: its own, its jobs' and those of its objects."""
    query = (
        select(AuditEventRow)
        .where(AuditEventRow.study == uid)
        .order_by(AuditEventRow.at.desc(), AuditEventRow.seq.desc())
        .limit(limit)
    )
    return tuple(event_of(row) for row in session.scalars(query))[::-1]
