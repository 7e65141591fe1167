"""The row of a study is the lock of everything that belongs to it: its images, jobs, results, objects and deliveries.

Whoever changes any of that takes the row first, and reads what it decides by afterwards. Whoever needs several waits
for them in the order of their UIDs, or passes over those that somebody else has. SQLite's writers queue anyway.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from storage.delivery_tables import DeliveryRow
from storage.models import JobRow, StudyRow
from storage.result_tables import ResultObjectRow


def take(session: Session, study_id: int) -> StudyRow | None:
    """Wait until nobody else changes a study, and return it as it stands then; None where there is none.

    The lock is held until the end of the transaction; to take it twice costs a query.
    """
    return session.scalars(_locked(StudyRow.id == study_id)).one_or_none()


def take_named(session: Session, study_instance_uid: str) -> StudyRow | None:
    """Take the study of a UID as ``take`` does."""
    return session.scalars(_locked(StudyRow.study_instance_uid == study_instance_uid)).one_or_none()


def take_of_job(session: Session, job_id: int) -> StudyRow | None:
    """Take the study of a job as ``take`` does; None where there is no such job."""
    study_id = select(JobRow.study_id).where(JobRow.id == job_id).scalar_subquery()
    return session.scalars(_locked(StudyRow.id == study_id)).one_or_none()


def take_of_delivery(session: Session, delivery_id: int) -> StudyRow | None:
    """Take the study of a delivery as ``take`` does; None where there is no such delivery."""
    study_id = (
        select(ResultObjectRow.study_id)
        .join(DeliveryRow, DeliveryRow.object_id == ResultObjectRow.id)
        .where(DeliveryRow.id == delivery_id)
        .scalar_subquery()
    )
    return session.scalars(_locked(StudyRow.id == study_id)).one_or_none()


def take_all(session: Session, study_ids: Select[int]) -> Collection[int]:
    """Wait for every study that a query names, and return their numbers."""
    query = _locked(StudyRow.id.in_(study_ids)).order_by(StudyRow.study_instance_uid)
    return [study.id for study in session.scalars(query)]


def take_free(session: Session, study_ids: Select[int]) -> Collection[int]:
    """Take those studies that a query names and nobody else has at this moment, and return their numbers."""
    query = select(StudyRow).where(StudyRow.id.in_(study_ids)).order_by(StudyRow.study_instance_uid)
    query = query.with_for_update(key_share=True, skip_locked=True).execution_options(populate_existing=True)
    return [study.id for study in session.scalars(query)]


def _locked(condition: ColumnElement[bool]) -> Select[StudyRow]:
    # NO KEY UPDATE: a row that refers to the study by its number, which never changes, need not wait.
    query = select(StudyRow).where(condition)
    return query.with_for_update(key_share=True).execution_options(populate_existing=True)
