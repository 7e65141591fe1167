"""Register instances as they arrive: each once, a study opened for the first, reopened for a late image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from storage import (
    associations,
    audit,
    instance_events,
    instances,
    job_lists,
    jobs,
    new_rows,
    patient_keys,
    series,
    standing,
    study_arrivals,
    study_locks,
    superseding,
)
from storage.announcing import announcements, urgent_studies
from storage.arrivals import Arrival, Origin, StudyFacts
from storage.domain import StoredInstance
from storage.errors import RecordMissing
from storage.holdings import noting
from storage.models import StudyRow
from storage.sop_kinds import is_read
from storage.workitems import opening


class Registration(StrEnum):
    """What a received instance turned out to be."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CHANGED = "changed"
    SUPERSEDED = "superseded"
    AGAIN = "again"
    """Retention had deleted it, and it is stored again."""


def register_instance(
    session: Session, instance: StoredInstance, facts: StudyFacts, *, origin: Origin, now: datetime
) -> Registration:
    """Write the row of an instance whose bytes are already durable.

    The same UID in the same series with the current content is a DUPLICATE and changes nothing, or stored AGAIN where
    retention had deleted it. With other content both are kept and the one that came last is current: one that was
    received before it, and waited in the journal of a dead gateway, is SUPERSEDED from the start. A new or changed
    image of a closed study opens its next revision; what is no image (a report, a presentation state, a key object)
    joins the revision that is there.

    The study is taken until the transaction ends: whoever registers instances of several does so by their UIDs' order.
    """
    arrival = Arrival(instance, facts, origin, received_at=now)
    study = _study(session, instance.study_instance_uid, facts, origin=origin, now=now)
    _note_senders(session, study, [arrival], now=now)
    noting.note_received(session, study, [instance])
    return _register(session, study, arrival, now=now)


def register_instances(
    session: Session,
    arrivals: Sequence[Arrival],
    *,
    now: datetime,
    content_of: Callable[[StoredInstance], str] | None = None,
) -> tuple[Registration, ...]:
    """Write the rows of instances as ``register_instance`` does for each, with few queries for each study.

    Studies are taken in the order of their UIDs. ``content_of`` digests the data set of an instance alone; it is asked
    where a UID came before, for rows of earlier versions tell contents apart by that.
    """
    by_study: dict[str, list[int]] = {}
    for place, arrival in enumerate(arrivals):
        by_study.setdefault(arrival.instance.study_instance_uid, []).append(place)
    outcomes: dict[int, Registration] = {}
    for uid in sorted(by_study):
        places = by_study[uid]
        of_study = [arrivals[place] for place in places]
        outcomes.update(zip(places, _register_all(session, of_study, now=now, content_of=content_of), strict=True))
    return tuple(outcomes[place] for place in range(len(arrivals)))


def _register_all(
    session: Session,
    arrivals: Sequence[Arrival],
    *,
    now: datetime,
    content_of: Callable[[StoredInstance], str] | None,
) -> list[Registration]:
    """Register instances of one study: those whose UIDs are new at once, the others one after another."""
    first = arrivals[0]
    study = _study(session, first.instance.study_instance_uid, first.facts, origin=first.origin, now=now)
    _note_senders(session, study, arrivals, now=now)
    noting.note_received(session, study, [arrival.instance for arrival in arrivals])
    seen = instances.known(session, study.id, [arrival.instance for arrival in arrivals])
    outcomes: list[Registration | None] = []
    new: list[Arrival] = []
    for arrival in arrivals:
        name = (arrival.instance.series_instance_uid, arrival.instance.sop_instance_uid)
        outcomes.append(None if name in seen else Registration.NEW)
        if name not in seen:
            new.append(arrival)
        seen.add(name)
    if new:
        _add_new(session, study, new, now=now)
    return [
        outcome or _register(session, study, arrival, now=now, content_of=content_of)
        for outcome, arrival in zip(outcomes, arrivals, strict=True)
    ]


def _register(
    session: Session,
    study: StudyRow,
    arrival: Arrival,
    *,
    now: datetime,
    content_of: Callable[[StoredInstance], str] | None = None,
) -> Registration:
    """Register one instance of a study that is taken, whether or not its UID came before."""
    instance, actor = arrival.instance, arrival.origin.calling_aet
    versions = instances.versions(session, study.id, instance)
    if not versions:
        _add_new(session, study, [arrival], now=now)
        return Registration.NEW
    if instance.content_sha256 not in versions and content_of is not None:
        content = content_of(instance)
        instance = replace(instance, content_sha256=content) if content in versions else instance
    if _came_again(session, study, replace(arrival, instance=instance), versions, now=now):
        return Registration.AGAIN
    if versions.get(instance.content_sha256):
        return Registration.DUPLICATE
    if instances.came_before_current(session, study.id, instance, received_at=arrival.received_at, now=now):
        if instance.content_sha256 in versions:
            return Registration.DUPLICATE
        return _keep_beside(session, study, arrival, now=now)
    complete_until_now = study.closed_at is not None
    if complete_until_now and is_read(instance.sop_class_uid):
        _reopen(session, study, instance, actor=actor, now=now)
    _follow(session, study, arrival.facts, actor=actor, now=now)
    instances.set_aside(session, study, instance)
    if instance.content_sha256 in versions:
        instances.restore(session, study, instance)
    else:
        instances.add(session, [_row(study, arrival)])
    audit.record_all(session, [instance_events.of_arrival(study, arrival, "instance:changed", now=now)])
    if study.closed_at is None:
        study.last_instance_at = now
    standing.refresh(session, study.id, recount=study.closed_at is not None)
    urgent_studies.note_result(session, study.id, actor=actor, now=now)
    announcements.note_result(session, study.id, actor=actor, now=now)
    return Registration.CHANGED


def _came_again(
    session: Session, study: StudyRow, arrival: Arrival, versions: Mapping[str, bool], *, now: datetime
) -> bool:
    """Note that a version that retention had deleted is there again; say whether it is the current one.

    A complete study opens anew for that; its routes keep their results where all their images are those of before.
    """
    instance, calling_aet = arrival.instance, arrival.origin.calling_aet
    is_current = versions.get(instance.content_sha256)
    if is_current is None or not instances.is_deleted(session, study.id, instance):
        return False
    complete_until_now = study.closed_at is not None
    if is_current and complete_until_now and is_read(instance.sop_class_uid):
        _reopen(session, study, instance, actor=calling_aet, now=now)
    instances.came_again(session, study, instance, calling_aet=calling_aet, now=arrival.received_at)
    if is_current:
        audit.record_all(session, [instance_events.of_arrival(study, arrival, "instance:stored", now=now)])
        if study.closed_at is None:
            study.last_instance_at = now
        if complete_until_now:
            standing.refresh(session, study.id, recount=study.closed_at is not None)
    return is_current


def _keep_beside(session: Session, study: StudyRow, arrival: Arrival, *, now: datetime) -> Registration:
    """Keep a version that a newer one has replaced; no study waits for it, and no result rests on it."""
    instances.add(session, [{**_row(study, arrival), "current": False}])
    audit.record_all(session, [instance_events.of_arrival(study, arrival, "instance:stored", now=now)])
    return Registration.SUPERSEDED


def _add_new(session: Session, study: StudyRow, arrivals: Sequence[Arrival], *, now: datetime) -> None:
    """Write the rows of instances whose UIDs are new; an image among them reopens a closed study."""
    complete_until_now = study.closed_at is not None
    if complete_until_now:
        image = next((arrival for arrival in arrivals if is_read(arrival.instance.sop_class_uid)), None)
        if image is not None:
            _reopen(session, study, image.instance, actor=image.origin.calling_aet, now=now)
    instances.add(session, [_row(study, arrival) for arrival in arrivals])
    audit.record_all(
        session, [instance_events.of_arrival(study, arrival, "instance:stored", now=now) for arrival in arrivals]
    )
    if study.closed_at is None:
        study.last_instance_at = now
    if complete_until_now:
        standing.refresh(session, study.id, recount=study.closed_at is not None)


def _note_senders(session: Session, study: StudyRow, arrivals: Sequence[Arrival], *, now: datetime) -> None:
    """Note which associations send a study, so that it is held open for them."""
    for association_id in dict.fromkeys(arrival.origin.association_id for arrival in arrivals):
        if association_id is not None:
            associations.sends(session, association_id, study.id, now=now)


def _study(session: Session, uid: str, facts: StudyFacts, *, origin: Origin, now: datetime) -> StudyRow:
    """Take the study of a UID, which may have to be opened first; another association may be doing the same."""
    study = study_locks.take_named(session, uid)
    if study is not None:
        return study
    is_first = _add_study(session, uid, facts, origin=origin, now=now)
    study = study_locks.take_named(session, uid)
    if study is None:
        raise RecordMissing("a study was removed in the moment in which an image of it came; send it again")
    if not is_first:
        return study
    standing.begin(session, study.id, now=now)
    audit.record(
        session,
        "study:opened",
        f"study/{uid}",
        actor=origin.calling_aet,
        now=now,
        details={"lane": origin.lane.value},
        study=audit.concerned(study),
    )
    return study


def _add_study(session: Session, uid: str, facts: StudyFacts, *, origin: Origin, now: datetime) -> bool:
    values = {
        "study_instance_uid": uid,
        "revision": 1,
        "lane": origin.lane.value,
        "opened_at": now,
        "last_instance_at": now,
        "closed_at": None,
        "patient_id": facts.patient_id,
        "patient_key": patient_keys.key_of(session, facts.patient_id),
        "accession_number": facts.accession_number,
        "study_date": facts.study_date,
        "study_description": facts.study_description,
    }
    return new_rows.add_if_new(session, StudyRow, values)


def _follow(session: Session, study: StudyRow, facts: StudyFacts, *, actor: str, now: datetime) -> None:
    """Take over what a corrected instance says of patient and study."""
    patient_changed = facts.patient_id != study.patient_id
    study.patient_id, study.accession_number = facts.patient_id, facts.accession_number
    study.study_date, study.study_description = facts.study_date, facts.study_description
    if patient_changed:
        study.patient_key = patient_keys.key_of(session, facts.patient_id)
        # Which patients they are stands in the images; the chain holds no patient data.
        audit.record(
            session,
            "study:patient-changed",
            f"study/{study.study_instance_uid}",
            actor=actor,
            now=now,
            details={"revision": study.revision},
            study=audit.concerned(study),
        )
        superseding.supersede_all(session, study.id, actor=actor, now=now)
        opening.note_result(session, study.id, actor=actor, now=now)


def _reopen(session: Session, study: StudyRow, instance: StoredInstance, *, actor: str, now: datetime) -> None:
    """Begin the next revision, and stop the jobs that would have read the late image."""
    study.revision += 1
    study.closed_at = None
    study_arrivals.reopened(session, study, now=now)
    audit.record(
        session,
        "study:reopened",
        f"study/{study.study_instance_uid}",
        actor=actor,
        now=now,
        details={"revision": study.revision},
        study=audit.concerned(study),
    )
    known = {facts.series_instance_uid: facts.modality for facts in series.of_study(session, study.id)}
    for job in job_lists.unfinished(session, study.id):
        if _reads(job, instance, known):
            jobs.supersede(session, job.id, now=now)


def _reads(job: job_lists.Job, instance: StoredInstance, known: Mapping[str, str]) -> bool:
    """Say whether a job reads the series of an instance, or may want it: a new series of a modality that it reads."""
    if not job.wanted or instance.series_instance_uid in job.wanted:
        return True
    return instance.series_instance_uid not in known and instance.modality in {known.get(uid) for uid in job.wanted}


def _row(study: StudyRow, arrival: Arrival) -> dict[str, object]:
    calling_aet = arrival.origin.calling_aet
    return instances.row_of(study, arrival.instance, calling_aet=calling_aet, received_at=arrival.received_at)
