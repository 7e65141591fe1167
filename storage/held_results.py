"""What each route's analysis of a study came to, which result leads, and the state that the study is in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.domain import Presence, Priority
from storage.models import JobRow
from storage.result_tables import AnalysisRow, FindingRow
from storage.states import JobState, StudyState
from storage.volumes import Extent

NOTHING_FOUND = "none"

_STATES: tuple[tuple[JobState, StudyState], ...] = (
    (JobState.RUNNING, StudyState.RUNNING),
    (JobState.QUEUED, StudyState.QUEUED),
    (JobState.FAILED, StudyState.FAILED),
    (JobState.SUCCEEDED, StudyState.SUCCEEDED),
)
"""A study is in the first of these states that the newest job of any of its routes is in."""


@dataclass(frozen=True, slots=True)
class NewestJob:
    """What the lists need of a route's newest job."""

    id: int
    study_id: int
    route: str
    state: str
    code: str | None
    pool: str
    analyser: str
    task: str | None


@dataclass(frozen=True, slots=True)
class _Held:
    """What the lists need of a result that holds."""

    study_id: int
    route: str
    revision: int
    job_id: int
    priority: str
    withheld: str | None
    out_of_distribution: float | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What the lists need of a finding."""

    job_id: int
    presence: str
    code_meaning: str
    confidence: float
    volume_ml: float
    extent: str
    label: str | None
    abstained: str | None


@dataclass(frozen=True, slots=True)
class RouteResult:
    """What one route's analysis of a study came to so far, or how far its job is.

    The result is that of the newest job that has one; ``finding``, ``confidence``, ``priority`` and ``volume_ml`` are
    None where there is none, ``volume_ml`` also where the images tell no volumes, ``finding`` and ``confidence`` also
    where a model of organs alone says nothing of lesions. ``withheld`` says why it is not sent.
    """

    route: str
    state: JobState
    code: str | None
    finding: str | None
    volume_ml: float | None
    confidence: float | None
    priority: Priority | None
    label: str | None
    withheld: str | None
    out_of_distribution: float | None
    job_id: int
    result_job_id: int | None
    result_revision: int | None


def of_studies(
    session: Session, study_ids: Sequence[int], *, waits_for: Callable[[NewestJob], str | None]
) -> dict[int, tuple[RouteResult, ...]]:
    """Return what each route of some studies came to, by the routes' names.

    Routes whose newest job is superseded and that have no result are left out. ``waits_for`` gives the code of what a
    job waits for.
    """
    newest, results = _newest_jobs(session, study_ids), _valid_results(session, study_ids)
    findings = _findings(session, [held.job_id for found in results.values() for held in found.values()])
    return {
        study_id: tuple(
            _route_result(held[route], results.get(study_id, {}).get(route), findings, waits_for(held[route]))
            for route in sorted(held)
        )
        for study_id, held in newest.items()
    }


def urgency(result: RouteResult) -> tuple[bool, bool, int, float, str]:
    """Return what results of one study are ordered by.

    What is withheld comes behind what is not, what says nothing of lesions behind what does; then priority, confidence
    in what was found, and the route's name count.
    """
    confidence = 0.0 if result.finding == NOTHING_FOUND else result.confidence or 0.0
    return result.withheld is not None, result.finding is None, rank_of(result.priority), -confidence, result.route


def leading(results: Sequence[RouteResult]) -> RouteResult | None:
    """Return the result that a study is listed by, or None where there is none."""
    return min((one for one in results if one.result_job_id is not None), key=urgency, default=None)


def priority_of(leading_result: RouteResult | None) -> Priority | None:
    """Return the priority of a study with this leading result.

    None also where the only results are withheld: what they say of input unlike anything that the model learned puts
    no study before another.
    """
    return leading_result.priority if leading_result and leading_result.withheld is None else None


def rank_of(priority: Priority | None) -> int:
    """Return the position of a priority in the reading order; none comes last."""
    return priority.rank if priority else len(Priority)


def state_of(results: Sequence[RouteResult], *, closed: bool, hold: str | None = None) -> StudyState:
    """Return the state that a study is in; ``hold`` says whether it waits for a person, and how."""
    if hold is not None:
        return StudyState(hold)
    if not closed:
        return StudyState.RECEIVING
    states = {result.state for result in results}
    return next((state for job, state in _STATES if job in states), StudyState.NOT_APPLICABLE)


def _route_result(
    job: NewestJob, result: _Held | None, findings: Mapping[int, Sequence[_Found]], waits_for: str | None
) -> RouteResult:
    found = findings.get(result.job_id, ()) if result else ()
    first = found[0] if found else None
    return RouteResult(
        route=job.route,
        state=JobState(job.state),
        code=job.code or waits_for or (result.withheld if result else None),
        finding=_name(first) if first else None,
        volume_ml=_volume(found),
        confidence=first.confidence if first else None,
        priority=Priority(result.priority) if result else None,
        label=first.label if first else None,
        withheld=result.withheld if result else None,
        out_of_distribution=result.out_of_distribution if result else None,
        job_id=job.id,
        result_job_id=result.job_id if result else None,
        result_revision=result.revision if result else None,
    )


def _volume(findings: Sequence[_Found]) -> float | None:
    if not findings or any(finding.extent != Extent.VOLUME.value for finding in findings):
        return None
    return round(sum(finding.volume_ml for finding in findings), 3)


def _name(finding: _Found) -> str:
    """Return what lists call a finding: a whole image's label stands for itself, or the reason for having none."""
    if finding.presence == Presence.ASSESSED.value:
        return finding.label or f"no label ({finding.abstained})"
    return NOTHING_FOUND if finding.presence == Presence.ABSENT.value else finding.code_meaning


def _newest_jobs(session: Session, ids: Sequence[int]) -> dict[int, dict[str, NewestJob]]:
    """Return the newest job of each route of each study that is neither superseded nor ended in a superseded result."""
    query = (
        select(*(getattr(JobRow, field.name) for field in fields(NewestJob)))
        .outerjoin(AnalysisRow, AnalysisRow.job_id == JobRow.id)
        .where(
            JobRow.study_id.in_(ids),
            JobRow.state != JobState.SUPERSEDED.value,
            AnalysisRow.superseded_at.is_(None),
        )
        .order_by(JobRow.id)
    )
    grouped: dict[int, dict[str, NewestJob]] = {}
    for row in session.execute(query):
        job = NewestJob(*row)
        grouped.setdefault(job.study_id, {})[job.route] = job
    return grouped


def _valid_results(session: Session, ids: Sequence[int]) -> dict[int, dict[str, _Held]]:
    """Return the result of each route of each study that no later one superseded."""
    query = (
        select(
            JobRow.study_id,
            JobRow.route,
            JobRow.revision,
            AnalysisRow.job_id,
            AnalysisRow.priority,
            AnalysisRow.withheld,
            AnalysisRow.out_of_distribution,
        )
        .join(AnalysisRow, AnalysisRow.job_id == JobRow.id)
        .where(JobRow.study_id.in_(ids), AnalysisRow.superseded_at.is_(None))
        .order_by(JobRow.id)
    )
    grouped: dict[int, dict[str, _Held]] = {}
    for row in session.execute(query):
        held = _Held(*row)
        grouped.setdefault(held.study_id, {})[held.route] = held
    return grouped


def _findings(session: Session, job_ids: Sequence[int]) -> dict[int, list[_Found]]:
    """Return the findings of some jobs, the leading one of each first."""
    query = (
        select(*(getattr(FindingRow, field.name) for field in fields(_Found)))
        .where(FindingRow.job_id.in_(job_ids))
        .order_by(FindingRow.job_id, FindingRow.confidence.desc(), FindingRow.number)
    )
    grouped: dict[int, list[_Found]] = {}
    for row in session.execute(query):
        found = _Found(*row)
        grouped.setdefault(found.job_id, []).append(found)
    return grouped
