"""Read-only queries: the worklist and the study list. They bypass the state machines and change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import held_results, job_lists, route_results, routings, study_arrivals, study_pages
from storage.domain import Priority
from storage.errors import RecordMissing
from storage.held_results import RouteResult
from storage.job_lists import Job
from storage.models import InstanceRow, StandingRow, StudyRow
from storage.routings import RoutedStudy
from storage.states import JobState, StudyState
from storage.study_arrivals import StudyArrival
from storage.study_pages import ANY_STUDY, StudyFilter, StudyList

_AT_ONCE = 500
"""Most studies that one statement reads about: databases take only so many variables in one."""


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """One study as lists show it: the leading result of all its routes, and ``analyses`` with that of each.

    ``priority`` is None also where the only results are withheld: what they say of input unlike anything that the
    model learned puts no study before another. ``finding`` is the meaning of the leading finding's code, or «none»;
    ``confidence`` is in 0..1; the result's values are None where nothing has been analysed yet. ``id`` is our own
    number, safe to use in addresses. ``reasons`` says, for a study that no route wants, why each does not apply.
    """

    id: int
    study_instance_uid: str
    revision: int
    state: StudyState
    priority: Priority | None
    instances: int
    finding: str | None
    volume_ml: float | None
    confidence: float | None
    label: str | None
    job_id: int | None
    result_revision: int | None
    code: str | None
    patient_id: str
    accession_number: str
    study_date: str
    study_description: str
    last_instance_at: datetime
    analyses: tuple[RouteResult, ...] = ()
    reasons: tuple[str, ...] = ()
    unasked: bool = False
    """Whether no route was asked about it, because it was fetched as a prior."""
    leading_job_id: int | None = None
    """The job whose result leads."""
    read_at: datetime | None = None
    """When somebody marked as read what there was then."""
    read_by: str | None = None
    unread: bool = False
    """Whether there is a result that nobody has marked as read."""
    waits_for: str | None = None
    """What a study that is quiet waits for: ``expected_instances`` of its source, or a ``required_series``."""
    expected_instances: int | None = None
    """How many images its source said to hold, None where it was not asked or did not say."""
    cursor: str | None = None
    """The place behind this entry, in the list that it is on; None outside of a list."""


def studies(
    session: Session, *, limit: int = 500, after: str | None = None, wanted: StudyFilter = ANY_STUDY
) -> tuple[StudyEntry, ...]:
    """Return studies, the newest arrivals first.

    Here and below, ``after`` is the cursor of the entry behind which the list goes on; CursorInvalid for another text.
    """
    return listed(session, StudyList.ALL, limit=limit, after=after, wanted=wanted)


def worklist(
    session: Session, *, limit: int = 500, after: str | None = None, wanted: StudyFilter = ANY_STUDY
) -> tuple[StudyEntry, ...]:
    """Return studies with an unread result that holds, in reading order: by priority, then confidence, then arrival."""
    return listed(session, StudyList.WORKLIST, limit=limit, after=after, wanted=wanted)


def waiting(
    session: Session, *, limit: int = 500, after: str | None = None, wanted: StudyFilter = ANY_STUDY
) -> tuple[StudyEntry, ...]:
    """Return studies without a result that a route wants or that still arrive, the newest arrivals first."""
    return listed(session, StudyList.WAITING, limit=limit, after=after, wanted=wanted)


def not_applicable(
    session: Session, *, limit: int = 500, after: str | None = None, wanted: StudyFilter = ANY_STUDY
) -> tuple[StudyEntry, ...]:
    """Return complete studies that no route wants, the newest arrivals first."""
    return listed(session, StudyList.NOT_APPLICABLE, limit=limit, after=after, wanted=wanted)


def listed(
    session: Session,
    which: StudyList,
    *,
    limit: int = 500,
    after: str | None = None,
    wanted: StudyFilter = ANY_STUDY,
) -> tuple[StudyEntry, ...]:
    """Return a page of a list of studies."""
    places = study_pages.page(session, which, wanted=wanted, limit=limit, after=after)
    found: list[StudyEntry] = []
    for first in range(0, len(places), _AT_ONCE):
        some = places[first : first + _AT_ONCE]
        ids = [place.study_id for place in some]
        rows = {row.id: row for row in session.scalars(select(StudyRow).where(StudyRow.id.in_(ids)))}
        cursors = {place.study_id: place.cursor for place in some}
        found += _entries(session, [rows[number] for number in ids], cursors)
    return tuple(found)


def study(session: Session, study_instance_uid: str) -> StudyEntry | None:
    """Return one study, or None."""
    rows = session.scalars(select(StudyRow).where(StudyRow.study_instance_uid == study_instance_uid)).all()
    return next(iter(_entries(session, rows)), None)


def find(session: Session, study_id: int) -> StudyEntry:
    """Return the study with our number; RecordMissing where there is none."""
    row = session.get(StudyRow, study_id)
    if row is None:
        raise RecordMissing(f"there is no study {study_id}; see `oncue studies list`")
    return _entries(session, [row])[0]


def listed_jobs(
    session: Session, *, state: JobState | None = None, limit: int = 500, after: str | None = None
) -> tuple[Job, ...]:
    """Return jobs, newest first; those that wait for what is not there have the code of that."""
    met = route_results.needs_met(session)
    return tuple(
        replace(job, code=job.code or route_results.waits_for(job, met))
        for job in job_lists.listed(session, state=state, limit=limit, after=after)
    )


def _entries(
    session: Session, rows: Sequence[StudyRow], cursors: Mapping[int, str] | None = None
) -> tuple[StudyEntry, ...]:
    """Return the entries of studies in their order; as many statements for one as for hundreds."""
    ids = [row.id for row in rows]
    arriving = [row.id for row in rows if row.closed_at is None]
    standings = {row.study_id: row for row in session.scalars(select(StandingRow).where(StandingRow.study_id.in_(ids)))}
    counts, results = _instance_counts(session, arriving), route_results.of_studies(session, ids)
    unwanted = [number for number in ids if standings[number].state == StudyState.NOT_APPLICABLE.value]
    routed = routings.latest(session, unwanted)
    on_their_way = study_arrivals.of_studies(session, ids)
    return tuple(
        _entry(
            row,
            standings[row.id],
            results.get(row.id, ()),
            instances=standings[row.id].instances if row.closed_at is not None else counts.get(row.id, 0),
            routed=routed.get(row.id),
            arrival=on_their_way.get(row.id),
            cursor=cursors.get(row.id) if cursors else None,
        )
        for row in rows
    )


def _entry(
    row: StudyRow,
    standing: StandingRow,
    analyses: tuple[RouteResult, ...],
    *,
    instances: int,
    routed: RoutedStudy | None,
    arrival: StudyArrival | None,
    cursor: str | None,
) -> StudyEntry:
    state = held_results.state_of(
        analyses, closed=row.closed_at is not None, hold=arrival.hold.value if arrival and arrival.hold else None
    )
    waits_for = arrival.waits_for.value if arrival and arrival.waits_for else None
    leading = held_results.leading(analyses)
    newest = max(analyses, key=lambda one: one.job_id, default=None)
    telling = next((one for one in analyses if one.state.value == state.value), newest)
    return StudyEntry(
        id=row.id,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        state=state,
        priority=held_results.priority_of(leading),
        instances=instances,
        finding=leading.finding if leading else None,
        volume_ml=leading.volume_ml if leading else None,
        confidence=leading.confidence if leading else None,
        label=leading.label if leading else None,
        job_id=telling.job_id if telling else None,
        result_revision=leading.result_revision if leading else None,
        code=waits_for or (telling.code if telling else None),
        patient_id=row.patient_id,
        accession_number=row.accession_number,
        study_date=row.study_date,
        study_description=row.study_description,
        last_instance_at=row.last_instance_at,
        analyses=analyses,
        reasons=routed.reasons if routed and state is StudyState.NOT_APPLICABLE else (),
        unasked=routed is not None and routed.unasked and state is StudyState.NOT_APPLICABLE,
        leading_job_id=leading.result_job_id if leading else None,
        read_at=standing.read_at,
        read_by=standing.read_by,
        unread=standing.unread,
        waits_for=waits_for,
        expected_instances=arrival.expected if arrival else None,
        cursor=cursor,
    )


def _instance_counts(session: Session, ids: Sequence[int]) -> dict[int, int]:
    query = (
        select(InstanceRow.study_id, func.count())
        .where(InstanceRow.study_id.in_(ids), InstanceRow.current)
        .group_by(InstanceRow.study_id)
    )
    return dict(session.execute(query).all())
