"""Everything on record of one study, read in one go: its jobs, newest result, objects, deliveries and history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import analyses, deliveries, jobs, reports, worklist
from storage.audit import AuditEvent
from storage.deliveries import Delivery, WrittenObject
from storage.domain import Algorithm, Finding, ReportState, StageTiming, TriageDecision, is_unfamiliar
from storage.explanations import KeptExplanation
from storage.models import AnalysisRow, AuditEventRow, DeliveryRow, JobRow, ReportRow, ResultObjectRow


@dataclass(frozen=True, slots=True)
class Result:
    """What one job found, without the voxels; ``report_code`` says why its DICOM objects could not be written."""

    job_id: int
    revision: int
    series_instance_uid: str
    algorithm: Algorithm
    classifier: Algorithm | None
    case_score: float
    out_of_distribution: float
    findings: tuple[Finding, ...]
    decision: TriageDecision
    timings: tuple[StageTiming, ...]
    overlays: tuple[str, ...]
    notes: tuple[str, ...]
    analysed_at: datetime
    report_state: ReportState
    report_code: str | None
    explanation: KeptExplanation | None

    @property
    def is_unfamiliar(self) -> bool:
        """Whether the input is unlike what the analyser was trained on."""
        return is_unfamiliar(self.out_of_distribution)


@dataclass(frozen=True, slots=True)
class Dossier:
    """One study with all that happened to it; jobs newest first, events in the order of the chain."""

    entry: worklist.StudyEntry
    jobs: tuple[jobs.Job, ...]
    result: Result | None
    objects: tuple[WrittenObject, ...]
    deliveries: tuple[Delivery, ...]
    events: tuple[AuditEvent, ...]


def read(session: Session, study_id: int, *, events: int = 200) -> Dossier:
    """Return a study's record with its latest ``events``; RecordMissing where there is no such study."""
    entry = worklist.find(session, study_id)
    found = tuple(jobs.find(session, job_id) for job_id in _job_ids(session, study_id))
    result = _newest_result(session, [job.id for job in found])
    return Dossier(
        entry=entry,
        jobs=found,
        result=result,
        objects=reports.objects_of(session, result.job_id) if result else (),
        deliveries=_deliveries(session, [job.id for job in found]),
        events=_events(session, entry.study_instance_uid, [job.id for job in found], limit=events),
    )


def result_of(session: Session, job_id: int) -> Result | None:
    """Return what one job found, or None where it has found nothing yet."""
    return _newest_result(session, [job_id])


def _job_ids(session: Session, study_id: int) -> Sequence[int]:
    return session.scalars(select(JobRow.id).where(JobRow.study_id == study_id).order_by(JobRow.id.desc())).all()


def _newest_result(session: Session, job_ids: Sequence[int]) -> Result | None:
    query = (
        select(AnalysisRow, JobRow.revision, ReportRow)
        .join(JobRow, JobRow.id == AnalysisRow.job_id)
        .join(ReportRow, ReportRow.job_id == AnalysisRow.job_id)
        .where(AnalysisRow.job_id.in_(job_ids))
        .order_by(JobRow.revision.desc())
        .limit(1)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        return None
    row, revision, report = found
    return Result(
        job_id=row.job_id,
        revision=revision,
        series_instance_uid=row.series_instance_uid,
        algorithm=Algorithm(row.algorithm_name, row.algorithm_version, row.weights_sha256, row.parameters),
        classifier=analyses.classifier_of(row),
        case_score=row.case_score,
        out_of_distribution=row.out_of_distribution,
        findings=analyses.findings_of(session, row.job_id),
        decision=analyses.decision_of(row),
        timings=tuple(StageTiming(**entry) for entry in json.loads(row.timings)),
        overlays=tuple(json.loads(row.overlays)),
        notes=tuple(json.loads(row.notes)),
        analysed_at=row.analysed_at,
        report_state=ReportState(report.state),
        report_code=report.code,
        explanation=analyses.explanation_of(session, row.job_id),
    )


def _deliveries(session: Session, job_ids: Sequence[int]) -> tuple[Delivery, ...]:
    query = (
        select(DeliveryRow.id)
        .join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
        .where(ResultObjectRow.job_id.in_(job_ids))
        .order_by(DeliveryRow.id.desc())
    )
    return deliveries.chosen(session, session.scalars(query).all())[::-1]


def _events(session: Session, uid: str, job_ids: Sequence[int], *, limit: int) -> tuple[AuditEvent, ...]:
    """Return the events of the study, its jobs and the objects written for it."""
    written = session.scalars(select(ResultObjectRow.sop_instance_uid).where(ResultObjectRow.job_id.in_(job_ids)))
    subjects = [f"study/{uid}", *(f"job/{job_id}" for job_id in job_ids), *(f"instance/{item}" for item in written)]
    query = (
        select(AuditEventRow).where(AuditEventRow.subject.in_(subjects)).order_by(AuditEventRow.seq.desc()).limit(limit)
    )
    return tuple(
        AuditEvent(row.seq, row.at, row.tag, row.subject, row.actor, row.details, row.previous_hash, row.hash)
        for row in session.scalars(query)
    )[::-1]
