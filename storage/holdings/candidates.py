"""Queries for the rows of patients, studies and series that meet what is asked, in the order of answers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.holdings import held
from storage.holdings.keys import Conditions
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow
from storage.models import InstanceRow
from storage.result_tables import ResultObjectRow

NEWEST_FIRST = (HeldStudyRow.study_date.desc(), HeldStudyRow.study_id.desc())
_NOBODY = case((HeldStudyRow.patient_id == "", HeldStudyRow.folded_name), else_="")
"""What tells patients without an ID apart."""


def patients(asked: Conditions) -> Select[int]:
    """Return the query for the newest study of each patient, by patient."""
    return (
        select(func.max(HeldStudyRow.study_id))
        .where(*of_studies(asked), held.any_of_study(HeldStudyRow.study_id))
        .group_by(HeldStudyRow.patient_id, _NOBODY)
        .order_by(HeldStudyRow.patient_id, _NOBODY)
    )


def studies(asked: Conditions) -> Select[HeldStudyRow]:
    """Return the query for studies, the newest first."""
    return select(HeldStudyRow).where(*of_studies(asked)).order_by(*NEWEST_FIRST)


def series(asked: Conditions) -> Select[HeldSeriesRow]:
    """Return the query for series, those of the newest study first, by number."""
    return (
        select(HeldSeriesRow)
        .join(HeldStudyRow, HeldStudyRow.study_id == HeldSeriesRow.study_id)
        .where(*of_studies(asked), *asked.series)
        .order_by(*NEWEST_FIRST, HeldSeriesRow.series_number.nulls_last(), HeldSeriesRow.series_instance_uid)
    )


def of_studies(asked: Conditions) -> tuple[ColumnElement[bool], ...]:
    """Return what rows of studies must meet; ``still_held`` says of a page which of them holds anything."""
    return (*asked.studies, *_contents(asked))


def still_held(session: Session, study_ids: Collection[int]) -> frozenset[int]:
    """Return those of some studies of which anything is held: a row may outlive its files by a moment."""
    query = select(HeldStudyRow.study_id).where(HeldStudyRow.study_id.in_(study_ids))
    return frozenset(session.scalars(query.where(held.any_of_study(HeldStudyRow.study_id))))


def series_still_held(session: Session, study_ids: Collection[int]) -> frozenset[tuple[int, str]]:
    """Return the series of some studies of which anything is held, by study and UID."""
    query = select(HeldSeriesRow.study_id, HeldSeriesRow.series_instance_uid)
    is_held = held.any_of_series(HeldSeriesRow.study_id, HeldSeriesRow.series_instance_uid)
    rows = session.execute(query.where(HeldSeriesRow.study_id.in_(study_ids), is_held))
    return frozenset((study_id, uid) for study_id, uid in rows)


def _contents(asked: Conditions) -> Iterator[ColumnElement[bool]]:
    if asked.modalities is not None:
        of_study = HeldSeriesRow.study_id == HeldStudyRow.study_id
        yield exists(select(HeldSeriesRow.study_id).where(of_study, asked.modalities).correlate(HeldStudyRow))
    if asked.sop_classes:
        received = and_(InstanceRow.sop_class_uid.in_(asked.sop_classes), held.is_received())
        written = and_(ResultObjectRow.sop_class_uid.in_(asked.sop_classes), held.is_written())
        yield or_(
            _any_row(InstanceRow, received, InstanceRow.study_id),
            _any_row(ResultObjectRow, written, ResultObjectRow.study_id),
        )


def _any_row(
    row: type[Any], condition: ColumnElement[bool], study_id: InstrumentedAttribute[int]
) -> ColumnElement[bool]:
    return held.any_row(select(row.id).where(study_id == HeldStudyRow.study_id, condition))
