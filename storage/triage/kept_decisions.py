"""Decisions on record with the inputs that they were made of, read in pages: history may be long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select
from sqlalchemy.orm import Session

from storage.domain import Priority
from storage.models import JobRow, StandingRow
from storage.result_tables import AnalysisRow
from storage.triage.tables import ShadowDecisionRow

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Span:
    """From ``since`` on, and before ``until`` where there is an end; both in UTC."""

    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy said of one analysis, and by which rule."""

    priority: Priority
    rule: str


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """One analysis as triage sees it: what was decided, from which inputs, and when its study came.

    ``inputs`` is canonical JSON. ``arrived_at`` is when the last image of the study had come. ``counts`` says that the
    result says something of the study today: no later one superseded it, and it is not withheld. ``shadow`` is what a
    policy on trial said, where it was asked for.
    """

    job_id: int
    study_id: int
    route: str
    verdict: Verdict
    inputs: str
    analysed_at: datetime
    arrived_at: datetime
    is_withheld: bool
    counts: bool
    shadow: Verdict | None = None


def count(session: Session, span: Span, *, shadow_sha256: str | None = None) -> int:
    """Return how many decisions were made in a span; with a policy on trial, those that it saw too."""
    query = select(func.count()).select_from(AnalysisRow).where(*_within(span))
    if shadow_sha256 is not None:
        query = query.join(ShadowDecisionRow, _beside(shadow_sha256))
    return session.scalar(query) or 0


def decisions(session: Session, span: Span, *, shadow_sha256: str | None = None) -> Iterator[KeptDecision]:
    """Yield the decisions of a span in the order of their jobs; with a policy on trial, those that it saw too."""
    after = 0
    while True:
        page = session.execute(_page(span, after, shadow_sha256)).all()
        yield from (_kept(row) for row in page)
        if len(page) < _PAGE:
            return
        after = page[-1].job_id


def _within(span: Span) -> list[ColumnElement[bool]]:
    limits = [AnalysisRow.analysed_at >= span.since]
    return limits if span.until is None else [*limits, AnalysisRow.analysed_at < span.until]


def _beside(shadow_sha256: str) -> ColumnElement[bool]:
    return (ShadowDecisionRow.job_id == AnalysisRow.job_id) & (ShadowDecisionRow.policy_sha256 == shadow_sha256)


def _page(span: Span, after: int, shadow_sha256: str | None) -> Select[*tuple[Any, ...]]:
    query = (
        select(
            AnalysisRow.job_id,
            JobRow.study_id,
            JobRow.route,
            JobRow.opened_at,
            StandingRow.arrived_at,
            AnalysisRow.priority,
            AnalysisRow.rule,
            AnalysisRow.policy_inputs,
            AnalysisRow.analysed_at,
            AnalysisRow.withheld,
            AnalysisRow.superseded_at,
        )
        .join(JobRow, JobRow.id == AnalysisRow.job_id)
        .outerjoin(StandingRow, StandingRow.study_id == JobRow.study_id)
        .where(AnalysisRow.job_id > after, *_within(span))
        .order_by(AnalysisRow.job_id)
        .limit(_PAGE)
    )
    if shadow_sha256 is None:
        return query
    said = (ShadowDecisionRow.priority.label("shadow_priority"), ShadowDecisionRow.rule.label("shadow_rule"))
    return query.add_columns(*said).join(ShadowDecisionRow, _beside(shadow_sha256))


def _kept(row: Row[Any]) -> KeptDecision:
    # Of a study that is arriving again the standing knows the newest image; this job was opened before that came.
    arrived_at = min(row.arrived_at, row.opened_at) if row.arrived_at else row.opened_at
    said = getattr(row, "shadow_priority", None)
    return KeptDecision(
        job_id=row.job_id,
        study_id=row.study_id,
        route=row.route,
        verdict=Verdict(Priority(row.priority), row.rule),
        inputs=row.policy_inputs,
        analysed_at=row.analysed_at,
        arrived_at=arrived_at,
        is_withheld=row.withheld is not None,
        counts=row.withheld is None and row.superseded_at is None,
        shadow=Verdict(Priority(said), row.shadow_rule) if said else None,
    )
