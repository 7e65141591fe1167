"""Studies that are old enough for a rule, oldest first, read page by page along the indexes of their standings."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, Integer, literal, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.domain import Holding
from storage.models import StandingRow, UtcTime
from storage.retention.rules import Cell, RetentionRule, governed

PAGE = 500

_KEEPS: Mapping[Holding, InstrumentedAttribute[bool]] = {
    Holding.IMAGES: StandingRow.keeps_images,
    Holding.RESULTS: StandingRow.keeps_results,
    Holding.PICTURES: StandingRow.keeps_pictures,
}


class Candidate(NamedTuple):
    """A study that is old enough; ``images`` counts the current ones, ``image_bytes`` is the size of all.

    A tuple, for hundreds of thousands are put in order.
    """

    arrived_at: datetime
    study_id: int
    images: int
    image_bytes: int


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of file, by one rule, in the studies for which that rule counts."""

    rule: RetentionRule
    kind: Holding
    cells: tuple[Cell, ...]


def targets(rules: tuple[RetentionRule, ...]) -> Iterator[Target]:
    """Return what rules that delete are for, in their order."""
    for rule in rules:
        if not rule.keep:
            yield from (Target(rule, kind, governed(rules, rule, kind)) for kind in rule.delete)


def latest(rule: RetentionRule, now: datetime) -> datetime:
    """Return until when the last image of a study must have come."""
    return now - timedelta(days=rule.older_than_days or 0)


def old_enough(
    session: Session, target: Target, *, now: datetime, behind: Candidate | None = None
) -> Iterator[Candidate]:
    """Return the studies of a target that are old enough, oldest first, those behind one where it is given.

    Whoever stops early reads little more.
    """
    return heapq.merge(*(_of_cell(session, target, cell, now, behind) for cell in target.cells))


def paged(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """Return candidates in lists that one statement can ask about."""
    page: list[Candidate] = []
    for candidate in candidates:
        page.append(candidate)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def is_candidate(session: Session, target: Target, study_id: int, *, now: datetime) -> bool:
    """Say whether a study is still one that a rule counts for, and old enough."""
    row = session.get(StandingRow, study_id, populate_existing=True)
    if row is None or not getattr(row, _KEEPS[target.kind].key) or row.arrived_at >= latest(target.rule, now):
        return False
    return any(cell.state.value == row.state and cell.rank == row.rank for cell in target.cells)


def _of_cell(
    session: Session, target: Target, cell: Cell, now: datetime, behind: Candidate | None
) -> Iterator[Candidate]:
    columns = (StandingRow.arrived_at, StandingRow.study_id, StandingRow.instances, StandingRow.image_bytes)
    query = (
        select(*columns)
        .where(
            StandingRow.state == cell.state.value,
            StandingRow.rank == cell.rank,
            _KEEPS[target.kind].expression,
            StandingRow.arrived_at < latest(target.rule, now),
        )
        .order_by(StandingRow.arrived_at, StandingRow.study_id)
        .limit(PAGE)
    )
    while rows := session.execute(query if behind is None else query.where(_behind(behind))).all():
        found = [Candidate(*row) for row in rows]
        yield from found
        if len(found) < PAGE:
            return
        behind = found[-1]


def _behind(candidate: Candidate) -> ColumnElement[bool]:
    place = literal(candidate.arrived_at, UtcTime()), literal(candidate.study_id, Integer())
    return tuple_(StandingRow.arrived_at, StandingRow.study_id) > tuple_(*place)
