"""Workitems that match keys, the most urgent first (C-FIND of PS3.4 CC.2.8, matching of PS3.4 C.2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, case, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.attributes import Attributes
from storage.database import Database
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
_RANGES = frozenset({"DA", "DT", "TM"})
_EXACT = frozenset({"UI", "DA", "DT", "TM", "SL", "SS", "UL", "US", "FL", "FD", "AT"})
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
        yield from (workitem for workitem in page if matches(workitem.data_set, keys))


def matches(found: Attributes, keys: Attributes) -> bool:
    """Say whether a data set matches every key."""
    return all(_matches(found, tag, keys) for tag in keys if tag != Tag.SpecificCharacterSet)


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
        if values and not any(_is_pattern(value) for value in values):
            query = query.where(column.in_(values))
    return query.where(*_starts(keys.value(Tag.ScheduledProcedureStepStartDateTime)))


def _starts(text: str) -> Iterator[ColumnElement[bool]]:
    if not text:
        return
    earliest, latest = _bounds(text)
    if earliest:
        yield WorkitemRow.scheduled_at >= moment(earliest)
    if latest:
        yield WorkitemRow.scheduled_at < _behind(latest)


def _bounds(text: str) -> tuple[str, str]:
    """Return both ends of a range, or a single value twice; the dash of an offset is none of a range."""
    found = re.fullmatch(r"([0-9.]*(?:[+-]\d{4})?)-([0-9.]*(?:[+-]\d{4})?)|([0-9.]+(?:[+-]\d{4})?)", text.strip())
    if found is None or not any(found.groups()):
        raise WorkitemRefused(Refusal.INVALID_ATTRIBUTE_VALUE, "a range of times is FROM-UNTIL, FROM- or -UNTIL")
    first, last, single = found.groups()
    return (single, single) if single else (first or "", last or "")


def _behind(latest: str) -> datetime:
    """Return the first moment that a DT value, as precise as it is, does not cover any more."""
    begin, digits = moment(latest), re.match(r"\d*", latest.strip())
    length = len(digits.group()) if digits else 0
    steps = {4: 366, 6: 31, 8: 1}
    if length in steps:
        return begin + timedelta(days=steps[length])
    return begin + {10: timedelta(hours=1), 12: timedelta(minutes=1)}.get(length, timedelta(seconds=1))


def _matches(found: Attributes, tag: str, keys: Attributes) -> bool:
    if tag == Tag.ScheduledProcedureStepStartDateTime:
        return True  # the query has looked at it
    vr = str(keys.elements[tag]["vr"])
    if vr == "SQ":
        wanted = keys.items(tag)
        return not wanted or not wanted[0].elements or _matches_an_item(found.items(tag), wanted[0])
    wanted_values = keys.values(tag)
    if not wanted_values:
        return True
    held = [_text(value) for value in found.values(tag)]
    return any(_fits(value, _text(wanted), vr) for wanted in wanted_values for value in held)


def _matches_an_item(items: Sequence[Attributes], wanted: Attributes) -> bool:
    if all(not wanted.values(tag) for tag in wanted):
        return True
    return any(matches(item, wanted) for item in items)


def _fits(value: str, wanted: str, vr: str) -> bool:
    if vr in _RANGES and "-" in wanted:
        earliest, latest = _bounds(wanted)
        return (not earliest or value[: len(earliest)] >= earliest) and (not latest or value[: len(latest)] <= latest)
    if vr in _EXACT or not _is_pattern(wanted):
        return value.casefold() == wanted.casefold() if vr == "PN" else value == wanted
    return _pattern(wanted, folds=vr == "PN").fullmatch(value) is not None


def _is_pattern(text: str) -> bool:
    return "*" in text or "?" in text


@lru_cache(maxsize=256)
def _pattern(text: str, *, folds: bool) -> re.Pattern[str]:
    # Stars side by side match what one does, and would only cost time.
    parts = (
        ".*" if part.startswith("*") else "." if part == "?" else re.escape(part)
        for part in re.split(r"(\*+|\?)", text)
    )
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if folds else 0))


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("Alphabetic", "")
    return str(value).strip()
