"""What an announcement says, read from the record: the result that leads, its findings, and where they are found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicom_gateway.announcing.announcement import AnnouncedFinding, AnnouncedObject, Announcement
from storage import analyses
from storage.announcing.claims import ClaimedAnnouncement
from storage.care_settings import CareSetting
from storage.domain import Finding
from storage.models import InstanceRow, JobRow, StudyRow
from storage.result_tables import AnalysisRow, ResultObjectRow
from storage.triage.case import Case


def announcement(session: Session, claimed: ClaimedAnnouncement, *, console_url: str | None) -> Announcement:
    """Return what a claimed announcement tells, without anything that names a patient.

    To be read in the transaction of the claim: later, the result may be another one. Its time is that of its opening,
    so a repeat says the same.
    """
    study = session.get_one(StudyRow, claimed.study_id)
    row = None if claimed.job_id is None else session.get_one(AnalysisRow, claimed.job_id)
    return Announcement(
        key=claimed.key,
        level=claimed.level,
        study_instance_uid=claimed.study_instance_uid,
        revision=claimed.revision,
        route="" if row is None else session.get_one(JobRow, row.job_id).route,
        priority=claimed.priority,
        previous=claimed.previous,
        rule="" if row is None else row.rule,
        policy_sha256="" if row is None else row.policy_sha256,
        algorithm="" if row is None else f"{row.algorithm_name} {row.algorithm_version}",
        arrived_at=_arrived_at(session, study, claimed.revision),
        analysed_at=claimed.opened_at if row is None else row.analysed_at,
        announced_at=claimed.opened_at,
        findings=() if row is None else tuple(map(_finding, analyses.findings_of(session, row.job_id))),
        objects=() if row is None else _objects(session, row.job_id),
        modalities=_modalities(session, study.id),
        setting=None if row is None else _setting(row.policy_inputs),
        study_date=_date(study.study_date),
        page=None if console_url is None else f"{console_url.rstrip('/')}/studies/{study.id}",
    )


def _finding(finding: Finding) -> AnnouncedFinding:
    return AnnouncedFinding(
        number=finding.number,
        concept=finding.concept,
        presence=finding.presence,
        confidence=finding.confidence,
        volume_ml=finding.volume_ml,
        longest_diameter_mm=finding.longest_diameter_mm,
        tracking_uid=finding.tracking_uid,
        label=finding.label,
    )


def _objects(session: Session, job_id: int) -> tuple[AnnouncedObject, ...]:
    """Return the objects of a result that may have left: none with a flaw, none that retention deleted."""
    query = select(ResultObjectRow).where(
        ResultObjectRow.job_id == job_id, ResultObjectRow.flaw.is_(None), ResultObjectRow.deleted_at.is_(None)
    )
    return tuple(
        AnnouncedObject(row.sop_class_uid, row.sop_instance_uid, row.series_instance_uid)
        for row in session.scalars(query.order_by(ResultObjectRow.id))
    )


def _modalities(session: Session, study_id: int) -> tuple[str, ...]:
    query = select(InstanceRow.modality).where(InstanceRow.study_id == study_id, InstanceRow.current).distinct()
    found: Sequence[str] = session.scalars(query).all()
    return tuple(sorted(modality for modality in found if modality))


def _setting(inputs: str) -> CareSetting | None:
    """Return the setting that a decision looked at; None where inputs of another version do not say."""
    try:
        return Case.of_inputs(inputs).circumstances.setting
    except (ValueError, KeyError, TypeError):
        return None


def _arrived_at(session: Session, study: StudyRow, revision: int) -> datetime:
    """Return when the last image of a revision came."""
    if study.revision == revision:
        return study.last_instance_at
    query = select(func.max(InstanceRow.received_at))
    query = query.where(InstanceRow.study_id == study.id, InstanceRow.revision <= revision)
    return session.scalar(query) or study.last_instance_at


def _date(text: str) -> date | None:
    """Return a date of VR DA (PS3.5 6.2), None where there is none or it is no date."""
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a day of the calendar has no zone
    except ValueError:
        return None
