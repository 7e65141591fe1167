"""What comes and goes is noted for search: found at once by what the database knows, and due to have headers read.

Callers have taken the study. Whoever reads headers takes it too, and strikes the note only where nothing is left to
read, so a note that is there already need not be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Insert, Table, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from storage.domain import StoredInstance
from storage.holdings import held
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow, ObjectHeaderRow
from storage.models import InstanceRow, StudyRow
from storage.result_tables import ResultObjectRow

_STUDIES, _SERIES = cast("Table", HeldStudyRow.__table__), cast("Table", HeldSeriesRow.__table__)
_NOTHING_READ = "{}"


def note_received(session: Session, study: StudyRow, instances: Iterable[StoredInstance]) -> None:
    """Note that instances of a study were received."""
    _note_study(session, study)
    series = {instance.series_instance_uid: instance.modality for instance in instances}
    rows = [_series(study.id, uid, modality) for uid, modality in series.items()]
    session.execute(_new_series(_dialect(session)), rows)


def note_written(session: Session, study: StudyRow, series_instance_uid: str) -> None:
    """Note that an object of a study was written."""
    _note_study(session, study)
    session.execute(_new_series(_dialect(session)), _series(study.id, series_instance_uid, "", written=True))


def note_deleted(session: Session, study_id: int) -> None:
    """Forget what is known of objects of a study that are held no longer; all of it where nothing is held."""
    forget_gone(session, study_id)
    remaining = select(HeldStudyRow.study_id).where(
        HeldStudyRow.study_id == study_id, held.any_of_study(HeldStudyRow.study_id)
    )
    if session.scalar(remaining) is None:
        session.execute(delete(HeldStudyRow).where(HeldStudyRow.study_id == study_id))
        return
    # What it says of the patient may come from an object that went.
    note_changed(session, study_id)


def note_changed(session: Session, study_id: int) -> None:
    """Note that something of a study is held no longer, or again."""
    row = update(HeldStudyRow).where(HeldStudyRow.study_id == study_id, ~HeldStudyRow.is_due)
    session.execute(row.values(is_due=True))


def forget_gone(session: Session, study_id: int) -> None:
    """Delete the rows of series and headers of a study that nothing held belongs to."""
    received = select(InstanceRow.digest).where(InstanceRow.study_id == study_id, held.is_received())
    written = select(ResultObjectRow.digest).where(ResultObjectRow.study_id == study_id, held.is_written())
    gone = ObjectHeaderRow.digest.not_in(received) & ObjectHeaderRow.digest.not_in(written)
    session.execute(delete(ObjectHeaderRow).where(ObjectHeaderRow.study_id == study_id, gone))
    received = select(InstanceRow.series_instance_uid).where(InstanceRow.study_id == study_id, held.is_received())
    written = select(ResultObjectRow.series_instance_uid).where(ResultObjectRow.study_id == study_id, held.is_written())
    is_held = or_(HeldSeriesRow.series_instance_uid.in_(received), HeldSeriesRow.series_instance_uid.in_(written))
    session.execute(delete(HeldSeriesRow).where(HeldSeriesRow.study_id == study_id, ~is_held))


def _note_study(session: Session, study: StudyRow) -> None:
    session.execute(_due_study(_dialect(session)), _study(study))


@lru_cache(maxsize=2)
def _due_study(dialect: str) -> Insert:
    """Return the statement that adds a study, or notes that it is due; made once, for every batch passes here."""
    insert = _insert(dialect)(_STUDIES)
    return insert.on_conflict_do_update(
        index_elements=[_STUDIES.c.study_id], set_={"is_due": True}, where=~_STUDIES.c.is_due
    )


@lru_cache(maxsize=2)
def _new_series(dialect: str) -> Insert:
    """Return the statement that adds series unless they are there."""
    return _insert(dialect)(_SERIES).on_conflict_do_nothing()


def _study(study: StudyRow) -> dict[str, Any]:
    unread = ("folded_name", "ideographic_name", "phonetic_name", "birth_date", "sex", "study_time", "study_number")
    return {
        **dict.fromkeys((*unread, "folded_referrer"), ""),
        "study_id": study.id,
        "study_instance_uid": study.study_instance_uid,
        "patient_id": study.patient_id,
        "study_date": study.study_date,
        "accession_number": study.accession_number,
        "description": study.study_description,
        "attributes": _NOTHING_READ,
        "is_due": True,
    }


def _series(study_id: int, series_instance_uid: str, modality: str, *, written: bool = False) -> dict[str, Any]:
    unread = ("description", "body_part", "series_date", "series_time", "performed_date", "performed_time")
    return {
        **dict.fromkeys(unread, ""),
        "study_id": study_id,
        "series_instance_uid": series_instance_uid,
        "modality": modality,
        "series_number": None,
        "written": written,
        "attributes": _NOTHING_READ,
    }


def _dialect(session: Session) -> str:
    return session.get_bind().dialect.name


def _insert(dialect: str) -> Callable[[Table], postgresql.Insert | sqlite.Insert]:
    return postgresql.insert if dialect == "postgresql" else sqlite.insert
