"""Studies that arrived, of which a source may hold earlier ones of the same patient."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.fetching import studies
from storage.models import InstanceRow, StudyRow

_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class ArrivedStudy:
    """A study that arrived; the patient's id is patient data, and is in no log and no event."""

    id: int
    study_instance_uid: str
    patient_id: str
    study_date: str
    modalities: frozenset[str]


def arrived_after(session: Session, study_id: int) -> tuple[ArrivedStudy, ...]:
    """Return the next studies that arrived after one of ours, those without a patient id or fetched as priors too."""
    query = select(StudyRow).where(StudyRow.id > study_id).order_by(StudyRow.id).limit(_AT_ONCE)
    return tuple(_arrived(session, row) for row in session.scalars(query))


def wants_priors(session: Session, study: ArrivedStudy) -> bool:
    """Say whether earlier studies are looked for: not for a study of nobody, and not for one that is a prior itself."""
    return bool(study.patient_id) and not studies.is_prior(session, study.study_instance_uid)


def _arrived(session: Session, row: StudyRow) -> ArrivedStudy:
    modalities = session.scalars(select(InstanceRow.modality).where(InstanceRow.study_id == row.id).distinct())
    return ArrivedStudy(row.id, row.study_instance_uid, row.patient_id, row.study_date, frozenset(modalities))
