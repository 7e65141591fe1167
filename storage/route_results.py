"""What each route's analysis of a study came to: read only, for the lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import processes
from storage.database import utc_now
from storage.domain import Extent, JobState, Presence, Priority
from storage.fewshot import promotions
from storage.jobs import Job
from storage.models import AnalysisRow, FindingRow, JobRow
from storage.processes import Served

NOTHING_FOUND = "none"
NO_WORKER = "no_worker_for_route"
"""Code of a job that waits because no worker at work serves its pool and analyser."""


@dataclass(frozen=True, slots=True)
class NeedsMet:
    """What jobs may count on: the analysers that workers at work serve, the few-shot tasks that predict."""

    served: frozenset[Served]
    tasks: frozenset[str]


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


def of_studies(session: Session, study_ids: Sequence[int]) -> dict[int, tuple[RouteResult, ...]]:
    """Return what each route of some studies came to, by the routes' names.

    Routes whose newest job is superseded and that have no result are left out.
    """
    newest, results = _newest_jobs(session, study_ids), _valid_results(session, study_ids)
    findings = _findings(session, [analysis.job_id for found in results.values() for analysis, _ in found.values()])
    met = needs_met(session)
    return {
        study_id: tuple(
            _route_result(route, held[route], results.get(study_id, {}).get(route), findings, met)
            for route in sorted(held)
        )
        for study_id, held in newest.items()
    }


def urgency(result: RouteResult) -> tuple[bool, bool, int, float, str]:
    """Return what results of one study are ordered by.

    What is withheld comes behind what is not, what says nothing of lesions behind what does; then priority, confidence
    in what was found, and the route's name count.
    """
    rank = result.priority.rank if result.priority else len(Priority)
    confidence = 0.0 if result.finding == NOTHING_FOUND else result.confidence or 0.0
    return result.withheld is not None, result.finding is None, rank, -confidence, result.route


def needs_met(session: Session) -> NeedsMet:
    """Return what jobs may count on now."""
    tasks = frozenset(session.scalars(promotions.predicting()))
    return NeedsMet(processes.served(session, now=utc_now()), tasks)


def waits_for(job: JobRow | Job, met: NeedsMet) -> str | None:
    """Return the code of what a queued job waits for: a worker for its pool and analyser, or its few-shot task.

    None where no worker is at work at all, unless it lacks its task.
    """
    if job.state != JobState.QUEUED.value:
        return None
    if met.served and Served(job.pool, job.analyser) not in met.served:
        return NO_WORKER
    return promotions.NONE_PROMOTED if job.task is not None and job.task not in met.tasks else None


def _route_result(
    route: str,
    job: JobRow,
    result: tuple[AnalysisRow, int] | None,
    findings: Mapping[int, Sequence[FindingRow]],
    met: NeedsMet,
) -> RouteResult:
    analysis, revision = result or (None, None)
    found = findings.get(analysis.job_id, ()) if analysis else ()
    first = found[0] if found else None
    return RouteResult(
        route=route,
        state=JobState(job.state),
        code=job.code or waits_for(job, met) or (analysis.withheld if analysis else None),
        finding=_name(first) if first else None,
        volume_ml=_volume(found),
        confidence=first.confidence if first else None,
        priority=Priority(analysis.priority) if analysis else None,
        label=first.label if first else None,
        withheld=analysis.withheld if analysis else None,
        out_of_distribution=analysis.out_of_distribution if analysis else None,
        job_id=job.id,
        result_job_id=analysis.job_id if analysis else None,
        result_revision=revision,
    )


def _volume(findings: Sequence[FindingRow]) -> float | None:
    if not findings or any(finding.extent != Extent.VOLUME.value for finding in findings):
        return None
    return round(sum(finding.volume_ml for finding in findings), 3)


def _name(finding: FindingRow) -> str:
    """Return what lists call a finding: a whole image's label stands for itself, or the reason for having none."""
    if finding.presence == Presence.ASSESSED.value:
        return finding.label or f"no label ({finding.abstained})"
    return NOTHING_FOUND if finding.presence == Presence.ABSENT.value else finding.code_meaning


def _newest_jobs(session: Session, ids: Sequence[int]) -> dict[int, dict[str, JobRow]]:
    """Return the newest job of each route of each study that is neither superseded nor ended in a superseded result."""
    query = (
        select(JobRow)
        .outerjoin(AnalysisRow, AnalysisRow.job_id == JobRow.id)
        .where(
            JobRow.study_id.in_(ids),
            JobRow.state != JobState.SUPERSEDED.value,
            AnalysisRow.superseded_at.is_(None),
        )
        .order_by(JobRow.id)
    )
    grouped: dict[int, dict[str, JobRow]] = {}
    for row in session.scalars(query):
        grouped.setdefault(row.study_id, {})[row.route] = row
    return grouped


def _valid_results(session: Session, ids: Sequence[int]) -> dict[int, dict[str, tuple[AnalysisRow, int]]]:
    """Return the result of each route of each study that no later one superseded, with its revision."""
    query = (
        select(JobRow.study_id, JobRow.route, AnalysisRow, JobRow.revision)
        .join(AnalysisRow, AnalysisRow.job_id == JobRow.id)
        .where(JobRow.study_id.in_(ids), AnalysisRow.superseded_at.is_(None))
        .order_by(JobRow.id)
    )
    grouped: dict[int, dict[str, tuple[AnalysisRow, int]]] = {}
    for study_id, route, analysis, revision in session.execute(query):
        grouped.setdefault(study_id, {})[route] = (analysis, revision)
    return grouped


def _findings(session: Session, job_ids: Sequence[int]) -> dict[int, list[FindingRow]]:
    """Return the findings of some jobs, the leading one of each first."""
    query = (
        select(FindingRow)
        .where(FindingRow.job_id.in_(job_ids))
        .order_by(FindingRow.job_id, FindingRow.confidence.desc(), FindingRow.number)
    )
    grouped: dict[int, list[FindingRow]] = {}
    for row in session.scalars(query):
        grouped.setdefault(row.job_id, []).append(row)
    return grouped
