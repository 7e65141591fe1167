"""Workitems that match keys, the most urgent first (C-FIND of PS3.4 CC.2.8, matching of PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, case, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage import matching as matching_rules
from storage.attributes import Attributes
from storage.database import Database
from storage.errors import QuestionInvalid
from storage.workitems import rows
from storage.workitems.attributes import Tag
from storage.workitems.refusals import Refusal, WorkitemRefused
from storage.workitems.requirements import moment
from storage.workitems.rows import Workitem
from storage.workitems.tables import WorkitemPriority, WorkitemRow

_PAGE = 100
_MOST_KEYS = 128
_TEXT_COLUMNS: Mapping[Tag, InstrumentedAttribute[str]] = {
    Tag.SOPInstanceUID: WorkitemRow.sop_instance_uid,
    Tag.ProcedureStepState: WorkitemRow.state,
    Tag.ScheduledProcedureStepPriority: WorkitemRow.priority,
    Tag.ProcedureStepLabel: WorkitemRow.label,
    Tag.WorklistLabel: WorkitemRow.worklist_label,
}
_DECIDED = frozenset({Tag.ScheduledProcedureStepStartDateTime})
"""What the query has looked at."""
_URGENCY = case({priority.value: rank for rank, priority in enumerate(WorkitemPriority)}, value=WorkitemRow.priority)


def matching(database: Database, keys: Attributes) -> Iterator[Workitem]:
    """Yield the workitems that match keys; each page of them is read in a transaction of its own.

    An empty key matches anything. WorkitemRefused where there are too many keys, or a range that is none.
    """
    if len(keys.elements) > _MOST_KEYS:
        raise WorkitemRefused(Refusal.INVALID_ATTRIBUTE_VALUE, f"more than {_MOST_KEYS} keys")
    with database.read() as session:
        numbers = session.scalars(_candidates(keys)).all()
    for first in range(0, len(numbers), _PAGE):
        with database.read() as session:
            page = _page(session, numbers[first : first + _PAGE])
        yield from (workitem for workitem in page if _matches(workitem.data_set, keys))


def _matches(found: Attributes, keys: Attributes) -> bool:
    try:
        return matching_rules.matches(found, keys, decided=_DECIDED)
    except QuestionInvalid as error:
        raise WorkitemRefused(Refusal.INVALID_ATTRIBUTE_VALUE, str(error)) from error


def answer(workitem: Workitem, keys: Attributes) -> Attributes:
    """Return what a search answers with: the attributes of the keys, empty where it has none, and which one it is."""
    empty = {tag: {"vr": element["vr"]} for tag, element in keys.elements.items()}
    named = workitem.data_set.only([Tag.SOPClassUID, Tag.SOPInstanceUID])
    asked = workitem.data_set.only(keys)
    return Attributes({**empty, **asked.elements, **named.elements}).without([Tag.SpecificCharacterSet])


def _page(session: Session, numbers: Sequence[int]) -> list[Workitem]:
    found = {row.id: row for row in session.scalars(select(WorkitemRow).where(WorkitemRow.id.in_(numbers)))}
    return [rows.of_row(found[number]) for number in numbers if number in found]


def _candidates(keys: Attributes) -> Select[int]:
    """Return the query for the workitems that may match, by what has a column; the rest is looked at one by one."""
    query = select(WorkitemRow.id).order_by(_URGENCY, WorkitemRow.scheduled_at, WorkitemRow.id)
    for tag, column in _TEXT_COLUMNS.items():
        values = [str(value).strip() for value in keys.values(tag)]
        if values and not any(matching_rules.is_pattern(value) for value in values):
            query = query.where(column.in_(values))
    return query.where(*_starts(keys.value(Tag.ScheduledProcedureStepStartDateTime)))


def _starts(text: str) -> Iterator[ColumnElement[bool]]:
    if not text:
        return
    try:
        earliest, latest = matching_rules.bounds(text)
    except QuestionInvalid as error:
        raise WorkitemRefused(Refusal.INVALID_ATTRIBUTE_VALUE, str(error)) from error
    if earliest:
        yield WorkitemRow.scheduled_at >= moment(earliest)
    if latest:
        yield WorkitemRow.scheduled_at < _behind(latest)


def _behind(latest: str) -> datetime:
    """Return the first moment that a DT value, as precise as it is, does not cover any more."""
    begin, digits = moment(latest), re.match(r"\d*", latest.strip())
    length = len(digits.group()) if digits else 0
    steps = {4: 366, 6: 31, 8: 1}
    if length in steps:
        return begin + timedelta(days=steps[length])
    return begin + {10: timedelta(hours=1), 12: timedelta(minutes=1)}.get(length, timedelta(seconds=1))
