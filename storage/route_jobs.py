"""The jobs of a study that has just closed: one for each route that wants something new of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, job_lists, jobs, superseding
from storage.deletion_errors import ImagesDeleted
from storage.domain import Lane
from storage.models import InstanceRow, StudyRow
from storage.routes.routing import RouteAnswer, Routing
from storage.states import JobState

_ACTOR = "assembly"
_UNFINISHED = frozenset({JobState.QUEUED, JobState.RUNNING})


def open_jobs(session: Session, study: StudyRow, routing: Routing, *, now: datetime) -> tuple[int, ...]:
    """Open the jobs of a study revision and return their numbers.

    A route whose images are those of its newest job keeps that job and its result: an image of another series, late,
    costs no second analysis. Jobs and results of routes that no longer apply are set aside.
    """
    newest = job_lists.newest_by_route(session, study.id)
    answers = {answer.route.name: answer for answer in routing.chosen}
    for name, (job, _) in newest.items():
        if name not in answers:
            _set_aside(session, study, job, now=now)
    contents = _contents(session, study.id)
    opened = (
        _open(
            session,
            study,
            _wanted(answer, contents, routing.routes_sha256),
            newest.get(name),
            lane=_lane(answer, study),
            now=now,
        )
        for name, answer in answers.items()
    )
    return tuple(job_id for job_id in opened if job_id is not None)


def _open(
    session: Session,
    study: StudyRow,
    wanted: jobs.Wanted,
    before: tuple[job_lists.Job, str] | None,
    *,
    lane: Lane,
    now: datetime,
) -> int | None:
    """Open a route's job, or return None where the one before was for the very same images and its result holds.

    One that failed because retention had deleted its images is tried anew: they may have come again.
    """
    if before is not None:
        job, sha256 = before
        lacked_images = job.state is JobState.FAILED and job.code == ImagesDeleted.code
        if sha256 == wanted.sha256 and not lacked_images:
            _record_kept(session, study, job, now=now)
            return None
        if job.state in _UNFINISHED or lacked_images:
            jobs.supersede(session, job.id, now=now)
        superseding.hold_back(session, study.id, job.route, now=now)
    return jobs.open_job(session, study.id, study.revision, wanted=wanted, lane=lane, now=now)


def _set_aside(session: Session, study: StudyRow, job: job_lists.Job, *, now: datetime) -> None:
    if job.state is not JobState.SUCCEEDED:
        jobs.supersede(session, job.id, now=now)
    superseding.supersede_results(session, study.id, job.route, by=None, actor=_ACTOR, now=now)


def _lane(answer: RouteAnswer, study: StudyRow) -> Lane:
    return answer.route.lane or Lane(study.lane)


def _wanted(answer: RouteAnswer, contents: Mapping[str, list[str]], routes_sha256: str) -> jobs.Wanted:
    """Return what a route wants; the digest is over the images of its series and over what the route does."""
    route = answer.route
    # What a route does not say is left out, so that a new key changes no digest of routes that do not name it.
    unsaid = {"wait_for"} if route.unless is not None else {"wait_for", "unless"}
    sha = hashlib.sha256(route.model_dump_json(exclude=unsaid).encode())
    for series_uid in sorted(answer.wanted):
        for content in sorted(contents.get(series_uid, [])):
            sha.update(f"\n{series_uid}\x1f{content}".encode())
    return jobs.Wanted(
        route=route.name,
        analyser=route.analyser,
        pool=route.pool,
        series=answer.wanted,
        sha256=sha.hexdigest(),
        routes_sha256=routes_sha256,
        task=route.task,
    )


def _contents(session: Session, study_id: int) -> dict[str, list[str]]:
    """Return the digests of the current instances of a study by series."""
    query = select(InstanceRow.series_instance_uid, InstanceRow.content_sha256)
    grouped: dict[str, list[str]] = {}
    for series_uid, content in session.execute(query.where(InstanceRow.study_id == study_id, InstanceRow.current)):
        grouped.setdefault(series_uid, []).append(content)
    return grouped


def _record_kept(session: Session, study: StudyRow, job: job_lists.Job, *, now: datetime) -> None:
    audit.record(
        session,
        "job:kept",
        f"job/{job.id}",
        actor=_ACTOR,
        now=now,
        details={"study": study.study_instance_uid, "revision": study.revision, "route": job.route},
        study=audit.concerned(study),
    )
