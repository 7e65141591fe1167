"""Which objects count as held: files that are kept, of the current version of an instance and of results that hold."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from storage.models import InstanceRow
from storage.result_tables import AnalysisRow, ResultObjectRow


def is_received() -> ColumnElement[bool]:
    """Return the condition of a row of ``instances`` that is the current version, and whose file is kept."""
    return and_(InstanceRow.current, InstanceRow.deleted_at.is_(None))


def is_written() -> ColumnElement[bool]:
    """Return the condition of a row of ``result_objects`` that is sound, kept, and of a result that holds."""
    superseded = select(AnalysisRow.job_id).where(
        AnalysisRow.job_id == ResultObjectRow.job_id, AnalysisRow.superseded_at.is_not(None)
    )
    return and_(ResultObjectRow.flaw.is_(None), ResultObjectRow.deleted_at.is_(None), ~superseded.exists())


def any_of_study(study_id: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    """Return the condition that anything of a study is held."""
    return or_(
        any_row(select(InstanceRow.id).where(InstanceRow.study_id == study_id, is_received())),
        any_row(select(ResultObjectRow.id).where(ResultObjectRow.study_id == study_id, is_written())),
    )


def any_of_series(
    study_id: InstrumentedAttribute[int], series_instance_uid: InstrumentedAttribute[str]
) -> ColumnElement[bool]:
    """Return the condition that anything of a series is held."""
    received = (InstanceRow.study_id == study_id, InstanceRow.series_instance_uid == series_instance_uid)
    written = (ResultObjectRow.study_id == study_id, ResultObjectRow.series_instance_uid == series_instance_uid)
    return or_(
        any_row(select(InstanceRow.id).where(*received, is_received())),
        any_row(select(ResultObjectRow.id).where(*written, is_written())),
    )


def any_row(query: Select[int]) -> ColumnElement[bool]:
    """Return the condition that a query that refers to the row finds one.

    PostgreSQL would make a table of everything for an EXISTS beside another one; so it asks row by row.
    """
    return query.limit(1).scalar_subquery().is_not(None)
