"""The result that growth is measured against: the newest earlier one of the same patient and route."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.domain import Presence
from storage.models import JobRow, StudyRow
from storage.result_tables import AnalysisRow, FindingRow
from storage.triage.case import Earlier, total_ml
from storage.volumes import Extent


@dataclass(frozen=True, slots=True)
class _Candidate:
    job_id: int
    study_date: str


def earlier_result(session: Session, study_id: int, route: str) -> Earlier | None:
    """Return the newest result of the patient and route that holds, was not withheld, and was acquired before a study.

    Studies are told apart by Study Date (0008,0020), those of one day by their arrival. None where there is no such
    result, or the study names no patient or no date.
    """
    study = session.get_one(StudyRow, study_id)
    acquired = _date(study.study_date)
    if not study.patient_id or acquired is None:
        return None
    found = _newest(session, study, route)
    if found is None:
        return None
    before = _date(found.study_date)
    return Earlier(found.job_id, _volume_ml(session, found.job_id), (acquired - before).days if before else 0)


def _newest(session: Session, study: StudyRow, route: str) -> _Candidate | None:
    same_day = (StudyRow.study_date == study.study_date) & (StudyRow.opened_at < study.opened_at)
    query = (
        select(AnalysisRow.job_id, StudyRow.study_date)
        .join(JobRow, JobRow.id == AnalysisRow.job_id)
        .join(StudyRow, StudyRow.id == JobRow.study_id)
        .where(
            StudyRow.patient_id == study.patient_id,
            StudyRow.id != study.id,
            StudyRow.study_date != "",
            (StudyRow.study_date < study.study_date) | same_day,
            JobRow.route == route,
            AnalysisRow.superseded_at.is_(None),
            AnalysisRow.withheld.is_(None),
        )
        .order_by(StudyRow.study_date.desc(), StudyRow.opened_at.desc(), AnalysisRow.job_id.desc())
    )
    rows = session.execute(query.limit(1)).all()
    return _Candidate(*rows[0]) if rows else None


def _volume_ml(session: Session, job_id: int) -> float | None:
    """Return all lesions of a result together, 0 where none was there; None where it does not speak of their volume."""
    query = select(FindingRow.presence, FindingRow.volume_ml, FindingRow.extent).where(
        FindingRow.job_id == job_id, FindingRow.presence != Presence.ASSESSED.value
    )
    rows = session.execute(query).all()
    if not rows:
        return None
    return total_ml(
        volume if extent == Extent.VOLUME.value else None
        for presence, volume, extent in rows
        if presence == Presence.PRESENT.value
    )


def _date(text: str) -> date | None:
    """Return a date as DICOM writes it (VR DA, PS3.5 6.2), None for what is none."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 else None  # noqa: PLR2004 - a DA has 8
    except ValueError:
        return None
