"""Objects that meet what is asked, study by study: a question for many ends where its page does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, Select, exists, select
from sqlalchemy.orm import Session

from storage.holdings import candidates, held
from storage.holdings.answers import HeldImage
from storage.holdings.keys import Conditions
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow, ObjectHeaderRow
from storage.models import InstanceRow
from storage.result_tables import ResultObjectRow

_FIRST_AT_ONCE, _MOST_AT_ONCE = 10, 500
_LAST = 2**31
_Found = Select[int, str, str, str, str, int | None, str, int | None]


def found(session: Session, asked: Conditions) -> Iterator[HeldImage]:
    """Yield objects, those of the newest study first, by the numbers of their series and their own."""
    studies, at, size = _studies(asked), 0, _FIRST_AT_ONCE
    while some := session.scalars(studies.offset(at).limit(size)).all():
        places = {study_id: place for place, study_id in enumerate(some)}
        images = [
            HeldImage(*row)
            for row in (*session.execute(_received(some, asked)), *session.execute(_written(some, asked)))
        ]
        yield from sorted(images, key=lambda image: (places[image.study_id], *_order(image)))
        if len(some) < size:
            return
        at, size = at + size, min(2 * size, _MOST_AT_ONCE)


def _order(image: HeldImage) -> tuple[int, str, int, str]:
    series_number = _LAST if image.series_number is None else image.series_number
    number = _LAST if image.instance_number is None else image.instance_number
    return series_number, image.series_instance_uid, number, image.sop_instance_uid


def _studies(asked: Conditions) -> Select[int]:
    """Return the query for studies that may hold such objects, the newest first."""
    query = select(HeldStudyRow.study_id).where(*candidates.of_studies(asked)).order_by(*candidates.NEWEST_FIRST)
    if asked.series:
        of_study = HeldSeriesRow.study_id == HeldStudyRow.study_id
        query = query.where(
            exists(select(HeldSeriesRow.study_id).where(of_study, *asked.series).correlate(HeldStudyRow))
        )
    if asked.sop_instance_uids and not asked.studies and not asked.series:
        # Nothing else says where to look: headers do, once they were read.
        named = select(ObjectHeaderRow.study_id).where(ObjectHeaderRow.sop_instance_uid.in_(asked.sop_instance_uids))
        query = query.where(HeldStudyRow.study_id.in_(named))
    return query


def _received(study_ids: Sequence[int], asked: Conditions) -> _Found:
    return _objects(InstanceRow, study_ids, asked).where(held.is_received())


def _written(study_ids: Sequence[int], asked: Conditions) -> _Found:
    return _objects(ResultObjectRow, study_ids, asked).where(held.is_written())


def _objects(row: type[InstanceRow | ResultObjectRow], study_ids: Sequence[int], asked: Conditions) -> _Found:
    is_of_series = (HeldSeriesRow.study_id == row.study_id) & (
        HeldSeriesRow.series_instance_uid == row.series_instance_uid
    )
    is_of_object = (ObjectHeaderRow.study_id == row.study_id) & (ObjectHeaderRow.digest == row.digest)
    query = (
        select(
            row.study_id,
            row.series_instance_uid,
            row.sop_instance_uid,
            row.sop_class_uid,
            row.transfer_syntax_uid,
            ObjectHeaderRow.instance_number,
            ObjectHeaderRow.attributes,
            HeldSeriesRow.series_number,
        )
        .outerjoin(HeldSeriesRow, is_of_series)
        .outerjoin(ObjectHeaderRow, is_of_object)
        .where(row.study_id.in_(study_ids), *asked.series, *asked.headers)
    )
    return query.where(*_named(row, asked))


def _named(row: type[InstanceRow | ResultObjectRow], asked: Conditions) -> Iterator[ColumnElement[bool]]:
    if asked.sop_instance_uids:
        yield row.sop_instance_uid.in_(asked.sop_instance_uids)
    if asked.sop_class_uids:
        yield row.sop_class_uid.in_(asked.sop_class_uids)
