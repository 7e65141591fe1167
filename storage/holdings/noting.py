"""What comes and goes is noted for search: found at once by what the database knows, and due to have headers read.

Callers have taken the study. Whoever reads headers takes it too, and strikes the note only where nothing is left to
read, so a note that is there already need not be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from storage.domain import StoredInstance
from storage.holdings import held
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow, ObjectHeaderRow
from storage.models import InstanceRow, Model, StudyRow
from storage.result_tables import ResultObjectRow

_NOTHING_READ = "{}"


def note_received(session: Session, study: StudyRow, instances: Iterable[StoredInstance]) -> None:
    """Note that instances of a study were received."""
    _note_study(session, study)
    series = {instance.series_instance_uid: instance.modality for instance in instances}
    _add(session, HeldSeriesRow, [_series(study.id, uid, modality) for uid, modality in series.items()])


def note_written(session: Session, study: StudyRow, series_instance_uid: str) -> None:
    """Note that an object of a study was written."""
    _note_study(session, study)
    _add(session, HeldSeriesRow, [_series(study.id, series_instance_uid, "", written=True)])


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
    insert = _insert(session)(HeldStudyRow)
    due = insert.on_conflict_do_update(index_elements=["study_id"], set_={"is_due": True}, where=~HeldStudyRow.is_due)
    session.execute(due, _study(study))


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


def _add(session: Session, row: type[Model], values: list[Mapping[str, Any]]) -> None:
    """Add rows unless they are there."""
    if values:
        session.execute(_insert(session)(row).on_conflict_do_nothing(), values)


def _insert(session: Session) -> Callable[[type[Model]], postgresql.Insert | sqlite.Insert]:
    return postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
