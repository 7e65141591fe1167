"""Gateways, relays and workers that do everything at once to a few studies, each with a connection of its own."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from storage import (
    analyses,
    associations,
    deliveries,
    delivery_claims,
    delivery_lists,
    job_lists,
    job_messages,
    jobs,
    processes,
    registering,
    rejections,
    reports,
    studies,
)
from storage.arrivals import Origin, StudyFacts
from storage.closing import SeenStudy
from storage.database import Database, utc_now
from storage.domain import Analysis, Lane, ObjectKind, StoredInstance
from storage.errors import IllegalTransition, LeaseLost
from storage.registering import Registration
from storage.states import JobState
from storage.written_objects import WrittenObject
from tests.support.records import EXPLICIT, MR_IMAGE, TWO_HEAD_ROUTES, series_facts
from tests.support.routing import close_quiet, quiet_studies

STUDIES = tuple(f"2.25.{number}" for number in range(7001, 7005))
DESTINATIONS = ("PACS@10.0.0.1:104", "ARCHIVE@10.0.0.2:104")
_IMAGES, _CONTENTS = 8, (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2)
_SR = "1.2.840.10008.5.1.4.1.1.88.33"


@dataclass(slots=True)
class Hammer:
    """One process of oncue that does random things; what it was told is kept for the invariants."""

    database: Database
    name: str
    dice: random.Random
    analysis: Analysis
    grid: str
    held: list[jobs.Claim] = field(default_factory=list)
    registered: list[Registration] = field(default_factory=list)
    refused: int = 0
    association: str | None = None

    def begin(self) -> None:
        """Put the process on record, and one that is dead with an association that it left open."""
        with self.database.write() as session:
            processes.start(session, self.name, "gateway", now=utc_now())
            processes.start(session, f"{self.name}-dead", "gateway", now=utc_now() - timedelta(hours=1))

    def strike(self) -> None:
        """Do one thing. What the rules refuse is counted; anything else that is raised is a fault."""
        act = self.dice.choice(self._acts())
        try:
            act()
        except LeaseLost:
            self.refused += 1

    def _acts(self) -> tuple[Callable[[], None], ...]:
        often = (self._register, self._register, self._register, self._close, self._claim, self._claim, self._finish)
        more = (self._finish, self._beat, self._publish, self._report, self._send, self._send, self._reject)
        seldom = (self._reclaim, self._release, self._retry, self._resend, self._reroute, self._associate, self._lose)
        return (*often, *often, *more, *more, *seldom)

    def _register(self) -> None:
        chosen = sorted(self.dice.choices(STUDIES, k=self.dice.choice((1, 1, 2, 3))))
        origin = Origin(self.name, self.association)
        with self.database.write() as session:
            outcomes = [
                registering.register_instance(session, self._image(uid), StudyFacts(), origin=origin, now=utc_now())
                for uid in chosen
            ]
        self.registered += outcomes

    def _image(self, uid: str) -> StoredInstance:
        image, content = self.dice.randrange(_IMAGES), f"{self.dice.choice(_CONTENTS):064}"
        return StoredInstance(uid, f"{uid}.1", f"{uid}.1.{image}", MR_IMAGE, EXPLICIT, "MR", content, content, 10)

    def _close(self) -> None:
        with self.database.read() as session:
            quiet = quiet_studies(session, quiet_seconds=0, now=utc_now())
        if not quiet:
            return
        study_id = self.dice.choice(quiet)
        with self.database.read() as session:
            uid = studies.instances_of(session, study_id)[0].study_instance_uid
        wanted = series_facts(uid, body_part=self.dice.choice(("HEAD", "HEAD", "HEAD", "KNEE")))
        with self.database.write() as session:
            seen = SeenStudy(TWO_HEAD_ROUTES, (wanted,))
            close_quiet(session, study_id, seen, quiet_seconds=0, now=utc_now())

    def _publish(self) -> None:
        with self.database.read() as session:
            due = job_messages.publishable(session, now=utc_now())
        for job in due[:2]:
            with self.database.write() as session:
                job_messages.published(session, job.id, now=utc_now())
        if self.dice.random() < 0.2:
            with self.database.write() as session:
                job_messages.republish_lost(session, "default", Lane.ROUTINE, older_than=timedelta(0), now=utc_now())

    def _claim(self) -> None:
        with self.database.read() as session:
            queued = [job.id for job in job_lists.listed(session, state=JobState.QUEUED)]
        if not queued:
            return
        seconds = self.dice.choice((0.0, 60.0, 60.0))
        with self.database.write() as session:
            held = jobs.claim(
                session, self.dice.choice(queued), owner=self.name, lease_seconds=seconds, now=self._later()
            )
        if held is not None:
            self.held.append(held)
            if self.dice.random() < 0.5:
                self._finish()

    def _later(self) -> datetime:
        # Past every delay of a job that is tried again.
        return utc_now() + timedelta(minutes=2) if self.dice.random() < 0.5 else utc_now()

    def _finish(self) -> None:
        if not self.held:
            return
        held = self.held.pop(self.dice.randrange(len(self.held)))
        how = self.dice.choice(("save", "save", "save", "save", "fail", "again", "back", "wait"))
        with self.database.write() as session:
            now = utc_now()
            if how == "save":
                analyses.save(session, held, self.analysis, grid_digest=self.grid, now=now)
            elif how == "back":
                jobs.hand_back(session, held, reason="idle worker", now=now)
            elif how == "wait":
                jobs.postpone(session, held, code="later", reason="not yet", now=now)
            else:
                jobs.fail(session, held, code="fault", reason="a fault", retryable=how == "again", now=now)

    def _beat(self) -> None:
        with self.database.write() as session:
            processes.beat(session, self.name, now=utc_now())
        if self.held:
            with self.database.write() as session:
                jobs.extend_lease(session, self.dice.choice(self.held), lease_seconds=60, now=utc_now())

    def _reclaim(self) -> None:
        with self.database.write() as session:
            jobs.reclaim_expired(session, now=utc_now())

    def _release(self) -> None:
        with self.database.write() as session:
            jobs.release_owner(session, self.name, innocent=[one.job_id for one in self.held[:1]], now=utc_now())

    def _retry(self) -> None:
        with self.database.read() as session:
            ended = [job.id for job in job_lists.listed(session) if job.state in (JobState.SUCCEEDED, JobState.FAILED)]
        if ended:
            self._unless_refused(self._retried, self.dice.choice(ended))

    def _retried(self, job_id: int) -> None:
        with self.database.write() as session:
            jobs.retry(session, job_id, actor=self.name, now=utc_now())

    def _report(self) -> None:
        with self.database.read() as session:
            due = reports.due(session, now=utc_now())
        for report in due[:2]:
            with self.database.write() as session:
                if self.dice.random() < 0.2:
                    reports.failed(
                        session, report.job_id, code="fault", reason="a fault", retryable=True, now=utc_now()
                    )
                    continue
                written = [_written(report.job_id, kind) for kind in (ObjectKind.SEG, ObjectKind.SR)]
                reports.written(session, report.job_id, written, destinations=DESTINATIONS, now=utc_now())

    def _send(self) -> None:
        with self.database.write() as session:
            seconds = self.dice.choice((0.0, 60.0))
            due = delivery_claims.claim_due(session, owner=self.name, lease_seconds=seconds, now=utc_now(), limit=3)
        for one in due:
            how = self.dice.choice(("sent", "sent", "postponed", "refused", "nothing"))
            with self.database.write() as session:
                if how == "sent":
                    deliveries.sent(session, one.id, owner=self.name, status=0, now=utc_now())
                elif how != "nothing":
                    settle = deliveries.postponed if how == "postponed" else deliveries.refused
                    settle(session, one.id, owner=self.name, status=None, code="x", reason="y", now=utc_now())

    def _resend(self) -> None:
        with self.database.read() as session:
            numbers = [one.id for one in delivery_lists.listed(session)]
        if numbers:
            self._unless_refused(self._resent, self.dice.choice(numbers))

    def _resent(self, delivery_id: int) -> None:
        with self.database.write() as session:
            deliveries.retry(session, delivery_id, actor=self.name, now=utc_now())

    def _reject(self) -> None:
        with self.database.read() as session:
            due = rejections.due(session, now=utc_now())
        for note in due[:1]:
            with self.database.write() as session:
                if self.dice.random() < 0.5:
                    rejections.needless(session, note.job_id, now=utc_now())
                else:
                    written = _written(note.job_id, ObjectKind.REJECTION)
                    rejections.written(session, note.job_id, written, destinations=DESTINATIONS[:1], now=utc_now())

    def _reroute(self) -> None:
        with self.database.read() as session:
            closed = studies.closed_since(session, utc_now() - timedelta(hours=1))
        if closed:
            self._unless_refused(self._rerouted, self.dice.choice(closed).id)

    def _rerouted(self, study_id: int) -> None:
        with self.database.write() as session:
            studies.reroute(session, study_id, actor=self.name, now=utc_now())

    def _associate(self) -> None:
        with self.database.write() as session:
            self.association = self._opened(session, self.name)
        self._register()
        self._register()
        with self.database.write() as session:
            associations.closed(session, self.association, how="released", now=utc_now())
        self.association = None

    def _lose(self) -> None:
        with self.database.write() as session:
            self._opened(session, f"{self.name}-dead")
        with self.database.write() as session:
            associations.close_lost(session, now=utc_now())

    def _opened(self, session: Session, process_id: str) -> str:
        return associations.opened(
            session,
            process_id=process_id,
            calling_aet=self.name,
            called_aet="ONCUE",
            remote_address="10.0.0.9",
            now=utc_now(),
        )

    def _unless_refused(self, act: Callable[[int], None], number: int) -> None:
        """Ask for what the rules may refuse, since another process may have been there first."""
        try:
            act(number)
        except IllegalTransition:
            self.refused += 1


def _written(job_id: int, kind: ObjectKind) -> WrittenObject:
    uid = f"2.25.{80000 + 10 * job_id + list(ObjectKind).index(kind)}"
    return WrittenObject(kind, uid, _SR, f"{uid}.1", EXPLICIT, "b" * 64, 1000)
