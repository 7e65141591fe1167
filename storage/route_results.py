"""What each route's analysis of a study came to, with what its jobs wait for: read only, for the lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from storage import held_results, processes
from storage.database import utc_now
from storage.fewshot import promotions
from storage.held_results import NewestJob, RouteResult
from storage.job_lists import Job
from storage.processes import Served
from storage.states import JobState

NO_WORKER = "no_worker_for_route"
"""Code of a job that waits because no worker at work serves its pool and analyser."""


@dataclass(frozen=True, slots=True)
class NeedsMet:
    """What jobs may count on: the analysers that workers at work serve, the few-shot tasks that predict."""

    served: frozenset[Served]
    tasks: frozenset[str]


def of_studies(session: Session, study_ids: Sequence[int]) -> dict[int, tuple[RouteResult, ...]]:
    """Return what each route of some studies came to, by the routes' names.

    Routes whose newest job is superseded and that have no result are left out.
    """
    met = needs_met(session)
    return held_results.of_studies(session, study_ids, waits_for=lambda job: waits_for(job, met))


def needs_met(session: Session) -> NeedsMet:
    """Return what jobs may count on now."""
    tasks = frozenset(session.scalars(promotions.predicting()))
    return NeedsMet(processes.served(session, now=utc_now()), tasks)


def waits_for(job: NewestJob | Job, met: NeedsMet) -> str | None:
    """Return the code of what a queued job waits for: a worker for its pool and analyser, or its few-shot task.

    None where no worker is at work at all, unless it lacks its task.
    """
    if job.state != JobState.QUEUED.value:
        return None
    if met.served and Served(job.pool, job.analyser) not in met.served:
        return NO_WORKER
    return promotions.NONE_PROMOTED if job.task is not None and job.task not in met.tasks else None
